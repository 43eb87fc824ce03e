"""The client against a service that misbehaves: lost answers, strangers, wrong bytes."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from service.cli import client as client_module
from service.cli import download, phrases, progress
from service.cli.avatar import AvatarOptions
from service.cli.client import Client, Problem, Unreachable
from service.cli.exits import CliError, Exit
from service.cli.flags import Output
from service.cli.values import flags_of
from service.cli.video import VideoOptions
from service.domain.kinds import KINDS
from service.domain.request import JobKind

JOB: dict[str, Any] = {
    "id": "job_1", "status": "running", "stage": "generate", "stage_detail": "step 3 of 8",
    "attempts": 1, "queue_position": None, "eta_seconds": None, "cancel_requested_at": None,
    "model": "slate", "error": None, "result": None,
}  # fmt: skip


class Fake(ThreadingHTTPServer):
    """Does with each request what the test says; remembers the headers."""

    daemon_threads = True

    def __init__(self, act: Callable[[BaseHTTPRequestHandler, int], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.act = act
        self.heard: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.heard.append(dict(self.headers))
        self.server.act(self, len(self.server.heard))

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        """Quiet."""


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, text in headers.items():
        handler.send_header(name, text)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def serve() -> Iterator[Callable[..., Fake]]:
    """Start a fake service; all of them end with the test."""
    fakes: list[Fake] = []

    def start(act: Callable[[BaseHTTPRequestHandler, int], None]) -> Fake:
        fakes.append(Fake(act))
        Thread(target=fakes[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return fakes[-1]

    yield start
    for fake in fakes:
        fake.shutdown()
        fake.server_close()


def test_a_lost_answer_is_asked_for_again_with_the_same_idempotency_key(
    serve: Callable[..., Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_RETRY_SECONDS", (0.01, 0.01, 0.01))

    def lose_two(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number > 2:
            answer(handler, 202, b'{"id": "job_1"}')

    fake = serve(lose_two)

    with Client(fake.url, "secret") as client:
        job = client.submit("/generate-video", {"prompt": "x"}, {}, "scene-1")

    keys = [headers["Idempotency-Key"] for headers in fake.heard]
    assert job == {"id": "job_1"}
    assert keys == ["scene-1"] * 3


def test_what_nobody_can_have_heard_is_not_asked_for_again() -> None:
    with Client("http://127.0.0.1:9", None) as client, pytest.raises(Unreachable) as caught:
        client.submit("/generate-video", {"prompt": "x"}, {}, "scene-1")

    assert not caught.value.may_have_arrived


def test_a_job_that_has_not_changed_is_not_sent_again(serve: Callable[..., Fake]) -> None:
    def etag(handler: BaseHTTPRequestHandler, number: int) -> None:
        if handler.headers.get("If-None-Match") == '"a"':
            answer(handler, 304, b"")
        else:
            answer(handler, 200, b'{"id": "job_1"}', ETag='"a"')

    fake = serve(etag)

    with Client(fake.url, None) as client:
        looks = [client.get("/v1/jobs/job_1") for _ in range(2)]

    assert looks == [{"id": "job_1"}] * 2
    assert "If-None-Match" in fake.heard[1]


def test_a_problem_carries_what_the_service_said(serve: Callable[..., Fake]) -> None:
    body = {"code": "invalid_request", "detail": "d", "errors": [{"detail": "a"}, {"detail": "b"}]}
    fake = serve(lambda handler, _number: answer(handler, 422, json.dumps(body).encode()))

    with Client(fake.url, None) as client, pytest.raises(Problem) as caught:
        client.get("/")

    problem = caught.value
    assert (problem.status, problem.code, problem.detail) == (422, "invalid_request", "d")
    assert (problem.exit_code, str(problem)) == (Exit.INVALID, "a\nb")


@pytest.mark.parametrize("status", [200, 404, 502])
def test_another_web_server_is_told_from_the_service(
    serve: Callable[..., Fake], status: int
) -> None:
    fake = serve(lambda handler, _number: answer(handler, status, b"<html>"))

    with Client(fake.url, None) as client, pytest.raises(CliError) as caught:
        client.get("/")

    assert caught.value.exit_code is Exit.UNREACHABLE
    assert "Rushes service" in str(caught.value)


@pytest.mark.parametrize(("status", "code"), [(200, 1), (502, 6)])
def test_wrong_bytes_leave_no_file_and_the_key_stays_here(
    serve: Callable[..., Fake], tmp_path: Path, status: int, code: int
) -> None:
    fake = serve(lambda handler, _number: answer(handler, status, b"not the video"))
    job = JOB | {
        "status": "succeeded",
        "result": {"video_url": f"{fake.url}/content", "sha256": "0" * 64},
    }

    with Client(fake.url, "secret") as client, pytest.raises(CliError) as caught:
        download.download(client, job, Output(tmp_path / "clip.mp4"))

    assert caught.value.exit_code == code
    assert list(tmp_path.iterdir()) == []
    assert "Authorization" not in fake.heard[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {
                "status": "failed",
                "error": {
                    "code": "oom", "message": "too big", "stage": "decode", "retryable": True,
                },
            },
            "job job_1 failed during decode: too big (oom); try `rushes retry job_1`",
        ),
        (
            {
                "status": "failed",
                "error": {
                    "code": "timeout", "message": "too long", "stage": "generate",
                    "retryable": True, "kind": "timeout",
                },
            },
            "job job_1 failed during generate: too long (timeout); submit it again with a longer "
            "--timeout",
        ),
        ({"status": "canceled"}, "job job_1 was canceled"),
        ({"status": "expired"}, "job job_1 expired: no worker started it in time"),
    ],
)  # fmt: skip
def test_the_end_of_a_job_is_told_in_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert phrases.failure(JOB | changes) == sentence


def choices(hint: Any) -> set[str]:
    """The texts that a value may be, however deep they are named in its type."""
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    return set[str]().union(*map(choices, get_args(hint)))


@pytest.mark.parametrize(("kind", "flags"), [("video", VideoOptions), ("avatar", AvatarOptions)])
def test_the_choices_of_a_flag_are_those_of_the_api(kind: JobKind, flags: type[Any]) -> None:
    offers = {name: choices(hint) for name, hint in get_type_hints(flags).items()}
    offers.pop("captions", None)  # of its own type in the API; the names are one list
    fields = get_type_hints(KINDS[kind].params)

    assert any(offers.values())
    for name, texts in offers.items():
        assert not texts or texts == choices(fields[name]), name


FLAGS = (
    flags_of(VideoOptions)
    | flags_of(AvatarOptions)
    | {"prompt": "PROMPT", "from": "--from", "Idempotency-Key": "--idempotency-key"}
)


@pytest.mark.parametrize(
    ("pointer", "detail", "line"),
    [
        ("", "the request: give `text` or `audio`", "give --text or --audio"),
        (
            "/duration_seconds",
            "duration_seconds: must be at most 1",
            "--seconds: must be at most 1",
        ),
        ("/last_image", "`last_image` needs `image`", "--last-image needs --image"),
        ("/video", "/video must be base64", "--video: must be base64"),
        ("Idempotency-Key:", "must be shorter", "--idempotency-key: must be shorter"),
        ("/keyframes/0/frame", "nearest: 8", "--keyframe: nearest: 8"),
        ("/metadata/scene", "scene: must be a string", "--metadata: must be a string"),
        ("/keep_audio", "`keep_audio` needs `video`", "--keep-audio needs --video"),
        ("/prompt", "prompt: must not be empty", "PROMPT: must not be empty"),
        ("?from", "from: must be a date", "--from: must be a date"),
        ("/width", "65 is not possible: the width …", "--width: 65 is not possible: the width …"),
        ("/webhook_url", "a `webhook_url` of http", "a webhook_url of http"),
    ],
)
def test_a_refusal_names_the_flags_of_the_command(pointer: str, detail: str, line: str) -> None:
    body = {"code": "invalid_request", "errors": [{"pointer": pointer, "detail": detail}]}

    assert str(Problem(422, body).in_flags(FLAGS)) == line


@pytest.mark.parametrize(
    ("changes", "doing", "ahead"),
    [
        ({"eta_seconds": 200.0}, "generate, step 3 of 8", "about 3 min left"),
        (
            {"stage": "load", "stage_detail": None, "eta_seconds": 3.0},
            "load",
            "about 3 s left",
        ),
        (
            {"model": "ltx-2b", "stage": "load", "stage_detail": None, "eta_seconds": 3.0},
            "load (the first time, the weights are downloaded)",
            "",
        ),
        ({"cancel_requested_at": "2026-01-01T00:00:00Z"}, "stopping", ""),
        (
            {"status": "queued", "stage_detail": None, "queue_position": 2, "eta_seconds": 40.2},
            "queued again after attempt 1",
            "2 jobs ahead, about 40 s left",
        ),
        (
            {"status": "queued", "stage_detail": None, "attempts": 0, "queue_position": 0},
            "queued",
            "no worker for its model yet",
        ),
        (
            {
                "status": "queued",
                "queue_position": 1,
                "eta_seconds": 2.0,
                "stage_detail": "waits for its voice: ElevenLabs is busy",
            },
            "queued, waits for its voice: ElevenLabs is busy",
            "1 job ahead",
        ),
    ],
)
def test_progress_is_told_in_words(changes: dict[str, Any], doing: str, ahead: str) -> None:
    job = JOB | changes

    assert (phrases.activity(job), phrases.wait(job)) == (doing, ahead)


def test_a_line_tells_that_a_queued_job_waits_for_its_voice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    queued = JOB | {"status": "queued", "stage": None, "stage_detail": None, "progress": 0}
    lines = progress.Lines()

    lines.show(queued)
    lines.show(queued | {"stage_detail": "waits for its voice: ElevenLabs is busy"})

    assert capsys.readouterr().err.splitlines()[-1].endswith("ElevenLabs is busy")
