"""A model server on loopback that answers at once, or never."""

import asyncio
import json
import threading

# Requests in which these words occur are taken and never answered.
HANG = "Think for ever."
ANSWER = "Your parcel is on its way and comes tomorrow."


class Model:
    """Speaks as much of OpenAI's chat completions as the server asks for. Runs in a thread of its own."""

    def __init__(self):
        self.hanging = 0
        self.loop = asyncio.new_event_loop()
        self.tasks = set()
        self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1_024))
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    @property
    def settings(self):
        return {
            "KUVEND_LLM_BASE_URL": "http://127.0.0.1:%d/v1" % self.port, "KUVEND_LLM_API_KEY": "bench",
            "KUVEND_LLM_MODEL": "bench"}

    def stop(self):
        asyncio.run_coroutine_threadsafe(self.end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def end(self):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def serve(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.partition("content-length:")[2].partition("\r\n")[0])
                if HANG.encode() in await reader.readexactly(length):
                    self.hanging += 1
                    try:
                        await reader.read(1)  # Ends when the other side hangs up.
                    finally:
                        self.hanging -= 1
                    return
                writer.write(self.answer())
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # The other side has hung up.
        finally:
            self.tasks.discard(task)
            writer.close()

    @staticmethod
    def answer():
        def event(delta, reason=None):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return "data: %s\n\n" % json.dumps({
                "id": "bench", "object": "chat.completion.chunk", "created": 0, "model": "bench", "choices": [choice]})

        text = event({"role": "assistant", "content": ANSWER}) + event({}, "stop") + "data: [DONE]\n\n"
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(text)
        return (head + text).encode()
