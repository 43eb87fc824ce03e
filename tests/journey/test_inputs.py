"""A picture goes in and its pixels come out: every way in, through the whole service."""

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.workers.adapters.base import Frame
from tests.egress.parts import Handler, answers, serve
from tests.journey.service import Running, running
from tests.workers.inputs import films
from tests.workers.inputs.pictures import bombs, gradient, saved

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc"),
]

SIZE = (96, 64)
PICTURE = saved(gradient(size=SIZE), "PNG")
CORNER = (slice(0, 3), slice(0, 3))  # beside the board


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("up"), webhooks_allow_loopback=True) as found:
        yield found


def made_of(service: Running, *, files: dict[str, bytes] | None = None, **ask: Any) -> Any:
    """The job once it is final."""
    body = {"prompt": "x", "width": SIZE[0], "height": SIZE[1], "num_frames": 3, **ask}
    if files is None:
        answer = service.client.post("/generate-video", json=body)
    else:
        texts = {name: str(value) for name, value in body.items()}
        answer = service.client.post("/generate-video", data=texts, files=files)
    assert answer.status_code == 202, answer.text
    return service.wait(answer.json()["id"])


def last_frame(job: dict[str, Any]) -> Frame:
    assert job["status"] == "succeeded", job
    content = httpx.get(job["result"]["last_frame_url"]).content
    return np.asarray(Image.open(io.BytesIO(content)))


def serving(content: bytes) -> Handler:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
    return answers(head + content)


def assert_shows(job: dict[str, Any], picture: bytes = PICTURE) -> None:
    wanted = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    assert np.array_equal(last_frame(job)[CORNER], wanted[CORNER])


def test_a_picture_in_base64_is_seen_in_the_video(service: Running) -> None:
    job = made_of(service, image=base64.b64encode(PICTURE).decode())

    assert_shows(job)
    assert job["timings_ms"]["preprocess"] >= 0


def test_a_picture_in_a_form_is_seen_in_the_video(service: Running) -> None:
    assert_shows(made_of(service, files={"image": PICTURE}))


def test_a_picture_at_a_url_is_seen_in_the_video(service: Running) -> None:
    with serve(serving(PICTURE)) as server:
        job = made_of(service, image=server.url)

    assert_shows(job)
    assert job["input"]["image"]["url"] == server.url


def test_the_last_frame_of_a_job_is_seen_in_the_next_one(service: Running) -> None:
    first = made_of(service, seed=1)
    content = httpx.get(first["result"]["last_frame_url"]).content

    assert_shows(made_of(service, image=first["id"], seed=2), content)


def test_a_video_ends_with_its_last_picture(service: Running) -> None:
    end = saved(gradient(size=SIZE).transpose(Image.Transpose.ROTATE_180), "PNG")

    assert_shows(made_of(service, files={"image": PICTURE, "last_image": end}), end)


def test_a_film_is_seen_under_the_board(service: Running, tmp_path: Path) -> None:
    film = films.make("silent.mp4", tmp_path).read_bytes()
    plain = last_frame(made_of(service, seed=5))

    with serve(serving(film)) as server:
        over = [
            last_frame(made_of(service, seed=5, num_frames=12, fps=12, **more, strength=0.01))
            for more in ({"video": base64.b64encode(film).decode()}, {"video": server.url})
        ]
    again = made_of(service, video=made_of(service, seed=9)["id"], strength=0.01)

    assert np.array_equal(over[0], over[1])
    assert not np.array_equal(over[0][CORNER], plain[CORNER])
    assert again["status"] == "succeeded", again


def test_what_is_no_picture_or_film_fails_by_its_sender_and_the_worker_lives_on(
    service: Running, tmp_path: Path
) -> None:
    workers = service.children("worker")
    film = films.make("film.mp4", tmp_path).read_bytes()
    cut = {"image": PICTURE[:80]}, {"video": film[: len(film) // 2]}
    small = {name: b for name, b in bombs().items() if len(b) < 20_000_000}

    jobs = [made_of(service, files=files, num_frames=24, fps=12) for files in cut]
    for content in small.values():
        answer = service.client.post(
            "/generate-video",
            data={"prompt": "x", "width": 64, "height": 64, "num_frames": 1},
            files={"image": content},
        )
        if answer.status_code == 202:
            jobs.append(service.wait(answer.json()["id"]))
        else:
            assert answer.status_code == 422, answer.text

    ends = {(job["status"], job["error"] and job["error"]["kind"]) for job in jobs}
    assert ends <= {("failed", "user"), ("succeeded", None)}
    assert [job["status"] for job in jobs[:2]] == ["failed", "failed"]
    assert jobs[0]["error"]["stage"] == "preprocess"
    assert all(job["attempts"] == 1 for job in jobs)
    assert service.children("worker") == workers
    assert_shows(made_of(service, files={"image": PICTURE}))


def test_a_url_that_gives_nothing_fails_by_its_sender(service: Running) -> None:
    with serve(answers(b"HTTP/1.1 404 Not Found\r\n\r\n")) as server:
        job = made_of(service, image=server.url)

    error = job["error"]
    assert (job["status"], error["kind"], error["code"]) == ("failed", "user", "url_failed")
    assert job["attempts"] == 1


def test_the_memory_of_the_api_stays_flat_with_16_large_requests_at_once(tmp_path: Path) -> None:
    picture = PICTURE + bytes(19_000_000)
    body = json.dumps({"prompt": "x", "image": base64.b64encode(picture).decode()}).encode()
    headers = {"Content-Type": "application/json"}
    with running(tmp_path, "--workers", "0") as service:
        (api,) = service.children("api")
        service.submit()
        before = resident_bytes(api)

        with ThreadPoolExecutor(16) as threads:
            answered = list(
                threads.map(
                    lambda _: service.client.post(
                        "/generate-video", content=body, headers=headers, timeout=200
                    ),
                    range(16),
                )
            )

        assert [answer.status_code for answer in answered] == [202] * 16
        # One of them in memory as text, bytes and picture would be 70 MB.
        assert resident_bytes(api) - before < 60_000_000


def resident_bytes(process: int) -> int:
    """The most that it has had in memory at any time."""
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
