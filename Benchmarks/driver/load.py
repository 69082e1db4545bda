"""wrk, pgbench and the bare SQLite loop. Each run gives requests a second and, where known, latencies in milliseconds."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import processes
from databases import Postgres

HERE = pathlib.Path(__file__).resolve().parent.parent
WARM_UP = 2
# Of one core: who uses less does nothing but look whether there is something to do.
REST = 0.05


class Load:
    """One request that wrk repeats."""

    def __init__(self, script, path="", **variables):
        self.script, self.path, self.variables = script, path, {"BENCH_PATH": path, **variables}

    def run(self, port, token, seconds, connections):
        environment = {
            **os.environ, "BENCH_LUA": str(HERE / "wrk"), "BENCH_TOKEN": token or "", **self.variables}
        output = processes.run(
            ["wrk", "--threads", "2", "--connections", str(connections), "--duration", "%ds" % max(1, round(seconds)),
             "--timeout", "30s", "--script", str(HERE / "wrk" / self.script), "http://127.0.0.1:%d" % port],
            seconds + 60, env=environment)
        found = re.search(r"^BENCH (.*)$", output, re.M)
        if not found:
            raise SystemExit("wrk says nothing:\n" + output)
        figures = json.loads(found[1])
        figures["rate"] = figures["requests"] / figures["seconds"]
        return figures


def measure(server, load, seconds, connections, profile=None):
    """One warm-up and one measurement, with what they cost the server. `profile` is a file that perf fills."""
    load.run(server.port, server.token, WARM_UP, connections)
    recorder = None
    if profile:
        recorder = processes.start(
            ["perf", "record", "--quiet", "--freq", "999", "--call-graph", "fp", "--pid", str(server.child.pid),
             "--output", str(profile)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
    before = server.processor_seconds()
    figures = load.run(server.port, server.token, seconds, connections)
    spent = server.processor_seconds() - before
    if recorder:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(60)
        processes.stop(recorder)
    figures["cpu_us"] = spent / max(figures["requests"], 1) * 1e6
    figures["rss"] = server.resident()[0]
    return figures


class Meter:
    """The processor time that the server and its database use from now on."""

    def __init__(self, server, database):
        self.server, self.database = server, database
        self.before = self.read()

    def read(self):
        return self.server.processor_seconds(), self.database.processor_seconds()

    def each(self, count):
        """Microseconds for one of so many requests."""
        app, database = (now - before for now, before in zip(self.read(), self.before))
        return {"cpu_us": app / count * 1e6, "database_us": database / count * 1e6}


def rest(server, database):
    """Waits until both have done what they put off, such as the audit log, so that it counts for who caused it."""
    meter, deadline, quiet = Meter(server, database), time.monotonic() + 120, 0
    last, when = sum(meter.before), time.monotonic()
    # A second: who looks for work now and then has looked.
    while quiet < 5:
        if time.monotonic() > deadline:
            raise SystemExit("the server does not come to rest")
        time.sleep(0.2)
        now, then = sum(meter.read()), time.monotonic()
        quiet = quiet + 1 if now - last < REST * (then - when) else 0
        last, when = now, then


def cost(server, database, load, seconds, connections):
    """One warm-up and one measurement, from rest to rest, with what a request costs the server and the database."""
    load.run(server.port, server.token, WARM_UP, connections)
    rest(server, database)
    meter = Meter(server, database)
    figures = load.run(server.port, server.token, seconds, connections)
    rest(server, database)
    answered = figures["requests"] - figures["refused"]
    if answered < 1:
        raise SystemExit("no request was answered as it should be: %s" % figures)
    return {**figures, **meter.each(answered)}


def pgbench(database, script, seconds, connections, warm=True, **variables):
    """The rate of pgbench with prepared statements, as the server's role."""
    environment = {**os.environ, "PGOPTIONS": "-c role=kuvend_app"}
    command = [
        Postgres.program("pgbench"), "--no-vacuum", "--protocol", "prepared", "--client", str(connections), "--jobs", "2",
        "--max-tries", "0", "--file", str(HERE / "pgbench" / (script + ".sql"))]
    for name, value in variables.items():
        command += ["--define", "%s=%s" % (name, value)]

    def run(duration):
        output = processes.run(
            command + ["--time", str(max(1, round(duration))), database.url], duration + 60, env=environment)
        failed = re.search(r"number of failed transactions: (\d+)", output)
        if failed and int(failed[1]) > 0:
            raise SystemExit("pgbench: transactions failed:\n" + output)
        return {
            "rate": float(re.search(r"tps = ([\d.]+)", output)[1]),
            "mean": float(re.search(r"latency average = ([\d.]+)", output)[1])}

    if warm:
        run(WARM_UP)
        if "i" in variables:
            # Ids must not come twice.
            index = command.index("i=%s" % variables["i"])
            command[index] = "i=%d" % (variables["i"] + 10_000_000)
    return run(seconds)


class Loop:
    """The statements of "post a message" on SQLite, by a C program."""

    def __init__(self, directory):
        self.program = pathlib.Path(directory) / "loop"
        processes.run(
            ["cc", "-O2", "-o", str(self.program), str(HERE / "sqlite" / "loop.c"), "-lsqlite3"], 60)

    def run(self, database, organization, conversations, content, seconds):
        output = processes.run(
            [str(self.program), str(database), organization, str(conversations), str(seconds)], seconds + 60,
            env={**os.environ, "BENCH_CONTENT": content})
        commits, elapsed = output.split()
        return {"rate": int(commits) / float(elapsed)}
