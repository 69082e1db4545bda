"""Fresh databases, and statements that go around the server."""

import os
import pathlib
import re
import shutil
import sqlite3
import subprocess

import processes


class SQLite:
    name = "SQLite"

    def __init__(self, directory):
        self.path = pathlib.Path(directory) / "kuvend.sqlite"
        self.url = "sqlite:%s" % self.path

    def execute(self, text):
        """While the server does not run."""
        connection = sqlite3.connect(self.path)
        try:
            connection.executescript(text)
        finally:
            connection.close()

    def copy(self, path):
        """A copy for the bare loop, on the same disk."""
        source, target = sqlite3.connect(self.path), sqlite3.connect(path)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()

    def add_jobs(self, organization, count, payload):
        self.execute(
            """
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
            INSERT INTO jobs (organization_id, id, lane, kind, payload, state, run_at, attempt, max_attempts, created_at,
                updated_at)
            SELECT '%s', printf('00000000-0000-7000-8000-%%012x', i), 'interactive', 'reply.generate', '%s', 'ready',
                '2026-01-01T00:00:00.000Z', 0, 6, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z' FROM n;
            """ % (count, organization, payload))

    def remove_jobs(self):
        self.execute("DELETE FROM jobs")

    def drop(self):
        pass


class Postgres:
    name = "PostgreSQL"

    def __init__(self, server, number):
        self.server = server
        self.database = "kuvend_bench_%d_%d" % (os.getpid(), number)
        self.url = re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", r"\1/%s" % self.database, server)
        self.psql(server, 'CREATE DATABASE "%s" TEMPLATE template0' % self.database)

    @staticmethod
    def program(name):
        tree = os.environ.get("BENCH_POSTGRES_BIN")
        return os.path.join(tree, name) if tree else shutil.which(name) or name

    @classmethod
    def psql(cls, url, text):
        return processes.run(
            [cls.program("psql"), url, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1",
             "--command", text], 300)

    def execute(self, text):
        return self.psql(self.url, text)

    def settle(self):
        """Between measurements: statistics for the planner, and no checkpoint in the middle of one."""
        self.execute("VACUUM ANALYZE")
        self.execute("CHECKPOINT")

    def add_jobs(self, organization, count, payload):
        self.execute(
            """
            INSERT INTO jobs (organization_id, id, lane, kind, payload, state, run_at, attempt, max_attempts, created_at,
                updated_at)
            SELECT '%s', ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'interactive', 'reply.generate',
                '%s', 'ready', '2026-01-01', 0, 6, '2026-01-01', '2026-01-01' FROM generate_series(1, %d) i
            """ % (organization, payload, count))

    def remove_jobs(self):
        self.execute("DELETE FROM jobs")
        self.settle()

    def add_conversations(self, template, count):
        """Conversations for pgbench, with ids that it can make out of a number."""
        self.execute(
            """
            INSERT INTO conversations SELECT organization_id,
                ('0000be4c-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, contact_id, channel_id, NULL, 'active',
                'human', epoch, 'idle', NULL, 0, false, NULL, '{}', now(), '2020-01-01', now()
            FROM conversations, generate_series(1, %d) i WHERE id = '%s'
            """ % (count, template))

    def drop(self):
        try:
            self.psql(self.server, 'DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % self.database)
        except (SystemExit, OSError, subprocess.SubprocessError):
            pass  # The server is gone, or its end takes the database along.
