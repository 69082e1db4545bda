"""Fresh databases, and statements that go around the server.

Rows that the server cannot be asked for are copies of one that it has made, of which only what is named here is changed:
so it does not matter which further columns a version of the server has.
"""

import os
import pathlib
import re
import shutil
import sqlite3
import subprocess

import processes

NOBODY = "00000000-0000-0000-0000-000000000000"


def selected(columns, values):
    """What to select for a copy: the column itself, or the expression that takes its place."""
    return ", ".join(values.get(name, name) for name in columns)


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

    def rows(self, text):
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()

    def count(self, table):
        return self.rows("SELECT count(*) FROM %s" % table)[0][0]

    def copy(self, path):
        """A copy for the bare loop, on the same disk."""
        source, target = sqlite3.connect(self.path), sqlite3.connect(path)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()

    def columns(self, table):
        """The names of all but those that the database fills."""
        rows = self.rows("SELECT name, upper(type), pk FROM pragma_table_info('%s')" % table)
        keys = sum(key > 0 for _, _, key in rows)
        return [name for name, type, key in rows if not (key and keys == 1 and type == "INTEGER")]

    def settle(self):
        """Only PostgreSQL needs it."""

    def processor_seconds(self):
        """None of its own: it is part of the server."""
        return 0.0

    def add_jobs(self, conversation, count, payload):
        """Copies of the job of that conversation, in its place; with this payload, or with its own for `NOBODY`."""
        columns = self.columns("jobs")
        values = {
            "id": "printf('00000000-0000-7000-8000-%012x', i)", "unique_key": "NULL",
            "payload": "'%s'" % payload if payload else "replace(payload, '%s', '%s')" % (conversation, NOBODY)}
        self.execute(
            """
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
            INSERT INTO jobs (%s) SELECT %s FROM jobs, n WHERE payload LIKE '%%%s%%';
            DELETE FROM jobs WHERE id NOT LIKE '00000000-%%';
            """ % (count, ", ".join(columns), selected(columns, values), conversation))

    def remove_jobs(self):
        self.execute("DELETE FROM jobs")

    def drop(self):
        pass


class Postgres:
    name = "PostgreSQL"

    def __init__(self, server, name):
        self.server = server
        self.database = "kuvend_bench_%d_%s" % (os.getpid(), name)
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

    def count(self, table):
        return int(self.execute("SELECT count(*) FROM %s" % table))

    def settle(self):
        """Between measurements: statistics for the planner, and no checkpoint in the middle of one."""
        self.execute("VACUUM ANALYZE")
        self.execute("CHECKPOINT")

    def columns(self, table):
        """The names of all but those that the database fills."""
        return self.execute(
            """
            SELECT column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name = '%s' AND is_generated = 'NEVER' AND is_identity = 'NO'
                AND coalesce(column_default, '') NOT LIKE 'nextval(%%'
            ORDER BY ordinal_position
            """ % table).split()

    def processor_seconds(self):
        """Of all processes of the server that Benchmarks/run has started; another's cannot be looked at."""
        postmaster = os.environ.get("BENCH_POSTGRES_PID")
        return processes.processor_seconds(int(postmaster)) if postmaster else 0.0

    def leave_vacuum_to_us(self):
        """`settle` does it between measurements: whether a daemon happens to be in one is not left to chance."""
        self.psql(self.server, "ALTER SYSTEM SET autovacuum = off")
        self.psql(self.server, "SELECT pg_reload_conf()")

    def add_jobs(self, conversation, count, payload):
        columns = self.columns("jobs")
        values = {
            "id": "('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid", "unique_key": "NULL",
            "payload": "'%s'" % payload if payload else "replace(payload::text, '%s', '%s')::jsonb" % (conversation, NOBODY)}
        self.execute(
            """
            INSERT INTO jobs (%s) SELECT %s FROM jobs, generate_series(1, %d) i WHERE payload::text LIKE '%%%s%%';
            DELETE FROM jobs WHERE id::text NOT LIKE '00000000-%%'
            """ % (", ".join(columns), selected(columns, values), count, conversation))

    def remove_jobs(self):
        self.execute("DELETE FROM jobs")

    def add_conversations(self, template, count):
        """Conversations for pgbench, with ids that it can make out of a number."""
        columns = self.columns("conversations")
        values = {
            "id": "('0000be4c-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid", "ai_agent_id": "NULL",
            "last_sequence": "0", "exclusive": "false", "external_id": "NULL", "created_at": "'2020-01-01'"}
        self.execute(
            "INSERT INTO conversations (%s) SELECT %s FROM conversations, generate_series(1, %d) i WHERE id = '%s'" % (
                ", ".join(columns), selected(columns, values), count, template))

    def drop(self):
        try:
            self.psql(self.server, 'DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % self.database)
        except (SystemExit, OSError, subprocess.SubprocessError):
            pass  # The server is gone, or its end takes the database along.
