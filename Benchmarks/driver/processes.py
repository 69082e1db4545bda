"""Children that are ended, and the server among them."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import time

_running = []


def start(command, **options):
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    _running.append(child)
    return child


def stop(child, patience=35):
    """SIGTERM, and SIGKILL for who does not listen."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child in _running:
        _running.remove(child)


def stop_all():
    for child in list(_running):
        stop(child, patience=10)


def run(command, timeout, **options):
    """The output of a command that must succeed."""
    child = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    try:
        output, errors = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise SystemExit("%s does not end" % command[0])
    finally:
        stop(child)
    if child.returncode != 0:
        raise SystemExit("%s ended with %d:\n%s%s" % (command[0], child.returncode, output[-2000:], errors[-2000:]))
    return output


def processor_seconds(root):
    """The processor time, user and system, of a process and of all that came from it, also of those that have ended.

    The kernel's clock of a process counts all its threads, in nanoseconds where /proc/PID/stat has hundredths of a
    second: PostgreSQL is many processes, each of which would be rounded. Source: clock_getcpuclockid(3).
    """
    for _ in range(1_000):
        try:
            pids, total = family(root), 0.0
            # Children first: one that ends between its turn and its parent's is counted twice, and missing after that.
            for pid in reversed(pids):
                total += time.clock_gettime(~pid << 3 | 2) + waited(pid)
            if family(root) == pids:
                return total
        except OSError:
            pass  # One has just ended; what it used is in its parent's account in a moment.
        time.sleep(0.002)
    raise SystemExit("process %d has ended, or its children never stay the same" % root)


def family(root):
    """The process and all that descend from it, parents before their children."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(status(int(name))[1]), []).append(int(name))
            except OSError:
                pass  # It has ended.
    pids = [root]
    for pid in pids:
        pids += sorted(children.get(pid, []))
    return pids


def status(pid):
    """The fields of /proc/PID/stat from the third on; the second, the name, may hold blanks and brackets."""
    return pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()


def waited(pid):
    """The seconds of the children that have ended and were waited for."""
    fields = status(pid)
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


class Refused(Exception):
    pass


class Server:
    """The release binary on a database of its own."""

    def __init__(self, binary, directory, url):
        self.binary, self.directory, self.url = binary, pathlib.Path(directory), url
        self.child = self.port = self.token = None

    def environment(self, **more):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KUVEND_")}
        return {
            **clean, "KUVEND_DATABASE_URL": self.url, "KUVEND_DATA_DIR": str(self.directory), "KUVEND_HOST": "127.0.0.1",
            "KUVEND_PORT": "0", "KUVEND_PORT_FILE": str(self.directory / "port"), "KUVEND_RATE_LIMITS": "off",
            "KUVEND_LOG_LEVEL": "error", **more}

    def migrate(self):
        run([str(self.binary), "migrate"], 120, env=self.environment())

    def start(self, **more):
        """Starts it and waits until it is ready. Returns the milliseconds that this took."""
        port_file = self.directory / "port"
        port_file.unlink(missing_ok=True)
        with open(self.directory / "log", "ab") as log:
            began = time.perf_counter()
            self.child = start([str(self.binary), "serve"], env=self.environment(**more), stdout=log, stderr=log)
        while True:
            elapsed = time.perf_counter() - began
            if self.child.poll() is not None or elapsed > 60:
                tail = (self.directory / "log").read_text(errors="replace")[-2000:]
                raise SystemExit("the server does not start:\n%s" % tail)
            try:
                self.port = int(port_file.read_text())
                if self.ask("GET", "/readyz")[0] == 200:
                    return (time.perf_counter() - began) * 1000
            except (OSError, ValueError, http.client.HTTPException):
                pass
            time.sleep(0.002)

    def stop(self):
        if self.child:
            stop(self.child)
            self.child = None

    def ask(self, method, path, body=None, connection=None):
        own = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        own.request(method, path, None if body is None else json.dumps(body), headers)
        response = own.getresponse()
        data = response.read()
        if connection is None:
            own.close()
        return response.status, data

    def call(self, method, path, body=None, connection=None):
        status, data = self.ask(method, "/api/v1" + path, body, connection)
        if status >= 300:
            raise Refused("%s %s: %d %s" % (method, path, status, data[:500].decode(errors="replace")))
        return json.loads(data) if data else None

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def resident(self):
        """Megabytes of memory: resident, and the part of it that is not pages of the program's file."""
        values = {}
        for line in pathlib.Path("/proc/%d/status" % self.child.pid).read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "RssAnon"):
                values[name] = int(rest.split()[0]) / 1024
        return values["VmRSS"], values["RssAnon"]

    def processor_seconds(self):
        return processor_seconds(self.child.pid)

    def metric(self, name, **labels):
        """The sum of the series of a metric with these labels."""
        total, wanted = 0.0, ['%s="%s"' % pair for pair in labels.items()]
        for line in self.ask("GET", "/metrics")[1].decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(label in series for label in wanted):
                total += float(value)
        return total

    def histogram(self, name, **labels):
        """Bounds and cumulated counts."""
        buckets = []
        wanted = ['%s="%s"' % pair for pair in labels.items()]
        for line in self.ask("GET", "/metrics")[1].decode().splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name + "_bucket" and all(label in series for label in wanted):
                bound = series.partition('le="')[2].partition('"')[0]
                buckets.append((float("inf") if bound == "+Inf" else float(bound), float(value)))
        return sorted(buckets)
