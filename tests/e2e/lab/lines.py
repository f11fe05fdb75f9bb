"""A server of lines, as POP2 was: it speaks first, answers each line, and keeps what it heard. One thread, however many clients."""
import asyncio
import socket
import struct
import threading

from .process import free_port


class Lines:
    """greeting: its first words; b"" and it waits for the client's. answer(line): what it says to a line, None ends the connection."""

    def __init__(self, greeting=b"+ POP2 ready\r\n", answer=lambda line: None if line.startswith(b"QUIT") else b"= " + line, port=0, host="127.0.0.1"):
        self.greeting, self.answer = greeting, answer
        self.heard, self.peers = [], []
        self.port = port or free_port()
        self.open = 0
        self.loop = asyncio.new_event_loop()
        self.writers = set()
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, host, self.port, backlog=2048))
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    async def _serve(self, reader, writer):
        self.open += 1
        self.writers.add(writer)
        self.peers.append(writer.get_extra_info("peername"))
        try:
            writer.write(self.greeting)
            while line := await reader.readline():
                self.heard.append(line)
                reply = self.answer(line)
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
        except OSError:
            pass
        self.open -= 1
        self.writers.discard(writer)
        writer.close()

    def cut(self):
        """All connections, by RST."""
        def all_of_them():
            for writer in list(self.writers):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        self.loop.call_soon_threadsafe(all_of_them)

    async def _end(self):
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=10)

    def stop(self):
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
