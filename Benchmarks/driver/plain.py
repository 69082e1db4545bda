"""A Hummingbird route that answers with ready bytes: what a read could cost at best."""

import os
import pathlib
import time

import load
import processes

PACKAGE = load.HERE / "plain-route"


class Plain:
    def __init__(self, build, directory):
        self.directory = pathlib.Path(directory)
        if os.environ.get("BENCH_PLAIN_ROUTE"):
            self.binary = pathlib.Path(os.environ["BENCH_PLAIN_ROUTE"])
            return
        scratch = build / "plain-route"
        processes.run(
            ["swift", "build", "--configuration", "release", "--package-path", str(PACKAGE), "--scratch-path", str(scratch)],
            3_600)
        self.binary = scratch / "release" / "plain-route"

    def measure(self, answer, seconds, connections):
        bytes_file, port_file = self.directory / "answer", self.directory / "plain-port"
        bytes_file.write_bytes(answer)
        port_file.unlink(missing_ok=True)
        child = processes.start([str(self.binary), str(bytes_file), str(port_file)])
        try:
            for _ in range(500):
                if port_file.exists() and port_file.read_text().strip():
                    break
                time.sleep(0.02)
            port, request = int(port_file.read_text()), load.Load("get.lua", "/")
            request.run(port, None, load.WARM_UP, connections)
            return request.run(port, None, seconds, connections)
        finally:
            processes.stop(child)
