"""Submitting an avatar: a face, and a text or a voice."""

import base64
import io
import struct
import wave
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.app import build
from service.domain.avatar import AvatarOptions
from service.settings import Settings
from tests.api.world import KEY, World
from tests.workers.avatars import FACES


def wav(seconds: float = 1.0) -> str:
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes(struct.pack("<h", 9000) * int(seconds * 16_000))
    return base64.b64encode(file.getvalue()).decode()


def photo() -> str:
    file = io.BytesIO()
    Image.new("RGB", (640, 480), "grey").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def claiming(seconds: int) -> str:
    """A FLAC of a few bytes that claims to be this long."""
    numbers = 16_000 << 44 | 15 << 36 | seconds * 16_000  # mono, 16 bits
    head = b"fLaC\x80\x00\x00\x22" + bytes(10) + numbers.to_bytes(8, "big") + bytes(16)
    return base64.b64encode(head).decode()


def png(width: int, height: int) -> str:
    """The header of a picture of this size: it is refused before it is decoded."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    content += struct.pack(">I", zlib.crc32(chunk))
    return base64.b64encode(content).decode()


@pytest.fixture
def avatars(settings: Settings) -> Iterator[World]:
    settings.models = ["slate", "puppet"]
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield World(client)


def ask(world: World, **body: Any) -> Any:
    return world.client.post("/generate-avatar", json={"reference_image": photo(), **body})


def test_a_text_becomes_a_job_of_the_first_model_for_avatars(avatars: World) -> None:
    answer = ask(avatars, text="Hello.", seed=5, metadata={"scene": "1"})

    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["kind"], job["model"], job["status"]) == ("avatar", "puppet", "queued")
    wanted = {"text": "Hello.", "width": 512, "height": 512, "fps": 25, "num_frames": None}
    assert wanted.items() <= job["input"].items()
    assert job["input"]["reference_image"]["width"] == 640
    assert avatars.job(job["id"])["metadata"] == {"scene": "1"}
    assert [one["id"] for one in listed(avatars, "avatar")] == [job["id"]]
    assert listed(avatars, "video") == []


def listed(world: World, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.client.get("/v1/jobs", params={"kind": kind}).json()["data"]
    return found


def test_a_recording_is_kept_with_the_job(avatars: World) -> None:
    job = ask(avatars, audio=wav(), resolution="720p").json()

    assert job["input"]["audio"]["media_type"] == "audio/wav"
    assert (job["input"]["width"], job["input"]["text"]) == (720, None)


def test_parts_of_a_form_are_taken(avatars: World) -> None:
    files = {
        "reference_image": ("face.png", base64.b64decode(photo()), "image/png"),
        "audio": ("voice.wav", base64.b64decode(wav()), "audio/wav"),
    }

    answer = avatars.client.post("/generate-avatar", data={"seed": "7"}, files=files)

    assert answer.status_code == 202, answer.text
    assert answer.json()["seed"] == 7


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        ({}, "", "give `text` or `audio`"),
        ({"text": "a", "audio": wav()}, "/text", "give `text` or `audio`, not both"),
        ({"audio": wav(), "voice": "x"}, "/voice", "leave `voice` out with `audio`"),
        ({"audio": wav(), "speed": 1.1}, "/speed", "leave `speed` out with `audio`"),
        ({"audio": wav(), "captions": {}}, "/captions", "with `audio` also needs `text`"),
        ({"text": "a", "resolution": "512p", "width": 512}, "", "not both"),
        ({"text": "a", "reference_image": None}, "/reference_image", "give `reference_image`"),
        ({"text": "a" * 5001}, "/text", "at most 5,000 characters"),
        ({"text": "a", "width": 511}, "/width", "nearest: 510 and 512"),
        ({"text": "a", "duration_seconds": 900}, "/duration_seconds", "600 s at most"),
        ({"text": "a", "model": "slate"}, "/model", "slate makes no avatars"),
        ({"audio": "aGVsbG8="}, "/audio", "not WAV, MP3"),
        ({"audio": wav(), "duration_seconds": 3}, "/duration_seconds", "the voice lasts 1.00 s"),
        ({"audio": wav(0.2)}, "/audio", "the audio lasts 0.2 s; puppet speaks for 0.5 to 600 s"),
        ({"audio": claiming(7200)}, "/audio", "lasts 7200.0 s; puppet speaks for 0.5 to 600 s"),
        (
            {"text": "a", "reference_image": png(8000, 5000)},
            "/reference_image",
            "is 8000x5000; the limit is 24,000,000 pixels",
        ),
        ({"text": "a", "reference_image": wav()}, "/reference_image", "not PNG, JPEG"),
        (
            {"text": "a", "captions": {"format": "ass"}},
            "/captions/format",
            "'vtt', 'srt' or 'json'",
        ),
        ({"text": "a", "reference_imag": "b"}, "/reference_imag", "reference_image?"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    avatars: World, body: dict[str, Any], pointer: str, says: str
) -> None:
    answer = ask(avatars, **body)

    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert (error["pointer"], says in error["detail"]) == (pointer, True), error


def test_a_model_for_avatars_makes_no_video(avatars: World) -> None:
    answer = avatars.client.post("/generate-video", json={"prompt": "a", "model": "puppet"})

    assert answer.status_code == 422
    assert "use POST /generate-avatar" in answer.json()["errors"][0]["detail"]


def test_without_a_model_for_avatars_its_owner_is_told(world: World) -> None:
    answer = world.client.post("/generate-avatar", json={"text": "a", "reference_image": photo()})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["detail"] == (
        "this service has no avatar model: its operator can run `make avatar` and restart it "
        "(RUSHES_MODELS, if it is set, must name puppet)"
    )


def test_a_final_avatar_is_retried_with_changes(avatars: World) -> None:
    job = ask(avatars, text="Hello.", seed=5).json()
    avatars.client.post(f"/v1/jobs/{job['id']}/cancel")

    again = avatars.client.post(f"/v1/jobs/{job['id']}/retry", json={"text": "Good bye."})
    wrong = avatars.client.post(f"/v1/jobs/{job['id']}/retry", json={"strength": 0.5})

    assert again.status_code == 202, again.text
    assert again.json()["retry_of"] == job["id"]
    assert (again.json()["input"]["text"], again.json()["seed"]) == ("Good bye.", 5)
    assert again.json()["input"]["reference_image"]["width"] == 640
    assert wrong.status_code == 422


def test_a_retry_by_another_model_takes_the_size_of_that(avatars: World) -> None:
    job = ask(avatars, text="Hello.", width=640, height=720).json()
    avatars.client.post(f"/v1/jobs/{job['id']}/cancel")

    same, other = (
        avatars.client.post(f"/v1/jobs/{job['id']}/retry", json=changes).json()["input"]
        for changes in ({"seed": 1}, {"model": "puppet"})
    )

    assert (same["width"], same["height"]) == (640, 720)
    assert (other["width"], other["height"]) == (512, 512)


CHANGES: dict[str, Any] = {
    "model": "puppet",
    "models": ["puppet"],
    "width": 640,
    "height": 640,
    "seed": 1,
    "priority": "low",
    "timeout_seconds": 60,
    "start_timeout_seconds": 60,
    "metadata": {"scene": "2"},
    "webhook_url": "https://example.com/hook",
    "webhook_events": ["job.succeeded"],
    "response_format": "url",
    "text": "Good bye.",
    "voice": "hibari-heart",
    "speed": 1.1,
    "audio": wav(2.0),
    "reference_image": photo(),
    "avatar": "ava_0000000000000000000000",
    "prompt": "A man.",
    "duration_seconds": 0.5,
    "resolution": "720p",
    "captions": {"format": "srt"},
}
WITHOUT = {"webhook_events": "", "avatar": "/avatar"}  # no URL, no such avatar
NO_VOICE = {"voice": "/voice", "speed": "/speed"}


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"text": "Hello."}, {}),
        ({"text": "Hello.", "captions": {}}, {"audio": "/captions"}),
        ({"audio": wav()}, {**NO_VOICE, "captions": "/captions"}),
        ({"audio": wav(), "text": "Hello.", "captions": {}}, {**NO_VOICE, "audio": "/captions"}),
    ],
    ids=["text", "text-captions", "audio", "audio-captions"],
)
def test_a_retry_takes_or_names_each_field(
    avatars: World, body: dict[str, Any], refused: dict[str, str]
) -> None:
    assert CHANGES.keys() == AvatarOptions.model_fields.keys()
    job = ask(avatars, **body).json()
    avatars.client.post(f"/v1/jobs/{job['id']}/cancel")
    pointers = {}

    for name, value in CHANGES.items():
        answer = avatars.client.post(f"/v1/jobs/{job['id']}/retry", json={name: value})
        if answer.status_code != 202:
            assert answer.status_code == 422, (name, answer.text)
            pointers[name] = answer.json()["errors"][0]["pointer"]

    assert pointers == {**WITHOUT, **refused}


def retried(world: World, body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    job = ask(world, **body).json()
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    answer = world.client.post(f"/v1/jobs/{job['id']}/retry", json=changes)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()["input"]
    return found


@pytest.mark.parametrize("captions", [{}, {"captions": {"format": "srt"}}], ids=["kept", "new"])
def test_a_retry_with_other_captions_keeps_the_recording(
    avatars: World, captions: dict[str, Any]
) -> None:
    body = {"audio": wav(), "text": "Helo.", "captions": {}, "duration_seconds": 0.5}

    again = retried(avatars, body, {"text": "Hello.", **captions})

    assert again["audio"]["seconds"] == 1.0
    assert (again["text"], again["num_frames"]) == ("Hello.", 12)


def test_a_retry_with_captions_for_a_recording_keeps_it(avatars: World) -> None:
    again = retried(avatars, {"audio": wav()}, {"text": "Hello.", "captions": {}})

    assert (again["audio"]["seconds"], again["captions"]["format"]) == (1.0, "vtt")


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ({}, {"text": "Hello."}),
        ({"text": "Helo.", "captions": {}}, {"text": "Hello.", "speed": 1.1}),
    ],
    ids=["alone", "captions"],
)
def test_a_retry_may_have_a_text_spoken_in_place_of_a_recording(
    avatars: World, body: dict[str, Any], changes: dict[str, Any]
) -> None:
    again = retried(avatars, {"audio": wav(), **body}, changes)

    assert (again["audio"], again["text"]) == (None, "Hello.")


def test_an_idempotency_key_makes_one_avatar(avatars: World) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"text": "Hello.", "reference_image": photo()}

    first, second = (
        avatars.client.post("/generate-avatar", json=body, headers=headers) for _ in range(2)
    )

    assert first.json()["id"] == second.json()["id"]
    assert second.headers["Idempotency-Replayed"] == "true"


def estimate(world: World, **body: Any) -> dict[str, Any]:
    answer = world.client.post("/v1/estimate", json={"reference_image": photo(), **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_estimate_of_a_recording_is_as_long_as_its_header_says(avatars: World) -> None:
    found = estimate(avatars, audio=wav(12.5), seed=1)

    assert (found["model"], found["input"]["kind"]) == ("puppet", "avatar")
    assert found["duration_seconds"] == 12.52  # 313 frames
    assert found["duration_range_seconds"] is None
    assert found["expected_seconds"] == pytest.approx(2 + 313 * 0.512**2 * 0.075, abs=0.01)
    assert found["cost"]["estimated_usd"] == 0
    assert not any("as long as what is spoken" in text for text in found["warnings"])
    assert avatars.client.get("/v1/jobs").json()["data"] == []


def test_an_estimate_of_a_text_tells_a_range(avatars: World) -> None:
    found = estimate(avatars, text="The quick brown fox jumps over the lazy dog. " * 4, seed=1)

    low, high = found["duration_range_seconds"].values()
    assert found["duration_seconds"] is None
    assert 5 < low < 12 < high < 25  # the offline voice takes 12.6 s
    (warning,) = [text for text in found["warnings"] if "as long as what is spoken" in text]
    assert f"{low} to {high} s" in warning


@pytest.mark.parametrize(
    ("body", "seconds", "range_seconds"),
    [
        ({"text": "Hello to all of you.", "duration_seconds": 1.0}, 1.0, None),
        ({"audio": "https://example.com/voice.mp3"}, None, {"shortest": 0.5, "longest": 600.0}),
    ],
)
def test_an_estimate_says_what_it_cannot_know(
    avatars: World,
    body: dict[str, Any],
    seconds: float | None,
    range_seconds: dict[str, float] | None,
) -> None:
    found = estimate(avatars, **body)

    assert found["duration_seconds"] == seconds
    assert found["duration_range_seconds"] == range_seconds


def test_an_estimate_says_when_a_worker_is_free(avatars: World) -> None:
    without = estimate(avatars, text="Hello.")["starts_in_seconds"]
    avatars.claim(models=["puppet"])
    idle = estimate(avatars, text="Hello.")["starts_in_seconds"]
    ask(avatars, audio=wav(100))
    avatars.claim(models=["puppet"])
    busy = estimate(avatars, text="Hello.")["starts_in_seconds"]

    assert (without, idle) == (None, 0.0)
    assert busy == pytest.approx(2 + 2500 * 0.512**2 * 0.075, rel=0.1)


def test_an_estimate_takes_parts_of_a_form_and_refuses_as_a_submit_does(avatars: World) -> None:
    files = {"reference_image": ("face.png", base64.b64decode(photo()), "image/png")}

    formed = avatars.client.post("/v1/estimate", data={"text": "Hello."}, files=files)
    wrong = avatars.client.post("/v1/estimate", json={"text": "Hello."})

    assert formed.status_code == 200, formed.text
    assert wrong.json()["errors"][0]["pointer"] == "/reference_image"


def test_the_sound_of_a_silent_video_is_refused(avatars: World) -> None:
    job = avatars.submit(model="slate")
    avatars.finish()

    answer = ask(avatars, audio=job["id"])

    assert answer.status_code == 422
    assert "has no sound" in answer.json()["errors"][0]["detail"]


@pytest.fixture
def both(settings: Settings) -> Iterator[World]:
    settings.models = ["slate", "longcat", "puppet"]
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield World(client)


def order(job: dict[str, Any]) -> list[str]:
    return [job["model"], *(fallback["model"] for fallback in job["fallbacks"])]


def test_the_first_model_that_is_served_is_the_default_and_the_next_takes_over(both: World) -> None:
    job = ask(both, text="Hello.").json()

    assert order(job) == ["longcat", "puppet"]
    # 640x480, as the photo's shape is; and a square.
    assert (job["input"]["width"], job["input"]["height"]) == (736, 544)
    assert job["input"]["num_inference_steps"] == 8
    assert job["input"]["prompt"].startswith("A person looks into the camera")
    assert job["fallbacks"][0]["input"]["width"] == 512
    assert job["cost"]["estimated_usd"] == 0  # of local workers


def test_without_a_photo_only_one_of_them_can(both: World) -> None:
    alone = ask(both, text="Hello.", reference_image=None)
    named = ask(both, text="Hello.", reference_image=None, models=["longcat", "puppet"])

    assert order(alone.json()) == ["longcat"]
    assert (alone.json()["input"]["width"], alone.json()["input"]["height"]) == (832, 480)
    assert named.status_code == 422
    (error,) = named.json()["errors"]
    assert (error["pointer"], error["detail"]) == (
        "/reference_image",
        "puppet animates a photo: give `reference_image`",
    )


def test_an_order_of_both_gives_each_its_own_size(both: World) -> None:
    job = ask(both, text="Hello.", models=["longcat", "puppet"], resolution="720p").json()

    assert order(job) == ["longcat", "puppet"]
    assert (job["input"]["width"], job["input"]["height"]) == (1120, 832)
    assert job["fallbacks"][0]["input"]["height"] == 720


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        ({"width": 640, "height": 480}, "/height", "57 sizes of 480p and 720p; nearest: 672x576"),
        ({"resolution": "512p"}, "/resolution", "longcat has no 512p, but 480p and 720p"),
        ({"duration_seconds": 601}, "/duration_seconds", "600 s at most"),
    ],
)
def test_what_the_default_cannot_make_is_refused(
    both: World, body: dict[str, Any], pointer: str, says: str
) -> None:
    answer = ask(both, text="Hello.", **body)

    assert answer.status_code == 422, answer.text
    found = {error["pointer"]: error["detail"] for error in answer.json()["errors"]}
    assert says in found[pointer]


def test_the_weights_of_the_settings_are_those_of_the_card(settings: Settings) -> None:
    settings.models = ["slate", "longcat"]
    settings.longcat_repo = "someone/LongCat-Video-Avatar-1.6"
    settings.longcat_revision, settings.longcat_base_revision = "a" * 40, "b" * 40
    settings.quantize = "int8-weights"
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        listed = {model["id"]: model for model in client.get("/v1/models").json()["data"]}

    avatar, base = listed["longcat"]["weights"]
    assert (avatar["repo"], avatar["revision"]) == (settings.longcat_repo, "a" * 40)
    assert "base_model_int8/*" in avatar["files"]
    assert "base_model/*" not in avatar["files"]
    assert (base["repo"], base["revision"]) == ("meituan-longcat/LongCat-Video", "b" * 40)
    assert listed["longcat"]["gpu_memory_gb"] == 40


def test_an_estimate_is_of_whole_clips_and_of_the_first_gpu(settings: Settings) -> None:
    settings.models = ["slate", "longcat"]
    settings.gpu_rates = {"H100": 0.001097}
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        one, two = (
            estimate(World(client), audio=wav(6), reference_image=None, duration_seconds=seconds)
            for seconds in (3.72, 3.76)  # 93 frames and 94
        )

    assert one["expected_seconds"] == pytest.approx(72, abs=3)
    assert two["expected_seconds"] - one["expected_seconds"] == pytest.approx(64, abs=3)
    usd = 0.001097 * two["expected_seconds"]
    assert two["cost"]["estimated_usd"] == pytest.approx(usd, abs=1e-5)


def silence() -> str:
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes(bytes(2 * 16_000 * 3))
    return base64.b64encode(file.getvalue()).decode()


def upside_down() -> str:
    file = io.BytesIO()
    Image.open(FACES["anna"]).rotate(180).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"audio": silence(), "reference_image": None}, "/audio", "audio_silent"),
        ({"text": "Hello.", "reference_image": upside_down()}, "/reference_image", "face_rotated"),
    ],
)
def test_no_gpu_is_asked_for_what_its_worker_would_refuse(
    both: World, body: dict[str, Any], pointer: str, code: str
) -> None:
    answer = ask(both, model="longcat", **body)

    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)
    assert both.client.get("/v1/jobs").json()["data"] == []
    assert list(both.runtime.artifacts.children("inputs")) == []


def test_the_sound_of_an_earlier_job_is_heard_before_a_gpu_is_asked_for(both: World) -> None:
    earlier = both.submit(model="slate")
    both.finish(base64.b64decode(silence()), has_audio=True)

    answer = ask(both, model="longcat", audio=earlier["id"], reference_image=None)

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["code"] == "audio_silent"


def test_a_file_for_a_cpu_that_costs_nothing_is_left_to_its_worker(both: World) -> None:
    assert ask(both, model="puppet", audio=silence()).status_code == 202
