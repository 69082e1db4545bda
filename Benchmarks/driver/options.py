"""What the command line asks for."""

import argparse
import os
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WORKLOADS = ("startup", "page", "list", "search", "post", "reply", "jobs", "greedy")
# Those that measure time and not requests cannot be compared with an older binary.
TIMES = ("startup", "greedy")

EPILOG = """\
with --against, both binaries take turns, each on a database that it has migrated itself and that is filled over HTTP
in the same way: old, new, new, old, and so on. Compared is the processor time, user and system, that a request costs the
server and PostgreSQL together, by the medians of all rounds. Ends with 0 if every workload was measured, without errors,
and none costs more than 5 % more.

environment:
  KUVEND_BINARY   the release binary, without --binary (default: .build/release/kuvend)
  BENCH_PLAIN_ROUTE   for --with-plain: the program of Benchmarks/plain-route, if it is built already
  TMPDIR          where the databases lie; its disk decides what a commit costs

What the workloads are and how to read the table: Benchmarks/README.md
"""


def parser():
    parser = argparse.ArgumentParser(
        prog="Benchmarks/run", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EPILOG,
        description="Measures the release binary over HTTP on SQLite and PostgreSQL, and beside it what bounds it, or an "
        "older binary.")
    parser.add_argument("--binary", metavar="PATH", help="the release binary")
    parser.add_argument(
        "--against", metavar="PATH", help="compare with this older binary: the processor time of a request, old and new")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each binary, with --against (default: 5)")
    parser.add_argument("--only", metavar="NAMES", help="of %s, with commas between" % ", ".join(WORKLOADS))
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--seconds", type=float, default=5, metavar="N", help="of each measurement (default: 5)")
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="rounds of each; the best counts, the spread is shown (default: 3)")
    parser.add_argument("--connections", type=int, default=32, metavar="N", help="of wrk and pgbench (default: 32)")
    parser.add_argument("--full", action="store_true", help="search 100,000 chunks too, which are trained first: minutes")
    parser.add_argument(
        "--with-plain", action="store_true",
        help="compare SQLite's reads with a plain Hummingbird route; the first time builds it: 10 minutes and more")
    parser.add_argument("--postgres", metavar="URL", help="a server to make databases on, instead of one of our own")
    parser.add_argument(
        "--profile", metavar="DIRECTORY", help="perf data of the server for each load; the rates are then too low")
    parser.add_argument(
        "--json", metavar="FILE",
        help="the results as JSON (default: .build/benchmarks.json, with --against .build/benchmarks-against.json)")
    parser.add_argument("--needs", action="store_true", help=argparse.SUPPRESS)
    return parser


def parse(arguments):
    """The options, or the end of the program with help or one clear line."""
    command = parser()
    if {"-h", "--help"} & set(arguments):
        # Behind this word the shell finds what to print.
        print(("help" if "--needs" in arguments else "") + command.format_help())
        sys.exit(0)
    options = command.parse_args(arguments)
    chosen = options.only.split(",") if options.only else list(WORKLOADS)
    for name in chosen:
        if name not in WORKLOADS:
            command.error("--only: no '%s'; there are %s" % (name, ", ".join(WORKLOADS)))
    if options.against:
        refuse_beside_against(command, options)
        for name in TIMES:
            if not options.only:
                chosen.remove(name)
            elif name in chosen:
                command.error("--against compares requests; %s is none" % name)
    elif options.rounds is not None:
        command.error("--rounds belongs to --against; here it is --repeat")
    options.only = [name for name in WORKLOADS if name in chosen]
    options.databases = ["sqlite", "postgres"] if options.database == "both" else [options.database]
    if not 0.5 <= options.seconds <= 600:
        command.error("--seconds: from 0.5 to 600")
    options.repeat = 3 if options.repeat is None else options.repeat
    if not 1 <= options.repeat <= 100:
        command.error("--repeat: from 1 to 100")
    options.rounds = 5 if options.rounds is None else options.rounds
    if not 1 <= options.rounds <= 100:
        command.error("--rounds: from 1 to 100")
    if not 2 <= options.connections <= 128:
        command.error("--connections: from 2 to 128")
    options.binary = program(
        command, options.binary or os.environ.get("KUVEND_BINARY") or ROOT / ".build/release/kuvend",
        "; build it: swift build -c release --product kuvend")
    if options.against:
        options.against = program(command, options.against)
    if options.with_plain and not os.environ.get("BENCH_PLAIN_ROUTE") and not shutil.which("swift"):
        command.error("--with-plain needs swift on the PATH")
    if options.profile:
        if not shutil.which("perf"):
            command.error("--profile needs perf: apt-get install linux-perf")
        options.profile = pathlib.Path(options.profile).absolute()
        options.profile.mkdir(parents=True, exist_ok=True)
    default = "benchmarks-against.json" if options.against else "benchmarks.json"
    options.json = pathlib.Path(options.json) if options.json else ROOT / ".build" / default
    return options


def program(command, path, advice=""):
    path = pathlib.Path(path).absolute()
    if not (path.is_file() and os.access(path, os.X_OK)):
        command.error("%s is not there, or no program%s" % (path, advice))
    return path


def refuse_beside_against(command, options):
    if options.repeat is not None:
        command.error("--repeat is not for --against; there it is --rounds")
    if options.postgres:
        command.error("--postgres is not for --against: the processes of another's server cannot be looked at")
    for name in ("full", "with_plain", "profile"):
        if getattr(options, name):
            command.error("--%s is not for --against" % name.replace("_", "-"))


def needs(options):
    """What Benchmarks/run has to prepare, as words."""
    words = []
    if "sqlite" in options.databases and not options.against:
        words.append("sqlite")
    if "postgres" in options.databases and not options.postgres:
        words.append("cluster")
    return " ".join(words)
