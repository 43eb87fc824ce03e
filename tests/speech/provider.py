"""A server on loopback that answers as ElevenLabs does, or misbehaves as told."""

import base64
import json
import math
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk_test_0123456789abcdef"
SECONDS_PER_LETTER = 0.1
VOICE = "21m00Tcm4TlvDq8ikWAM"
CLONE = "clone0123456789ABCDE"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False  # close the connection after half of the body


SUBSCRIPTION = {
    "tier": "creator",
    "character_count": 1_250,
    "character_limit": 100_000,
    "next_character_count_reset_unix": 1_800_000_000,
}

Respond = Callable[[Request], Reply]


def problem(status: int, detail: object, *headers: tuple[str, str]) -> Reply:
    return Reply(status, json.dumps({"detail": detail}).encode(), headers)


def pcm(seconds: float, rate: int) -> bytes:
    """Return a tone as loud as syllables are, four a second."""
    count = round(seconds * rate)
    syllables = (abs(math.sin(4 * math.pi * n / rate)) for n in range(count))
    tone = (int(9000 * level * math.sin(n / 10)) for n, level in enumerate(syllables))
    return struct.pack(f"<{count}h", *tone)


def speech(request: Request, audio: bytes | None = None) -> Reply:
    """Speak each character of the text for a tenth of a second, as a tone."""
    text = request.json["text"]
    rate = int(request.path.partition("pcm_")[2] or 0)
    audio = pcm(len(text) * SECONDS_PER_LETTER, rate) if audio is None else audio
    numbers = range(len(text))
    alignment = {
        "characters": list(text),
        "character_start_times_seconds": [n * SECONDS_PER_LETTER for n in numbers],
        "character_end_times_seconds": [(n + 1) * SECONDS_PER_LETTER for n in numbers],
    }
    body = {
        "audio_base64": base64.b64encode(audio).decode(),
        "alignment": alignment,
        "normalized_alignment": alignment,
    }
    cost = ("character-cost", str(len(text) // 2))  # a model at half the price
    return Reply(body=json.dumps(body).encode(), headers=(cost, ("request-id", "r1")))


class Provider:
    """The requests so far; `respond` answers them, if their key is right."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.respond: Respond = speech
        self.subscription = Reply(body=json.dumps(SUBSCRIPTION).encode())

    def reply(self, request: Request) -> Reply:
        if request.path == "/v1/user/subscription":
            return self.subscription
        self.requests.append(request)
        if request.headers.get("xi-api-key") != KEY:
            return problem(401, {"status": "invalid_api_key", "message": "Invalid API key"})
        return self.respond(request)


@contextmanager
def serve() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = provider.reply(Request(self.command, self.path, headers, body))
            self.close_connection = True
            self.send_response(reply.status)
            for name, value in (*reply.headers, ("content-length", str(len(reply.body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
