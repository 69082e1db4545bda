#!/usr/bin/env python3
"""Looks for words that have two meanings in Sources, and for doc comments that were torn apart.

Prints each finding with its place, and ends with 1 if there is any:
- two top-level types of one name;
- a nested type with the name of a top-level one, or of another nested one, unless docs/glossary.md lists the name as one that
  may be nested anywhere;
- a paragraph of a doc comment that begins with a lower-case word.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

root = Path(__file__).resolve().parent.parent
declaration = re.compile(
    r"^( *)(?:@\w+(?:\([^)]*\))? |(?:public|package|internal|fileprivate|private)(?:\(set\))? |final |indirect )*"
    r"(struct|enum|class|actor|protocol|typealias) (\w+)"
)
# What Swift's own protocols ask for by name.
required = {"Element", "Iterator", "AsyncIterator"}


def nested_anywhere():
    """The names below the heading `Nested types` of the glossary, in backquotes."""
    text = (root / "docs/glossary.md").read_text()
    section = re.search(r"^## Nested types$(.*?)(?=^## |\Z)", text, re.M | re.S)
    if not section:
        sys.exit("docs/glossary.md has no section `Nested types`")
    return set(re.findall(r"`(\w+)`", section.group(1)))


def findings():
    top, nested = defaultdict(list), defaultdict(list)
    for path in sorted((root / "Sources").rglob("*.swift")):
        name = path.relative_to(root)
        in_text = False
        begins = False  # Whether the next line of a doc comment begins a paragraph.
        in_code = False
        for number, line in enumerate(path.read_text().split("\n"), 1):
            place = f"{name}:{number}"
            is_text = in_text
            if line.count('"""') % 2 == 1:
                in_text = not in_text
            if is_text:
                continue
            if match := declaration.match(line):
                kinds = nested if match.group(1) else top
                kinds[match.group(3)].append(place)
            comment = re.match(r"^\s*///(?: ?)(.*)$", line)
            if not comment:
                begins, in_code = True, False
                continue
            words = comment.group(1)
            if words.startswith("```"):
                in_code = not in_code
            elif begins and not in_code and re.match(r"[a-z]+\b(?![.(/_])", words) and not is_name(words):
                yield f"{place}: a paragraph begins with a lower-case word: {words[:60]}"
            begins = not words
    anywhere = nested_anywhere() | required
    for word, places in sorted(top.items()):
        if len(places) > 1:
            yield f"{places[1]}: {word} is a type of {places[0]} too"
    for word, places in sorted(nested.items()):
        if word in anywhere:
            continue
        others = top.get(word, []) + places
        if len(others) > 1:
            yield f"{others[-1]}: {word} is a type of {others[0]} too; docs/glossary.md does not list it"


def is_name(words):
    """A value as it is written in code: `nil when …`."""
    return words.startswith(("nil ", "nil:", "true ", "false "))


found = list(findings())
print("\n".join(found), end="\n" if found else "")
print(f"Words: {len(found)} findings")
sys.exit(1 if found else 0)
