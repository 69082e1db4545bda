"""Starts servers on fresh databases, measures, prints the table, and leaves nothing behind."""

import datetime
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

import options as command_line
import processes
from compare import SIDES, Comparison
from databases import Postgres, SQLite
from results import Results
from workloads import Bench

BEGAN = time.monotonic()


def say(text):
    minutes, seconds = divmod(int(time.monotonic() - BEGAN), 60)
    print("[%02d:%02d] %s" % (minutes, seconds, text), flush=True)


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return "%d cores, %d GiB" % (len(os.sched_getaffinity(0)), round(memory))


def interrupted(number, _):
    raise SystemExit(128 + number)


def main():
    options = command_line.parse(sys.argv[1:])
    if options.needs:
        print(command_line.needs(options))
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, interrupted)
    results = Comparison(options, say) if options.against else Results()
    about = {
        "date": datetime.date.today().isoformat(), "machine": machine(), "seconds": options.seconds,
        "repeat": options.rounds if options.against else options.repeat, "connections": options.connections}
    say("%s; load before: %.2f" % (about["machine"], os.getloadavg()[0]))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="kuvend-bench."))
    opened = []
    try:
        plain = None
        if options.with_plain and "sqlite" in options.databases:
            from plain import Plain

            say("building the plain route; the first time this takes long")
            plain = Plain(command_line.ROOT / ".build", directory)
        for name in options.databases:
            sides = SIDES if options.against else ("only",)
            places, databases = [directory / name / side for side in sides], []
            for side, place in zip(sides, places):
                place.mkdir(parents=True)
                database = (
                    SQLite(place) if name == "sqlite"
                    else Postgres(options.postgres or os.environ["BENCH_POSTGRES_URL"], side))
                databases.append(database)
                opened.append(database)
            if options.against:
                if name == "postgres":
                    databases[0].leave_vacuum_to_us()
                results.run(databases, places)
                continue
            server = processes.Server(options.binary, places[0], databases[0].url)
            try:
                Bench(options, server, databases[0], results, say, plain).run()
            finally:
                server.stop()
    finally:
        # A second signal must not keep this from ending.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        processes.stop_all()
        for database in opened:
            database.drop()
        shutil.rmtree(directory, ignore_errors=True)
        if results.rows:
            results.write(options.json, about)
            print("\n%s\n\nAs JSON: %s" % (results.table(), options.json), flush=True)
    if options.against:
        print("\n" + results.verdict(), flush=True)
        sys.exit(0 if results.reached else 1)


main()
