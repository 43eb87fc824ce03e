"""Try a deployed service from outside, one promise after the other; the exit code says how it went.

    python scripts/smoke_modal.py https://…modal.run --key rsh_… [--model ltx-2b]

It makes two of the smallest clips of the model and cancels a third. Webhooks go to public https
addresses only: name one with --webhook-url, or that check is skipped. For a service on this machine
a receiver is started here, and the signature is checked as well.
"""

import argparse
import base64
import hashlib
import hmac
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import httpx

from service.settings import ClientSettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Json = dict[str, Any]


class Wrong(Exception):
    """A promise is not kept."""


class Skipped(Exception):
    """It cannot be tried from here."""


@dataclass
class Trial:
    """The service on trial, and what earlier checks left for later ones."""

    client: httpx.Client
    model: str | None
    seconds: float
    webhook_url: str | None
    receiver: "Receiver | None" = None
    card: Json = field(default_factory=dict)
    job: Json = field(default_factory=dict)

    def get(self, path: str, **how: Any) -> httpx.Response:
        return expect(self.client.get(path, **how), 200)

    def smallest(self, **more: Any) -> Json:
        """The least that the model can be asked for."""
        side, frames = self.card["side"]["low"], self.card["frames"]["low"]
        size = {"width": side, "height": side, "num_frames": frames}
        return {"model": self.card["id"], "prompt": "a red ball on a table", **size, **more}

    def longest(self) -> Json:
        size = {"width": self.card["default_width"], "height": self.card["default_height"]}
        frames, fps = self.card["frames"], self.card["default_fps"]
        most = min(frames["high"], int(self.card["max_seconds"] * fps))
        most -= (most - frames["low"]) % frames["step"]
        return self.smallest(**size, num_frames=most, fps=fps)

    def submit(self, ask: Json, **headers: str) -> Json:
        answer = self.client.post("/generate-video", json=ask, headers=headers)
        job: Json = expect(answer, 202).json()
        return job

    def final(self, job: Json) -> Json:
        deadline = time.monotonic() + self.seconds
        while not job["finished_at"]:
            if time.monotonic() > deadline:
                raise Wrong(f"{job['id']} is {job['status']} after {self.seconds:.0f} s")
            job = self.get(f"/v1/jobs/{job['id']}", params={"wait": 20}, timeout=60).json()
        return job


def health(on: Trial) -> str:
    told = on.client.get("/health", headers={"Authorization": ""}).json()
    if told["status"] != "healthy":
        raise Wrong(f"it is {told['status']}")
    return f"version {told['version']}"


def strangers(on: Trial) -> str:
    expect(on.client.get("/v1/jobs", headers={"Authorization": "Bearer nobody"}), 401)
    return "refused without a key"


def cards(on: Trial) -> str:
    models = {card["id"]: card for card in on.get("/v1/models").json()["data"]}
    name = on.model or next(iter(models))
    if name not in models:
        raise Wrong(f"{name} is not among {', '.join(models)}")
    on.card = models[name]
    return f"{name} of {', '.join(models)}"


def estimate(on: Trial) -> str:
    told = expect(on.client.post("/v1/estimate", json=on.smallest()), 200).json()
    frames = told["input"]["num_frames"]
    return f"{frames} frame{'s' * (frames != 1)}"


def accepted_once(on: Trial) -> str:
    name = uuid4().hex
    ask = on.smallest(webhook_url=on.webhook_url) if on.webhook_url else on.smallest()
    began = time.monotonic()
    on.job = on.submit(ask, **{"Idempotency-Key": name})
    took_ms = (time.monotonic() - began) * 1000
    again = on.submit(ask, **{"Idempotency-Key": name})
    if again["id"] != on.job["id"]:
        raise Wrong("the same Idempotency-Key made two jobs")
    return f"202 in {took_ms:.0f} ms, and once"


def made(on: Trial) -> str:
    began = time.monotonic()
    on.job = on.final(on.job)
    if on.job["status"] != "succeeded":
        raise Wrong(f"it {on.job['status']}: {on.job['error']}")
    return f"{time.monotonic() - began:.1f} s, on {on.job['gpu'] or 'a CPU'}"


def warm(on: Trial) -> str:
    began = time.monotonic()
    job = on.final(on.submit(on.smallest()))
    if job["status"] != "succeeded":
        raise Wrong(f"it {job['status']}: {job['error']}")
    return f"{time.monotonic() - began:.1f} s with a container that is there"


def bytes_whole(on: Trial) -> str:
    clip = on.get(f"/v1/jobs/{on.job['id']}/content", follow_redirects=True).content
    if hashlib.sha256(clip).hexdigest() != on.job["result"]["sha256"] or clip[4:8] != b"ftyp":
        raise Wrong("the bytes are not those that the job names")
    return f"{len(clip)} bytes, SHA-256 as told"


def bytes_ranged(on: Trial) -> str:
    """By the signed link, as a player does it."""
    link, size = on.job["result"]["video_url"], on.job["result"]["bytes"]
    asked = {"Range": "bytes=4-7"}
    part = expect(httpx.get(link, headers=asked, follow_redirects=True, timeout=60), 206)
    if part.content != b"ftyp" or part.headers["content-range"] != f"bytes 4-7/{size}":
        raise Wrong(f"{part.content!r}, {part.headers.get('content-range')}")
    return "206 by the signed link"


def canceled(on: Trial) -> str:
    """The longest there is, so that it is not over before it is canceled."""
    job = on.submit(on.longest())
    on.client.post(f"/v1/jobs/{job['id']}/cancel")
    began = time.monotonic()
    job = on.final(job)
    if job["status"] != "canceled":
        raise Wrong(f"it {job['status']}")
    return f"after {time.monotonic() - began:.1f} s"


def told(on: Trial) -> str:
    if on.webhook_url is None:
        raise Skipped("name a public https address with --webhook-url")
    deadline = time.monotonic() + 60
    while not (sent := delivery(on)):
        if time.monotonic() > deadline:
            raise Wrong(f"nothing was delivered to {on.webhook_url}")
        time.sleep(0.5)
    if on.receiver is None:
        return f"{sent['event']} was taken by {on.webhook_url}"
    secret = on.get("/v1/webhook-secret").json()["secret"]
    on.receiver.verify(secret, sent["id"])
    return f"{sent['event']}, its signature is right"


def delivery(on: Trial) -> Json | None:
    found = on.get("/v1/webhook-deliveries").json()["data"]
    ours = (one for one in found if one["job_id"] == on.job["id"] and one["delivered_at"])
    return next(ours, None)


def deleted(on: Trial) -> str:
    path = f"/v1/jobs/{on.job['id']}"
    expect(on.client.delete(path), 200)
    expect(on.client.get(path), 404)
    return "gone"


Check = Callable[[Trial], str]

CHECKS: dict[str, Check] = {
    "health": health,
    "strangers": strangers,
    "models": cards,
    "estimate": estimate,
    "submit": accepted_once,
    "first clip": made,
    "second clip": warm,
    "content": bytes_whole,
    "byte ranges": bytes_ranged,
    "cancel": canceled,
    "webhook": told,
    "delete": deleted,
}


@dataclass
class Receiver:
    """A webhook receiver on this machine."""

    port: int
    got: list[tuple[dict[str, str], bytes]]

    def verify(self, secret: str, delivery_id: str) -> None:
        """As docs/api.md tells receivers to, but without a library."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        for headers, body in self.got:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
            good = f"v1,{mac}" in headers["webhook-signature"].split()
            if headers["webhook-id"] == delivery_id and good:
                return
        raise Wrong(f"of {len(self.got)} requests none is {delivery_id} with a good signature")


@contextmanager
def receiving() -> Iterator[Receiver]:
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            got.append(({name.lower(): text for name, text in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The table says it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Receiver(server.server_address[1], got)
        server.shutdown()


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    key = given.key or revealed_key()
    if not key:
        print(
            "which key? name one with --key or RUSHES_API_KEY. `make deploy` and `make up-modal` "
            "print theirs at the end."
        )
        return 2
    with receiving() as receiver, client(given.url, key) as calling:
        here = calling.base_url.host in LOOPBACK and given.webhook_url is None
        url = f"http://127.0.0.1:{receiver.port}/" if here else given.webhook_url
        trial = Trial(calling, given.model, given.seconds, url, receiver if here else None)
        return run(trial)


def run(trial: Trial) -> int:
    """Every check, each a line; what hangs on one that failed is not tried."""
    failed = False
    for name, check in CHECKS.items():
        try:
            word, told = "ok", check(trial)
        except Skipped as skipped:
            word, told = "skipped", str(skipped)
        except (Wrong, httpx.HTTPError, KeyError, ValueError) as error:
            word, told, failed = "FAILED", f"{error or error!r}", True
        print(f"{name:<12} {word:<8} {told}", flush=True)
        if word == "FAILED" and name in ("health", "models", "submit", "first clip"):
            break
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smoke_modal.py", description=__doc__)
    parser.add_argument("url", help="where the service answers")
    parser.add_argument("--key", help="an API key; else RUSHES_API_KEY")
    parser.add_argument("--model", help="else the service's default")
    parser.add_argument("--webhook-url", help="a public https address that answers 2xx")
    parser.add_argument(
        "--seconds", type=float, default=900, help="for one clip, cold start and all"
    )
    return parser


def client(url: str, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=90)


def revealed_key() -> str:
    key = ClientSettings().api_key
    return key.get_secret_value() if key else ""


def expect(answer: httpx.Response, status: int) -> httpx.Response:
    if answer.status_code != status:
        raise Wrong(f"{answer.request.url} answered {answer.status_code}: {answer.text[:300]}")
    return answer


if __name__ == "__main__":
    sys.exit(main())
