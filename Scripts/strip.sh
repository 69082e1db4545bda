#!/usr/bin/env bash
# Scripts/strip.sh BINARY: moves the debug symbols of an ELF binary into BINARY.debug beside it.
#
# The symbol table stays, so that a crash report still names functions; files and lines are found by what follows the link to
# BINARY.debug, from the addresses of the report. Swift's own reports do not follow it as of 6.3:
#
#     llvm-symbolizer --obj=BINARY --adjust-vma=BASE ADDRESS...      BASE: where "Images" says that the binary begins
#
# A binary that was stripped before is left alone. The new one takes its place by renaming, so a server that runs from it
# goes on undisturbed. SwiftPM links its product again, unstripped, the next time that it builds: it sees that it changed.
set -euo pipefail

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

binary=${1:-}
[[ $# -eq 1 && -f $binary ]] || die "Scripts/strip.sh takes a binary."
for objcopy in objcopy llvm-objcopy ''; do
    if [[ -n $objcopy ]] && command -v "$objcopy" >/dev/null; then break; fi
done
[[ -n $objcopy ]] || die "neither objcopy nor llvm-objcopy is there; Debian's package is binutils."

directory=$(cd "$(dirname "$binary")" && pwd -P)
name=$(basename "$binary")
# On the same disk, so that moving is renaming; the link takes the name that the file has now.
work=$(mktemp -d "$directory/.strip.XXXXXX")
trap 'rm -rf "$work"' EXIT

# It fails where there is no such section.
"$objcopy" --only-section=.gnu_debuglink --dump-section=.gnu_debuglink="$work/link" "$binary" "$work/rest" \
    2>/dev/null || true
if [[ -s $work/link ]]; then exit; fi

"$objcopy" --only-keep-debug "$binary" "$work/$name.debug"
chmod 0644 "$work/$name.debug"
"$objcopy" --strip-debug --add-gnu-debuglink="$work/$name.debug" "$binary" "$work/$name"
touch -r "$binary" "$work/$name" "$work/$name.debug"
mv -f "$work/$name.debug" "$directory/$name.debug"
mv -f "$work/$name" "$directory/$name"
