"""What the server holds while it is measured, put in over HTTP."""

import json
import random
import time

CONTENT = (
    "Hello, my parcel with the order 4711 should have come last Tuesday. The tracking page still says that it is in "
    "transit. Can you please find out where it is?")
CONVERSATIONS = 200
LONG = 5_000
PERMISSIONS = [
    what + right for what in ("channels", "contacts", "conversations", "agents", "knowledge")
    for right in (":read", ":write")]


class Seed:
    """One organization: its ids and its key."""

    def __init__(self, server, say):
        self.server, self.say = server, say
        server.token = None
        signed_up = server.call("POST", "/auth/signup", {
            "email": "bench@example.com", "password": "correct horse battery", "name": "Bench",
            "organization_name": "Bench"})
        server.token = signed_up["access_token"]
        self.organization = signed_up["organization"]["id"]
        # A key does not end in the middle of a long run, as a token does.
        server.token = server.call("POST", "/api-keys", {"name": "bench", "permissions": PERMISSIONS})["key"]
        self.chunks = 0

    def conversations(self):
        """200 conversations in people's hands, 200 in the agent's, and one with 5,000 messages."""
        call = self.server.call
        self.channel = call("POST", "/channels", {"name": "Bench", "type": "api"})["id"]
        contacts = [call("POST", "/contacts", {"name": "Contact %d" % n})["id"] for n in range(20)]
        call("POST", "/ai-agents", {"name": "Support", "instructions": "Answer briefly."})

        def start(n, handler):
            body = {"contact_id": contacts[n % 20], "channel_id": self.channel}
            id = call("POST", "/conversations", body)["id"]
            if handler == "human":
                call("PATCH", "/conversations/" + id, {"handled_by": "human"})
            return id

        self.long = start(0, "human")
        self.by_agent = [start(n, "agent") for n in range(CONVERSATIONS)]
        self.by_people = [start(n, "human") for n in range(CONVERSATIONS)]

        # One after the other: several writers of one conversation get in each other's way.
        connection = self.server.connect()
        for _ in range(LONG):
            call("POST", "/conversations/%s/messages" % self.long, {"content": CONTENT}, connection)
        page = call("GET", "/conversations/%s/messages?limit=50" % self.long)
        if len(page["data"]) != 50 or not page["next_cursor"]:
            raise SystemExit("the long conversation was not filled")

    # --- Knowledge ---------------------------------------------------------------------------------------------------

    def train(self, count):
        """Sources until there are about that many chunks. Returns the seconds that the training took."""
        began = time.perf_counter()
        text = Text(count)
        while self.chunks < count:
            # Each section becomes a chunk of some 450 characters.
            sections = min(2_500, count - self.chunks)
            content = "\n\n".join("# %s\n\n%s" % (text.words(4).capitalize(), text.prose(420)) for _ in range(sections))
            source = self.server.call("POST", "/knowledge-sources", {
                "name": "Source from chunk %d" % self.chunks, "type": "text", "content": content})["id"]
            while True:
                state = self.server.call("GET", "/knowledge-sources/" + source)
                if state["status"] == "ready":
                    break
                if state["status"] == "failed" or time.perf_counter() - began > 3_600:
                    raise SystemExit("training: %s" % state)
                time.sleep(0.1)
            if state["chunk_count"] < 1:
                raise SystemExit("training gave no chunks")
            self.chunks += state["chunk_count"]
        return time.perf_counter() - began

    def questions(self, path):
        """A file of 500 searches, one a line."""
        text = Text(1)
        with open(path, "w") as file:
            for _ in range(500):
                file.write(json.dumps({"query": "How do I get a %s?" % text.words(4), "limit": 8}) + "\n")


class Text:
    """Words in the proportions of a language: few that are often there, many that are rare."""

    def __init__(self, seed):
        syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il")]
        maker = random.Random(1)
        self.vocabulary = ["".join(maker.choices(syllables, k=maker.randint(2, 4))) for _ in range(20_000)]
        weights, total = [], 0.0
        for rank in range(len(self.vocabulary)):
            total += 1 / (rank + 20)
            weights.append(total)
        self.weights = weights
        self.random = random.Random(seed)

    def words(self, count):
        return " ".join(self.random.choices(self.vocabulary, cum_weights=self.weights, k=count))

    def prose(self, length):
        sentences, size = [], 0
        while size < length:
            sentence = self.words(self.random.randint(6, 14)).capitalize() + "."
            sentences.append(sentence)
            size += len(sentence) + 1
        return " ".join(sentences)
