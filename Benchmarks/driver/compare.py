"""Two binaries in turns: what a request costs each in processor time, of the server and of the database."""

import json
import statistics

import load
from processes import Server
from results import number
from workloads import Bench

# How much more a request may cost than with the old binary.
LIMIT = 1.05
SIDES = ("old", "new")
# `startup` is no request. Posts that are answered meanwhile make no fixed number of answers, so of `reply` there are the
# answers alone; jobs that are refused are no hot path, and others follow them, so of `jobs` there are those that end well.
LINES = {
    "page": "page of 50 messages", "list": "list of 20 conversations", "search": "hybrid search over 10,000 chunks",
    "post": "post a message", "reply": "answer of the built-in model", "jobs": "job, one small transaction"}
# Of one turn: enough for a second and more of work.
ANSWERS = 3  # to each of the agent's 200 conversations
JOBS = 20_000


class Comparison:
    """All lines, for one database after the other."""

    def __init__(self, options, say):
        self.options, self.say, self.rows = options, say, []
        self.binaries = {side: options.against if side == "old" else options.binary for side in SIDES}
        self.known = {side: identity(path) for side, path in self.binaries.items()}

    def run(self, databases, directories):
        """Both lists have the old binary's first; nothing else uses these databases."""
        benches = {}
        for side, database, directory in zip(SIDES, databases, directories):
            self.say("%s: seeding with the %s binary" % (database.name, side))
            server = Server(self.binaries[side], directory, database.url)
            benches[side] = bench = Bench(self.options, server, database, None, self.say)
            bench.prepare()
            if "search" in self.options.only:
                bench.seed.train(10_000)
            elif "reply" in self.options.only:
                bench.seed.train(1_000)
            bench.server.stop()
            database.settle()
        for workload in self.options.only:
            self.compare(benches, workload)

    def compare(self, benches, workload):
        name, what = benches["new"].database.name, LINES[workload]
        self.say("%s: %s" % (name, what))
        rounds = {side: [] for side in SIDES}
        row = {"database": name, "what": what, **rounds}
        for round in range(self.options.rounds):
            # Old, new, new, old: a machine that becomes slower in time does so for both.
            for side in SIDES if round % 2 == 0 else reversed(SIDES):
                if identity(self.binaries[side]) != self.known[side]:
                    raise SystemExit("%s was replaced meanwhile" % self.binaries[side])
                figures = self.turn(benches[side], workload)
                figures["total_us"] = figures["cpu_us"] + figures["database_us"]
                rounds[side].append(figures)
                parts = "" if name == "SQLite" else ", the app %s, the database %s" % (
                    number(figures["cpu_us"]), number(figures["database_us"]))
                self.say("  round %d, %s: %s/s, %s µs%s" % (
                    round + 1, side, number(figures["rate"]), number(figures["total_us"]), parts))
        old, new = ([figures["total_us"] for figures in rounds[side]] for side in SIDES)
        row["ratio"] = statistics.median(new) / statistics.median(old)
        row["ratios"] = [after / before for before, after in zip(old, new)]
        row["errors"] = sum(
            figures.get("refused", 0) + figures.get("broken", 0) for side in SIDES for figures in rounds[side])
        row["reached"] = row["ratio"] <= LIMIT and not row["errors"]
        self.rows.append(row)

    def turn(self, bench, workload):
        """One measurement of a server that is started for it, alone."""
        try:
            if workload == "reply":
                batches = [bench.answers(metered=True) for _ in range(ANSWERS)]
            elif workload == "jobs":
                batches = [bench.queue(JOBS, "finished", metered=True)]
            else:
                request = (
                    bench.searching() if workload == "search"
                    else bench.posting(bench.seed.by_people, "people") if workload == "post"
                    else bench.reading(workload))
                bench.server.start()
                batches = [load.cost(
                    bench.server, bench.database, request, self.options.seconds, self.options.connections)]
        finally:
            bench.server.stop()
        for figures in batches:
            if "cpu_us" not in figures:
                raise SystemExit("%s: over before its processor time could be read" % LINES[workload])
        bench.database.settle()
        if len(batches) == 1:
            return batches[0]
        return {key: statistics.mean(figures[key] for figures in batches) for key in ("rate", "cpu_us", "database_us")}

    # --- What came out -----------------------------------------------------------------------------------------------

    def table(self):
        lines = [
            "| database | what | /s old | new | app µs old | new | database µs old | new | both µs old | spread | new | spread "
            "| ratio | of the rounds | |",
            "| --- | --- |" + " ---: |" * 12 + " --- |"]
        for row in self.rows:
            cells = [row["database"], row["what"]]
            for key in ("rate", "cpu_us", "database_us"):
                is_part = key == "database_us" and row["database"] == "SQLite"
                cells += ["" if is_part else number(median(row[side], key)) for side in SIDES]
            for side in SIDES:
                cells += [number(median(row[side], "total_us")), spread(row[side], "total_us")]
            cells += ["%.3f" % row["ratio"], "%.3f–%.3f" % (min(row["ratios"]), max(row["ratios"])), note(row)]
            lines.append("| %s |" % " | ".join(cells))
        return "\n".join(lines)

    def verdict(self):
        above = ["%s: %s (%.3f)" % (row["database"], row["what"], row["ratio"]) for row in self.rows if not row["reached"]]
        if above:
            return "More than %.2f times the old processor time, or errors:\n  %s" % (LIMIT, "\n  ".join(above))
        return "Nothing costs more than %.2f times the old processor time." % LIMIT

    @property
    def reached(self):
        return all(row["reached"] for row in self.rows)

    def write(self, path, about):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**about, "limit": LIMIT, "results": self.rows}, indent=1) + "\n")


def identity(path):
    """Changes with the file: a build may put another one in its place."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def spread(runs, key):
    return "–".join(number(one([run[key] for run in runs])) for one in (min, max))


def note(row):
    words = ["**above**"] if row["ratio"] > LIMIT else []
    least, most = min(row["ratios"]), max(row["ratios"])
    if len(row["ratios"]) == 1:
        words.append("one round")
    elif least <= 1 <= most:
        words.append("within noise")
    else:
        words.append("more in each round" if least > 1 else "less in each round")
    if row["errors"]:
        words.append("%d errors" % row["errors"])
    return ", ".join(words)
