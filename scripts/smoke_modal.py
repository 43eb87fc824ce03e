"""Smoke test of a deployed service over HTTP; the exit code is 0 if every check passes.

    python scripts/smoke_modal.py https://…modal.run --key rsh_… [--model ltx-2b]

It creates two of the smallest videos of the model and cancels a third. Webhooks go to public https
addresses only: name one with --webhook-url, or that check is skipped. For a service on this machine
a receiver is started here, and the signature is verified too.
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


class CheckFailed(Exception):
    """A check failed."""


class CheckSkipped(Exception):
    """A check cannot be run from here."""


@dataclass
class Target:
    """The service under test, and state that checks share."""

    client: httpx.Client
    model: str | None
    seconds: float
    webhook_url: str | None
    receiver: "Receiver | None" = None
    card: Json = field(default_factory=dict)
    job: Json = field(default_factory=dict)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return expect(self.client.get(path, **options), 200)

    def smallest(self, **fields: Any) -> Json:
        """Return the smallest request that the model accepts."""
        side, frames = self.card["side"]["low"], self.card["frames"]["low"]
        size = {"width": side, "height": side, "num_frames": frames}
        return {"model": self.card["id"], "prompt": "a red ball on a table", **size, **fields}

    def long(self) -> Json:
        size = {"width": self.card["default_width"], "height": self.card["default_height"]}
        frames, fps = self.card["frames"], self.card["default_fps"]
        num_frames = min(frames["high"], int(self.card["max_seconds"] * fps))
        num_frames -= (num_frames - frames["low"]) % frames["step"]
        return self.smallest(**size, num_frames=num_frames, fps=fps)

    def submit(self, body: Json, **headers: str) -> Json:
        answer = self.client.post("/generate-video", json=body, headers=headers)
        job: Json = expect(answer, 202).json()
        return job

    def wait_until_final(self, job: Json) -> Json:
        deadline = time.monotonic() + self.seconds
        while not job["finished_at"]:
            if time.monotonic() > deadline:
                raise CheckFailed(f"{job['id']} is {job['status']} after {self.seconds:.0f} s")
            job = self.get(f"/v1/jobs/{job['id']}", params={"wait": 20}, timeout=60).json()
        return job


def check_health(target: Target) -> str:
    health = target.client.get("/health", headers={"Authorization": ""}).json()
    if health["status"] != "healthy":
        raise CheckFailed(f"it is {health['status']}")
    return f"version {health['version']}"


def check_auth(target: Target) -> str:
    expect(target.client.get("/v1/jobs", headers={"Authorization": "Bearer nobody"}), 401)
    return "refused without a key"


def check_models(target: Target) -> str:
    models = {card["id"]: card for card in target.get("/v1/models").json()["data"]}
    name = target.model or next(iter(models))
    if name not in models:
        raise CheckFailed(f"{name} is not among {', '.join(models)}")
    target.card = models[name]
    return f"{name} of {', '.join(models)}"


def check_estimate(target: Target) -> str:
    estimate = expect(target.client.post("/v1/estimate", json=target.smallest()), 200).json()
    frames = estimate["input"]["num_frames"]
    return f"{frames} frame{'s' * (frames != 1)}"


def check_submit(target: Target) -> str:
    name = uuid4().hex
    body = (
        target.smallest(webhook_url=target.webhook_url) if target.webhook_url else target.smallest()
    )
    began = time.monotonic()
    target.job = target.submit(body, **{"Idempotency-Key": name})
    took_ms = (time.monotonic() - began) * 1000
    again = target.submit(body, **{"Idempotency-Key": name})
    if again["id"] != target.job["id"]:
        raise CheckFailed("the same Idempotency-Key made two jobs")
    return f"202 in {took_ms:.0f} ms, and once"


def check_first_video(target: Target) -> str:
    began = time.monotonic()
    target.job = target.wait_until_final(target.job)
    if target.job["status"] != "succeeded":
        raise CheckFailed(f"it {target.job['status']}: {target.job['error']}")
    return f"{time.monotonic() - began:.1f} s, on {target.job['gpu'] or 'a CPU'}"


def check_second_video(target: Target) -> str:
    began = time.monotonic()
    job = target.wait_until_final(target.submit(target.smallest()))
    if job["status"] != "succeeded":
        raise CheckFailed(f"it {job['status']}: {job['error']}")
    return f"{time.monotonic() - began:.1f} s with a warm container"


def check_content(target: Target) -> str:
    video = target.get(f"/v1/jobs/{target.job['id']}/content", follow_redirects=True).content
    if hashlib.sha256(video).hexdigest() != target.job["result"]["sha256"] or video[4:8] != b"ftyp":
        raise CheckFailed("the content does not match the job's SHA-256")
    return f"{len(video)} bytes, SHA-256 verified"


def check_ranges(target: Target) -> str:
    """Request a range by the signed URL, as a player does."""
    link, size = target.job["result"]["video_url"], target.job["result"]["bytes"]
    headers = {"Range": "bytes=4-7"}
    part = expect(httpx.get(link, headers=headers, follow_redirects=True, timeout=60), 206)
    if part.content != b"ftyp" or part.headers["content-range"] != f"bytes 4-7/{size}":
        raise CheckFailed(f"{part.content!r}, {part.headers.get('content-range')}")
    return "206 by the signed URL"


def check_cancel(target: Target) -> str:
    """Cancel a long video, which cannot finish before that."""
    job = target.submit(target.long())
    target.client.post(f"/v1/jobs/{job['id']}/cancel")
    began = time.monotonic()
    job = target.wait_until_final(job)
    if job["status"] != "canceled":
        raise CheckFailed(f"it {job['status']}")
    return f"after {time.monotonic() - began:.1f} s"


def check_webhook(target: Target) -> str:
    if target.webhook_url is None:
        raise CheckSkipped("needs a public https address: --webhook-url")
    deadline = time.monotonic() + 60
    while not (event := delivery(target)):
        if time.monotonic() > deadline:
            raise CheckFailed(f"nothing was delivered to {target.webhook_url}")
        time.sleep(0.5)
    if target.receiver is None:
        return f"{event['event']} was accepted by {target.webhook_url}"
    secret = target.get("/v1/webhook-secret").json()["secret"]
    target.receiver.verify(secret, event["id"])
    return f"{event['event']}, signature verified"


def delivery(target: Target) -> Json | None:
    rows = target.get("/v1/webhook-deliveries").json()["data"]
    ours = (row for row in rows if row["job_id"] == target.job["id"] and row["delivered_at"])
    return next(ours, None)


def check_delete(target: Target) -> str:
    path = f"/v1/jobs/{target.job['id']}"
    expect(target.client.delete(path), 200)
    expect(target.client.get(path), 404)
    return "deleted"


Check = Callable[[Target], str]

CHECKS: dict[str, Check] = {
    "health": check_health,
    "auth": check_auth,
    "models": check_models,
    "estimate": check_estimate,
    "submit": check_submit,
    "first video": check_first_video,
    "second video": check_second_video,
    "content": check_content,
    "byte ranges": check_ranges,
    "cancel": check_cancel,
    "webhook": check_webhook,
    "delete": check_delete,
}


@dataclass
class Receiver:
    """A webhook receiver on this machine."""

    port: int
    requests: list[tuple[dict[str, str], bytes]]

    def verify(self, secret: str, delivery_id: str) -> None:
        """Verify the signature of a delivery by the Standard Webhooks scheme, without a library."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        for headers, body in self.requests:
            content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            mac = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
            matches = f"v1,{mac}" in headers["webhook-signature"].split()
            if headers["webhook-id"] == delivery_id and matches:
                return
        raise CheckFailed(
            f"none of {len(self.requests)} requests is {delivery_id} with a valid signature"
        )


@contextmanager
def receiving() -> Iterator[Receiver]:
    requests: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append(({name.lower(): text for name, text in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Receiver(server.server_address[1], requests)
        server.shutdown()


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    key = options.key or key_from_settings()
    if not key:
        print(
            "no API key: give --key or set RUSHES_API_KEY. `make deploy` and `make up-modal` print "
            "one at the end."
        )
        return 2
    with receiving() as receiver, client(options.url, key) as http:
        is_local = http.base_url.host in LOOPBACK and options.webhook_url is None
        url = f"http://127.0.0.1:{receiver.port}/" if is_local else options.webhook_url
        target = Target(http, options.model, options.seconds, url, receiver if is_local else None)
        return run(target)


def run(target: Target) -> int:
    """Run and print every check; stop where later ones depend on a failed one."""
    exit_code = 0
    for name, check in CHECKS.items():
        try:
            word, detail = "ok", check(target)
        except CheckSkipped as reason:
            word, detail = "skipped", str(reason)
        except (CheckFailed, httpx.HTTPError, KeyError, ValueError) as error:
            word, detail, exit_code = "FAILED", f"{error or error!r}", 1
        print(f"{name:<12} {word:<8} {detail}", flush=True)
        if word == "FAILED" and name in ("health", "models", "submit", "first video"):
            break
    return exit_code


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smoke_modal.py", description=__doc__)
    parser.add_argument("url", help="the service's URL")
    parser.add_argument("--key", help="API key; default: RUSHES_API_KEY")
    parser.add_argument("--model", help="default: the service's default")
    parser.add_argument("--webhook-url", help="a public https URL that responds with 2xx")
    parser.add_argument(
        "--seconds", type=float, default=900, help="timeout for one video, cold start included"
    )
    return parser


def client(url: str, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=90)


def key_from_settings() -> str:
    key = ClientSettings().api_key
    return key.get_secret_value() if key else ""


def expect(response: httpx.Response, status: int) -> httpx.Response:
    if response.status_code != status:
        raise CheckFailed(
            f"{response.request.url} returned {response.status_code}: {response.text[:300]}"
        )
    return response


if __name__ == "__main__":
    sys.exit(main())
