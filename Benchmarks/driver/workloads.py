"""What is measured, on one database."""

import pathlib
import tempfile
import time

import greedy
import load
import seed
from databases import Postgres, SQLite
from load import Load, measure, pgbench
from model import Model


class Bench:
    """A server, its database and its seed. `run` measures what was asked for and adds it to the results."""

    def __init__(self, options, server, database, results, say, plain=None):
        self.options, self.server, self.database = options, server, database
        self.results, self.say, self.plain = results, say, plain
        self.seconds, self.connections = options.seconds, options.connections
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="work-", dir=server.directory))

    @property
    def is_postgres(self):
        return isinstance(self.database, Postgres)

    def prepare(self):
        self.server.migrate()
        self.server.start()
        self.seed = seed.Seed(self.server, self.say)
        self.seed.conversations()

    def run(self):
        name, chosen = self.database.name, self.options.only
        self.say("%s: seeding" % name)
        self.prepare()
        if self.is_postgres:
            self.database.add_conversations(self.seed.long, seed.CONVERSATIONS)
            self.database.settle()
        for workload in chosen:
            self.say("%s: %s" % (name, workload))
            getattr(self, workload)()

    def add(self, what, runs, **more):
        row = self.results.add(self.database.name, what, runs, **more)
        ratio = ", %.2f of %s" % (row["ratio"], row["limit_name"]) if "ratio" in row else ""
        self.say("  %s: %.0f/s%s" % (what, row["value"], ratio))

    def rounds(self, name, request, limit=None, connections=None):
        """All rounds of a request and, one after the other with it, of its limit."""
        runs, limits = [], []
        profile = self.options.profile and self.options.profile / ("%s-%s.data" % (self.database.name.lower(), name))
        for _ in range(self.options.repeat):
            runs.append(measure(self.server, request, self.seconds, connections or self.connections, profile))
            if self.is_postgres:
                self.database.settle()
            if limit:
                limits.append(limit())
                if self.is_postgres:
                    self.database.settle()
        return runs, limits

    # --- Starting and idling -----------------------------------------------------------------------------------------

    def startup(self):
        """Spawn to /readyz, with the seeded database; and memory after some quiet seconds."""
        times, memory, own = [], [], []
        for _ in range(max(5, self.options.repeat)):
            self.server.stop()
            times.append(self.server.start())
        for _ in range(self.options.repeat):
            self.server.stop()
            self.server.start()
            time.sleep(5)
            resident, anonymous = self.server.resident()
            memory.append(resident)
            own.append(anonymous)
        self.results.add_single(self.database.name, "start to ready", "ms", times, at_most=300)
        self.results.add_single(self.database.name, "memory when idle (RSS)", "MB", memory, at_most=60)
        self.results.add_single(self.database.name, "… of it not the program's file", "MB", own)
        self.say("  ready after %.0f ms, %.1f MB" % (min(times), min(memory)))

    # --- Reads -------------------------------------------------------------------------------------------------------

    def page(self):
        self.read("page of 50 messages", "page", conversation=self.seed.long)

    def list(self):
        self.read("list of 20 conversations", "list")

    def reading(self, script):
        return Load("get.lua", {
            "page": "/api/v1/conversations/%s/messages?limit=50" % self.seed.long,
            "list": "/api/v1/conversations?limit=20"}[script])

    def read(self, what, script, **variables):
        limit, name, target, request = None, None, None, self.reading(script)
        if self.is_postgres:
            limit, name, target = self.pgbench_of(script, **variables), "pgbench", 1.3
        elif self.plain:
            answer = self.server.ask("GET", request.path)[1]
            limit, name, target = (lambda: self.plain.measure(answer, self.seconds, self.connections)), "plain route", 0.5
        runs, limits = self.rounds(script, request, limit)
        self.add(what, runs, limits=limits, limit_name=name, target=target)

    def pgbench_of(self, script, **variables):
        return lambda: pgbench(
            self.database, script, self.seconds, self.connections, organization=self.seed.organization, **variables)

    # --- Writes ------------------------------------------------------------------------------------------------------

    def post(self):
        """Messages to conversations that people handle: no answer becomes due."""
        request = self.posting(self.seed.by_people, "people")
        if self.is_postgres:
            identity = '{"id":"%s","conversation_id":"%s","direction":"inbound","role":"user"}' % (
                self.seed.long, self.seed.long)
            count = iter(range(1_000))

            def limit():
                start = int(time.time() * 1000) + next(count) * 100_000_000
                return pgbench(
                    self.database, "post", self.seconds, self.connections, organization=self.seed.organization,
                    conversations=seed.CONVERSATIONS, content=seed.CONTENT, data=identity, i=start)

            runs, limits = self.rounds("post", request, limit)
            self.add("post a message", runs, limits=limits, limit_name="pgbench", target=1.2)
        else:
            loop = load.Loop(self.work)
            copy, ids = self.work / "loop.sqlite", self.work / "ids"
            ids.write_text("\n".join(self.seed.by_people) + "\n")

            def limit():
                # Both write into a database of about the same size.
                for part in self.work.glob("loop.sqlite*"):
                    part.unlink()
                self.database.copy(copy)
                return loop.run(copy, self.seed.organization, ids, seed.CONTENT, self.seconds)

            runs, limits = self.rounds("post-64", request, limit, connections=64)
            self.add(
                "post a message, 64 connections", runs, limits=limits, limit_name="bare loop", target=1.5)
            runs, _ = self.rounds("post", request)
            self.add("post a message", runs)

    def posting(self, conversations, name):
        paths = self.work / ("paths-" + name)
        paths.write_text("".join("/api/v1/conversations/%s/messages\n" % id for id in conversations))
        return Load("post.lua", BENCH_PATHS=str(paths), BENCH_BODY='{"content": "%s"}' % seed.CONTENT)

    # --- Searches ----------------------------------------------------------------------------------------------------

    def search(self):
        for count in (10_000, 100_000) if self.options.full else (10_000,):
            took = self.seed.train(count)
            self.say("  %d chunks trained in %.0f s" % (self.seed.chunks, took))
            self.results.add(
                self.database.name, "chunks trained, up to {:,}".format(count), [{"rate": self.seed.chunks / took}])
            if self.is_postgres:
                self.database.settle()
            # The first search of an organization reads its vectors into memory.
            self.server.stop()
            self.server.start()
            began = time.perf_counter()
            self.server.call("POST", "/knowledge/search", {"query": "Where is my parcel?"})
            self.results.add_single(
                self.database.name, "first search over {:,} chunks".format(count), "ms",
                [(time.perf_counter() - began) * 1000])
            runs, _ = self.rounds("search-%d" % count, self.searching())
            self.add("hybrid search over {:,} chunks".format(count), runs)
            self.results.add_single(
                self.database.name, "memory after it (RSS)", "MB", [max(run["rss"] for run in runs)])

    def searching(self):
        questions = self.work / "questions"
        self.seed.questions(questions)
        return Load("search.lua", "/api/v1/knowledge/search", BENCH_BODIES=str(questions))

    # --- Answers and jobs --------------------------------------------------------------------------------------------

    def reply(self):
        """Messages to conversations that the agent handles, while the same server answers them; then answers alone."""
        if self.seed.chunks == 0:
            self.seed.train(1_000)
        request = self.posting(self.seed.by_agent, "agent")
        runs, _ = self.rounds("post-answered", request)
        self.add("post a message, answered meanwhile", runs)
        self.drain()

        self.add("answers of the built-in model", [self.answers() for _ in range(self.options.repeat)])
        self.waits()

    def answers(self, metered=False):
        """One to each conversation of the agent, from a queue that waits."""
        self.ask_agent(self.seed.by_agent)
        return self.drained(len(self.seed.by_agent), "finished", metered)

    def ask_agent(self, conversations):
        """Messages whose answers are due when this ends, as a server took them that does no jobs."""
        self.server.stop()
        self.server.start(KUVEND_ROLES="http")
        for id in conversations:
            self.server.call("POST", "/conversations/%s/messages" % id, {"content": "Where is my parcel?"})
        self.server.stop()

    def waits(self):
        """From the commit of a message to the start of its job, when nothing else happens."""
        def look():
            return self.server.histogram("kuvend_job_wait_seconds", lane="interactive")

        before = look()
        for id in self.seed.by_agent:
            self.server.call("POST", "/conversations/%s/messages" % id, {"content": "Where is my parcel?"})
            self.drain()
        known = dict(before)
        counts = [(bound, value - known.get(bound, 0)) for bound, value in look()]
        total, below, floor, median = counts[-1][1] if counts else 0, 0.0, 0.0, None
        for bound, count in counts:
            if total and count >= total / 2:
                median = floor + (bound - floor) * (total / 2 - below) / max(count - below, 1)
                break
            floor, below = bound, count
        if median is not None:
            self.results.add_single(
                self.database.name, "enqueue to start when idle, p50", "ms", [median * 1000], at_most=10)
            self.say("  enqueue to start: p50 %.2f ms of %d" % (median * 1000, total))

    def drain(self):
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            page = self.server.call("GET", "/conversations?limit=100&handled_by=agent")
            rest = self.server.call("GET", "/conversations?limit=100&handled_by=agent&cursor=" + page["next_cursor"])
            if all(one["reply_state"] == "idle" for one in page["data"] + rest["data"]):
                return
            time.sleep(0.02)
        raise SystemExit("the answers do not come to an end")

    def jobs(self):
        """The queue alone. See README.md: no kind that does nothing can be asked for over HTTP."""
        refused = [self.queue(30_000, "quarantined", "{}") for _ in range(self.options.repeat)]
        self.add("jobs, refused at once", refused, target=3_000 if self.is_postgres else None)
        small = [self.queue(10_000, "finished") for _ in range(self.options.repeat)]
        self.add("jobs, one small transaction each", small)
        self.server.stop()
        self.database.remove_jobs()
        self.server.start()

    # --- Other organizations -----------------------------------------------------------------------------------------

    def greedy(self):
        """An organization's answers, alone and while hundreds of calls of others hang."""
        self.server.stop()
        model = Model()
        try:
            self.server.start(**model.settings)
            # Connections and caches.
            greedy.delays(self.server, self.seed.by_agent, 2)
            alone = self.delay("another's answer, alone", greedy.ALONE_SECONDS)
            for number in range(1, 7):
                greedy.Greedy(self.server, number)
                if number in (1, 6):
                    hanging = greedy.settle(model)
                    who = "%d × %d messages hang" % (number, greedy.MESSAGES)
                    self.say("  %s, %d of them at the model" % (who, hanging))
                    p99 = self.delay("another's answer while %s" % who, greedy.SECONDS)
                    self.results.add_single(
                        self.database.name, "… added to its p99", "ms", [max(p99 - alone, 0)], at_most=300)
        finally:
            self.server.stop()
            model.stop()
        self.database.remove_jobs()
        self.server.start()

    def delay(self, what, seconds):
        took, missing = greedy.delays(self.server, self.seed.by_agent, seconds)
        row = self.results.add_delays(self.database.name, what, took, missing)
        self.say("  %s: p50 %.1f, p99 %.1f, at most %.0f ms%s" % (
            what, row["p50"], row["p99"], took[-1], ", %d did not come" % missing if missing else ""))
        return row["p99"]

    def queue(self, count, outcome, payload=None, metered=False):
        """Copies of a job that the server made: with this payload, or for a conversation that does not exist."""
        self.server.stop()
        self.database.remove_jobs()
        conversation = self.seed.by_agent[0]
        self.ask_agent([conversation])
        self.database.add_jobs(conversation, count, payload)
        if self.database.count("jobs") != count:
            raise SystemExit("the server made no job that could be copied")
        self.database.settle()
        return self.drained(count, outcome, metered)

    def drained(self, count, outcome, metered=False):
        """Starts a server on a queue that is full: the jobs a second from its first to its last, and what one costs."""
        # Refusals are logged as errors, one line each.
        self.server.start(KUVEND_LOG_LEVEL="critical")
        samples, deadline, meter = [], time.monotonic() + 300, None
        while True:
            now, done = time.perf_counter(), self.server.metric("kuvend_jobs_total", kind="reply.generate", outcome=outcome)
            samples.append((now, done))
            if metered and done > 0 and meter is None:
                meter, counted = load.Meter(self.server, self.database), count - done
            if done >= count:
                break
            if time.monotonic() > deadline:
                raise SystemExit("%d of %d jobs ended as %s" % (done, count, outcome))
            time.sleep(0.05)
        (first, began), (last, ended) = next((s for s in samples if s[1] > 0), samples[0]), samples[-1]
        if ended - began < count / 4:
            # It was nearly over before the first look, so from the first look on nothing can be said.
            return {"rate": count / max(last - samples[0][0], 0.001)}
        figures = {"rate": (ended - began) / (last - first)}
        if metered:
            load.rest(self.server, self.database)
            figures.update(requests=counted, **meter.each(counted))
        return figures
