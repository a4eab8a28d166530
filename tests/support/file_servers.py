"""Servers on this machine that send a file as publishers do, or fail in any way."""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

# As long as the smallest published file, and like one not to be compressed.
DATA = np.random.default_rng(0).bytes(1_100_000)
HALF = len(DATA) // 2
PAGE = b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"

Answer = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Gives its answers one after the other, the last one for good, and notes what was asked."""

    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.asked: list[Message] = []
        self.methods: list[str] = []
        self.paths: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ranges(self) -> list[str | None]:
        return [headers["Range"] for headers in self.asked]

    def handle_error(self, *_: object) -> None:
        """Clients that leave early are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        """The headers of an answer; its body is thrown away."""
        connection, self.wfile = self.wfile, io.BytesIO()
        self.do_GET()
        headers, end, _ = self.wfile.getvalue().partition(b"\r\n\r\n")
        connection.write(headers + end)
        self.wfile = connection

    def do_GET(self) -> None:
        self.server.asked.append(self.headers)
        self.server.methods.append(self.command)
        self.server.paths.append(self.path)
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def start(self, code: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def drop(self, reset: bool = False) -> None:
        """Close the connection."""
        self.wfile.flush()
        self.close_connection = True
        if reset:
            # It throws away what the client has not read yet.
            time.sleep(0.2)
            linger = (1).to_bytes(4, sys.byteorder) + (0).to_bytes(4, sys.byteorder)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def whole(data: bytes = DATA, **headers: str) -> Answer:
    """All of it, whatever was asked for."""

    def answer(handler: Handler) -> None:
        handler.start(200, len(data), **headers)
        handler.wfile.write(data)

    return answer


def ranged(data: bytes = DATA, most: int | None = None) -> Answer:
    """From where it was asked for; at most so many bytes, before the connection is closed."""

    def answer(handler: Handler) -> None:
        asked = handler.headers["Range"]
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        if start >= len(data):
            handler.start(416, 0, Content_Range=f"bytes */{len(data)}")
            return
        place = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers = {"Content_Range": place} if asked else {}
        handler.start(206 if asked else 200, len(data) - start, **headers)
        handler.wfile.write(data[start:][:most])
        if most is not None:
            handler.drop()

    return answer


def cut(stop: int = HALF, reset: bool = False) -> Answer:
    """All of it is promised, a part is sent."""

    def answer(handler: Handler) -> None:
        handler.start(200, len(DATA))
        handler.wfile.write(DATA[:stop])
        handler.drop(reset)

    return answer


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.start(code, 0, **headers)


def stalling(sent: int | None) -> Answer:
    """Nothing more after so many bytes; not even a status, if none."""

    def answer(handler: Handler) -> None:
        if sent is not None:
            handler.start(200, len(DATA))
            handler.wfile.write(DATA[:sent])
            handler.wfile.flush()
        handler.server.closing.wait(60)
        handler.drop()

    return answer


Serve = Callable[..., Server]


@contextmanager
def servers() -> Iterator[Serve]:
    """A function that starts a server with these answers; all end afterwards."""
    started = []

    def serve(*answers: Answer) -> Server:
        server = Server(*answers)
        started.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    try:
        yield serve
    finally:
        for server in started:
            server.closing.set()
            server.shutdown()
            server.server_close()
