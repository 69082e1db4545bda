"""How long an organization waits for an answer while the model hangs for others."""

import concurrent.futures
import http.client
import json
import time

from model import HANG
from seed import CONTENT

RATE = 10
ALONE_SECONDS = 20
# Longer than the 60 seconds after which the server gives up calls that hang, so that all of them end in between.
SECONDS = 70
MESSAGES = 300


class Greedy:
    """An organization whose model never answers."""

    def __init__(self, server, number):
        self.server = server
        own, server.token = server.token, None
        try:
            server.token = server.call("POST", "/auth/signup", {
                "email": "greedy%d@example.com" % number, "password": "correct horse battery", "name": "Greedy",
                "organization_name": "Greedy %d" % number})["access_token"]
            server.call("POST", "/ai-agents", {"name": "Support", "instructions": HANG})
            channel = server.call("POST", "/channels", {"name": "Bench", "type": "api"})["id"]
            contact = server.call("POST", "/contacts", {"name": "Contact"})["id"]
            connection, body = server.connect(), {"contact_id": contact, "channel_id": channel}
            ids = [server.call("POST", "/conversations", body, connection)["id"] for _ in range(MESSAGES)]
            for id in ids:
                server.call("POST", "/conversations/%s/messages" % id, {"content": CONTENT}, connection)
            connection.close()
        finally:
            server.token = own


def settle(model):
    """Waits until as many calls hang as will."""
    deadline, last, quiet = time.monotonic() + 60, -1, 0
    while quiet < 10:
        if time.monotonic() > deadline:
            raise SystemExit("the calls of the model do not come to rest")
        time.sleep(0.1)
        quiet, last = (quiet + 1 if model.hanging == last else 0), model.hanging
    if last == 0:
        raise SystemExit("no call of the model hangs")
    return last


def answered(server, conversation, due):
    """Posts a message and follows its answer. The milliseconds since it was due, and whether it came."""
    time.sleep(max(due - time.perf_counter(), 0))
    connection, came = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60), False
    try:
        connection.request(
            "POST", "/api/v1/conversations/%s/messages" % conversation, json.dumps({"content": CONTENT}), {
                "Content-Type": "application/json", "Accept": "text/event-stream",
                "Authorization": "Bearer " + server.token})
        for line in connection.getresponse():
            kind = line.decode().strip()
            if kind in ("event: reply.completed", "event: reply.failed", "event: reply.cancelled"):
                came = kind == "event: reply.completed"
                break
    except (OSError, http.client.HTTPException):
        pass  # It did not come.
    finally:
        connection.close()
    return (time.perf_counter() - due) * 1000, came


def delays(server, conversations, seconds):
    """Of so many messages a second, sent when they are due and not when others have been answered."""
    count = int(seconds * RATE)
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        began = time.perf_counter() + 0.5
        ends = [
            pool.submit(answered, server, conversations[n % len(conversations)], began + n / RATE)
            for n in range(count)]
        outcomes = [end.result() for end in ends]
    return sorted(took for took, _ in outcomes), sum(not came for _, came in outcomes)
