"""Pictures and films at the door: taken in by every way, judged, kept before the answer."""

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from service.app import build
from service.domain.errors import Unavailable
from service.domain.media import MediaRef
from service.domain.request import VideoParams
from service.lifecycle.inputs import Input
from service.lifecycle.submit import Accepted, submit_all
from service.runtime import runtime as runtime_module
from service.runtime.submit import SubmitRequest, create_job
from service.settings import Settings
from service.store.database import Database
from tests.api.world import KEY, World
from tests.workers.inputs.pictures import gradient, png, saved

SMALL = saved(gradient(size=(48, 32)), "PNG")
FILM = b"\0\0\0\x20ftypisom" + bytes(400_000)  # a film by its first bytes: nothing looks further
BODY, IMAGE, VIDEO = 100_000, 300_000, 500_000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"max_body_bytes": BODY, "max_image_bytes": IMAGE, "max_video_bytes": VIDEO}
    )


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def big_picture(size: int = 200_000) -> bytes:
    """A PNG whose body no longer fits into an ordinary request."""
    return png(48, 32) + bytes(size)


def as_base64(world: World, content: bytes) -> Response:
    ask = {"prompt": "x", "image": base64_of(content)}
    return world.client.post("/generate-video", json=ask)


def as_data_uri(world: World, content: bytes) -> Response:
    ask = {"prompt": "x", "image": f"data:image/png;base64,{base64_of(content)}"}
    return world.client.post("/generate-video", json=ask)


def with_escaped_slashes(world: World, content: bytes) -> Response:
    """As PHP writes it."""
    body = json.dumps({"image": base64_of(content), "prompt": "x"}).replace("/", "\\/")
    headers = {"Content-Type": "application/json"}
    return world.client.post("/generate-video", content=body, headers=headers)


def in_a_form(world: World, content: bytes, **fields: str) -> Response:
    data, files = {"prompt": "x", **fields}, {"image": ("a.png", content, "image/png")}
    return world.client.post("/generate-video", data=data, files=files)


WAYS = [as_base64, as_data_uri, with_escaped_slashes, in_a_form]
Way = Callable[[World, bytes], Response]


def kept(world: World, job_id: str, role: str = "image") -> bytes | None:
    path = world.runtime.artifacts.path(f"inputs/{job_id}/{role}")
    return None if path is None else path.read_bytes()


def folders(world: World) -> list[str]:
    return world.runtime.artifacts.children("inputs")


def left_on_the_desk(world: World) -> list[Path]:
    folder = world.runtime.uploads.folder
    return list(folder.iterdir()) if folder.exists() else []


def problem(answer: Response, status: int = 422) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def error(answer: Response) -> tuple[str, str]:
    """The pointer and code of the one thing that is wrong."""
    (found,) = problem(answer)["errors"]
    return found["pointer"], found["code"]


@pytest.mark.parametrize("content", [SMALL, big_picture()], ids=["small", "big"])
@pytest.mark.parametrize("way", WAYS)
def test_a_picture_is_kept_before_its_job_is_answered(
    world: World, way: Way, content: bytes
) -> None:
    answer = way(world, content)

    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert kept(world, job["id"]) == content
    assert job["input"]["image"] == {
        "source": "upload",
        "url": None,
        "job_id": None,
        "avatar_id": None,
        "media_type": "image/png",
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "seconds": None,
        "width": 48,
        "height": 32,
        "fps": None,
        "num_frames": None,
    }
    assert job["input"]["fit"] == "crop"
    assert base64_of(content)[:60] not in json.dumps(world.job(job["id"]))
    assert left_on_the_desk(world) == []


def test_a_ticket_holds_the_reference_and_no_bytes(world: World) -> None:
    job = as_base64(world, SMALL).json()

    ticket = world.claim().json()

    assert ticket["request"]["image"]["sha256"] == job["input"]["image"]["sha256"]
    assert len(json.dumps(ticket["request"])) < 2_000


def test_a_film_is_taken_as_base64_and_in_a_form(world: World) -> None:
    as_json = world.client.post(
        "/generate-video", json={"prompt": "x", "video": base64_of(FILM), "strength": 0.4}
    )
    in_form = world.client.post(
        "/generate-video",
        data={"prompt": "x", "strength": "0.4"},
        files={"video": ("-i.mp4", FILM, "application/octet-stream")},
    )

    assert as_json.status_code == in_form.status_code == 202, in_form.text
    for answer in (as_json, in_form):
        asked = answer.json()["input"]
        assert kept(world, answer.json()["id"], "video") == FILM
        assert (asked["video"]["media_type"], asked["strength"]) == ("video/mp4", 0.4)


def test_a_form_says_the_same_as_json(world: World) -> None:
    ask = {
        "prompt": "a boat",
        "negative_prompt": "fog",
        "width": 128,
        "height": 64,
        "num_frames": 5,
        "guidance_scale": 2.5,
        "seed": 3,
        "priority": "high",
        "metadata": {"scene": "12", "take": "3"},
        "webhook_url": "https://example.com/hook",
        "webhook_events": ["job.succeeded", "job.failed"],
        "prompts": ["at sea"],
    }
    fields = {
        name: str(value) for name, value in ask.items() if isinstance(value, str | int | float)
    }
    brackets = {
        **fields,
        "metadata[scene]": "12",
        "metadata[take]": "3",
        "webhook_events[]": ["job.succeeded", "job.failed"],
        "prompts": "at sea",
        "model": "",
    }
    texts = {**fields, "metadata": json.dumps(ask["metadata"])}
    texts["prompts"] = json.dumps(ask["prompts"])
    texts["webhook_events"] = json.dumps(ask["webhook_events"])
    nothing = {"image": ("a.png", SMALL)}

    plain = world.client.post("/generate-video", json={**ask, "image": base64_of(SMALL)}).json()
    one = world.client.post("/generate-video", data=brackets, files=nothing)
    other = world.client.post("/generate-video", data=texts, files=nothing)

    for answer in (one, other):
        assert answer.status_code == 202, answer.text
        for name in ("input", "priority", "metadata", "webhook_url"):
            assert answer.json()[name] == plain[name]


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": "65"},
        {"width": "wide"},
        {"prompt": ""},
        {"seed": "-1"},
        {"duration_seconds": "nan"},
        {"priority": "urgent"},
        {"metadata": {"scene": "x" * 501}},
        {"metadata": {"a/b~c\u00e9": "x"}},
        {"webhook_url": "https://127.0.0.1/"},
        {"webhook_events": ["job.never"], "webhook_url": "https://example.com/"},
        {"hight": "64"},
        {"strength": "0.5"},
        {"fit": "pad"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_form_is_refused_as_json_is(world: World, wrong: dict[str, Any]) -> None:
    as_json = world.client.post(
        "/generate-video", json={"prompt": "x", **{k: _number(v) for k, v in wrong.items()}}
    )
    fields: dict[str, Any] = {"prompt": "x"}
    for name, value in wrong.items():
        if isinstance(value, dict):
            fields |= {f"{name}[{label}]": text for label, text in value.items()}
        else:
            fields[name] = value
    # A part without a file name is a field.
    in_form = world.client.post(
        "/generate-video",
        files=[
            (n, (None, v))
            for n, vs in fields.items()
            for v in ([vs] if isinstance(vs, str) else vs)
        ],
    )

    pointers = [
        [one["pointer"] for one in problem(answer)["errors"]] for answer in (as_json, in_form)
    ]
    assert pointers[0] == pointers[1]
    assert folders(world) == []


def _number(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (b"", "x"),
        (b"nothing of the kind", "x"),
        (b"--x\r\nContent-Disposition: form-data; name=prompt\r\n\r\na red ba", "x"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n", "x"),
        (b"--x\r\nContent-Disposition: form-data; name=prompt\r\n\r\na\r\n--x--\r\n", None),
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\na\r\n" * 65 + b"--x--\r\n", "x"),
    ],
    ids=["empty", "no form", "cut off", "no name", "no boundary", "too many parts"],
)
def test_a_broken_form_is_told_so(world: World, body: bytes, boundary: str | None) -> None:
    kind = "multipart/form-data" + (f"; boundary={boundary}" if boundary else "")

    answer = world.client.post("/generate-video", content=body, headers={"Content-Type": kind})

    assert problem(answer, 400)["code"] == "invalid_form"
    assert left_on_the_desk(world) == []


def test_a_part_in_the_wrong_place_is_named(world: World) -> None:
    as_file = world.client.post("/generate-video", files={"prompt": ("a.txt", b"a red ball")})
    twice = world.client.post(
        "/generate-video",
        data={"prompt": "x"},
        files=[("image", ("a.png", SMALL)), ("image", ("b.png", SMALL))],
    )
    both = world.client.post(
        "/generate-video",
        data={"prompt": "x", "image": base64_of(SMALL)},
        files={"image": ("a.png", SMALL)},
    )
    bytes_as_text = world.client.post("/generate-video", files={"prompt": (None, b"\xff\xfe")})

    assert error(as_file) == ("/prompt", "unexpected_file")
    assert error(twice) == error(both) == ("/image", "given_twice")
    assert error(bytes_as_text) == ("/prompt", "invalid_text")


@pytest.mark.parametrize("way", WAYS)
def test_too_large_a_picture_is_refused_and_nothing_is_left(world: World, way: Way) -> None:
    assert problem(way(world, big_picture(IMAGE)), 413)["code"] == "too_large"
    assert folders(world) == []
    assert left_on_the_desk(world) == []


@pytest.mark.parametrize(
    "ask",
    [
        {"prompt": "x" * 200_000},
        {"prompt": "x", "metadata": {"a": "y" * 200_000}},
        {"prompt": '"' * 200_000},
        {"prompt": "\\" * 200_000},
        {"prompt": "x", "webhook_events": ["job.failed"] * 30_000},
        {"prompt": "x" * 200_000, "image": base64_of(big_picture())},
    ],
    ids=["prompt", "label", "quotes", "backslashes", "list", "prompt beside a picture"],
)
def test_only_pictures_and_films_may_be_long(world: World, ask: dict[str, Any]) -> None:
    assert problem(world.client.post("/generate-video", json=ask), 413)["code"] == "too_large"
    assert left_on_the_desk(world) == []


def test_a_huge_body_ends_where_it_is_read_and_elsewhere_nothing_has_grown(world: World) -> None:
    huge = {"prompt": "x", "image": "A" * 4_000_000}
    long_key = {"name": "x" * 150_000}

    assert problem(world.client.post("/generate-video", json=huge), 413)["code"] == "too_large"
    assert problem(world.client.post("/v1/keys", json=long_key), 413)["code"] == "too_large"


def test_a_telephones_photo_is_an_image_and_no_video(world: World) -> None:
    photo = base64_of(saved(gradient(), "AVIF"))
    heic = base64_of(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))

    job = world.client.post("/generate-video", json={"prompt": "x", "image": photo}).json()
    no_video = problem(
        world.client.post("/generate-video", json={"prompt": "x", "video": heic}), 422
    )

    image = job["input"]["image"]
    assert (image["media_type"], image["width"], image["height"]) == ("image/avif", 48, 32)
    assert no_video["errors"][0]["code"] == "unsupported_media_type"
    assert no_video["detail"].endswith("; send image/heic in image")


def test_a_wrong_kind_of_file_is_sent_to_another_field_only_where_there_is_one(
    world: World,
) -> None:
    sound = base64_of(b"RIFF\0\0\0\0WAVE" + bytes(40))
    film = base64_of(FILM[:1000])

    def detail(path: str, **body: str) -> str:
        answer = world.client.post(path, json=body)
        return str(problem(answer, 422)["detail"])

    image = "is not PNG, JPEG, WebP, HEIC or AVIF"
    video = "video is not MP4, MOV, WebM or Matroska"
    create, avatar = "/generate-video", "/generate-avatar"
    assert detail(create, prompt="x", image=film) == f"image {image}; send a video in video"
    assert detail(create, prompt="x", image=sound) == f"image {image}"
    assert detail(create, prompt="x", video=sound) == video
    assert detail(avatar, text="x", reference_image=film) == f"reference_image {image}"


def test_strangers_fill_no_disk(world: World) -> None:
    world.client.headers["Authorization"] = "Bearer nobody"

    answer = in_a_form(world, big_picture())

    assert answer.status_code == 401
    assert not world.runtime.uploads.folder.exists()


@pytest.mark.parametrize(
    ("role", "text", "code"),
    [
        (
            "image",
            base64_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
            "unsupported_media_type",
        ),
        ("image", base64_of(b"GIF89a" + bytes(20)), "unsupported_media_type"),
        ("image", base64_of(FILM[:1000]), "unsupported_media_type"),
        ("image", base64_of(png(50_000, 50_000)), "too_many_pixels"),
        ("image", "not base64!", "invalid_base64"),
        ("image", "data:image/gif;base64,R0lGODlh", "unsupported_media_type"),
        ("image", "data:image/png,abc", "invalid_data_uri"),
        ("video", base64_of(SMALL), "unsupported_media_type"),
        ("video", base64_of(b"#EXTM3U\n/etc/passwd\n"), "unsupported_media_type"),
        ("video", base64_of(b"ffconcat version 1.0\nfile /etc/passwd\n"), "unsupported_media_type"),
        ("video", base64_of(b"RIFF\0\0\0\0WAVE" + bytes(40)), "unsupported_media_type"),
        ("image", "job_nonsense", "unknown_job"),
        ("image", "job_06h0cqct31vp78ap2nmi51uars", "unknown_job"),
        ("image", "kept:inputs/job_06h0cqct31vp78ap2nmi51uars/image", "invalid_base64"),
        ("image", "../../etc/passwd", "invalid_base64"),
        ("image", "file:///etc/passwd", "refused_url"),
        ("image", "http://example.com/a.png", "refused_url"),
        ("video", "https://user:secret@example.com/a.mp4", "refused_url"),
    ],
)
def test_what_cannot_be_a_picture_or_film_is_refused(
    world: World, role: str, text: str, code: str
) -> None:
    answer = world.client.post("/generate-video", json={"prompt": "x", role: text})

    assert error(answer) == (f"/{role}", code)
    assert folders(world) == []


def test_broken_base64_in_a_large_body_is_told_by_its_place(world: World) -> None:
    text = base64_of(bytes(100_000))
    broken = text[:90_000] + "!" + text[90_001:]

    answer = world.client.post("/generate-video", json={"prompt": "x", "image": broken})

    assert error(answer) == ("/image", "invalid_base64")
    assert "character 90001 ('!')" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("ask", "found"),
    [
        ({"last_image": SMALL}, ("/last_image", "needs_image")),
        ({"loop": True}, ("/loop", "needs_image")),
        ({"image": SMALL, "last_image": SMALL, "loop": True}, ("/loop", "not_together")),
        ({"image": SMALL, "video": FILM}, ("/video", "not_together")),
        ({"keyframes": [{"frame": 0, "image": "x"}]}, ("/keyframes/0/frame", "greater_than_equal")),
        ({"keyframes": [{"frame": 5}]}, ("/keyframes/0/image", "missing")),
        ({"keyframes": [{"frame": 5, "image": "*"}]}, ("/keyframes/0/image", "invalid_base64")),
        ({"image": SMALL, "strength": 0.5}, ("/strength", "needs_video")),
        (
            {"video": FILM, "width": 1920, "height": 1080, "num_frames": 400},
            ("/num_frames", "out_of_range"),
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    world: World, ask: dict[str, Any], found: tuple[str, str]
) -> None:
    body = {k: base64_of(v) if isinstance(v, bytes) else v for k, v in ask.items()}

    assert error(world.client.post("/generate-video", json={"prompt": "x", **body})) == found


def test_a_mode_that_a_model_has_not_names_those_that_have_it(settings: Settings) -> None:
    ask = {"prompt": "x", "model": "mochi", "video": base64_of(FILM[:2000])}
    loop = {"prompt": "x", "model": "mochi", "loop": True}

    with TestClient(build(settings.model_copy(update={"models": ["slate", "mochi"]}))) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        here = client.post("/generate-video", json=ask)
        no_loop = client.post("/generate-video", json=loop)

    assert error(no_loop) == ("/loop", "not_supported")
    assert "mochi does not support `loop`; served models that do: slate" in no_loop.text
    assert error(here) == ("/video", "not_supported")
    assert (
        here.json()["detail"]
        == "mochi does not support video-to-video; served models that do: slate"
    )


# What is followed.


@pytest.mark.parametrize(
    ("size", "asked", "made"),
    [
        ((600, 400), {}, (768, 512)),
        ((1080, 1920), {}, (470, 836)),
        ((64, 64), {}, (628, 628)),
        ((600, 400), {"width": 300}, (300, 200)),
        ((600, 400), {"height": 300}, (450, 300)),
        ((600, 400), {"width": 64, "height": 64}, (64, 64)),
        ((4000, 2), {}, None),
    ],
)
def test_a_video_has_the_shape_of_its_picture(
    world: World, size: tuple[int, int], asked: dict[str, int], made: tuple[int, int] | None
) -> None:
    picture = saved(gradient().resize(size), "PNG")

    job = in_a_form(world, picture, **{k: str(v) for k, v in asked.items()}).json()

    if made is None:  # as near as the model comes
        assert job["input"]["width"] > 5 * job["input"]["height"]
    else:
        assert (job["input"]["width"], job["input"]["height"]) == made


def test_a_telephones_portrait_counts_as_one(world: World) -> None:
    exif = gradient().getexif()
    exif[0x0112] = 6
    lying = saved(gradient(size=(640, 480)), "JPEG", exif=exif)

    asked = in_a_form(world, lying).json()["input"]

    assert (asked["image"]["width"], asked["image"]["height"]) == (480, 640)
    assert asked["width"] < asked["height"]


def test_an_estimate_says_what_is_not_known_and_keeps_nothing(world: World) -> None:
    url = {"prompt": "x", "image": "https://example.com/a.png"}

    of_url = world.client.post("/v1/estimate", json=url).json()
    of_file = world.client.post("/v1/estimate", data={"prompt": "x"}, files={"image": ("a", SMALL)})

    assert of_url["input"]["image"]["url"] == "https://example.com/a.png"
    assert any("768x512 is the model's default" in warning for warning in of_url["warnings"])
    assert of_file.json()["input"]["image"]["width"] == 48
    assert folders(world) == []
    assert left_on_the_desk(world) == []


# Jobs as inputs.


def test_a_job_goes_on_from_the_last_frame_of_another(world: World) -> None:
    before = world.submit(width=96, height=64, num_frames=3)
    world.finish(b"a clip")

    after = world.submit(image=before["id"])

    ref = after["input"]["image"]
    assert (ref["source"], ref["job_id"]) == ("job", before["id"])
    assert ref["sha256"] == hashlib.sha256(b"a clip").hexdigest()
    assert (after["input"]["width"], after["input"]["height"]) == (96, 64)
    world.client.delete(f"/v1/jobs/{before['id']}")
    assert kept(world, after["id"]) == b"a clip"  # a copy: the first job may go


def test_a_job_is_made_over_the_video_of_another_at_its_length(world: World) -> None:
    before = world.submit(width=96, height=64, num_frames=7, fps=12)
    world.finish(b"a clip")

    asked = world.submit(video=before["id"])["input"]

    assert (asked["num_frames"], asked["fps"], asked["width"]) == (7, 12, 96)
    assert asked["strength"] == 0.6


def test_a_job_that_has_no_video_is_no_input(world: World) -> None:
    waiting = world.submit()["id"]

    answer = world.client.post("/generate-video", json={"prompt": "x", "video": waiting})

    assert error(answer) == ("/video", "no_video")


def test_a_clip_that_is_kept_no_longer_is_no_input(world: World) -> None:
    before = world.submit()["id"]
    world.finish()
    world.runtime.artifacts.delete(f"jobs/{before}")

    answer = world.client.post("/generate-video", json={"prompt": "x", "image": before})

    assert error(answer) == ("/image", "gone")
    assert folders(world) == []


def test_anothers_job_is_answered_like_one_that_never_was(world: World) -> None:
    theirs = world.submit()["id"]
    world.finish()
    never = theirs[:-4] + "0000"
    world.client.headers["Authorization"] = f"Bearer {world.other_key()}"

    answers = [
        problem(world.client.post("/generate-video", json={"prompt": "x", role: job_id}))
        for role in ("image", "video")
        for job_id in (theirs, never)
    ]

    for one, other in (answers[:2], answers[2:]):
        assert str(one["errors"]).replace(theirs, "…") == str(other["errors"]).replace(never, "…")
    assert folders(world) == []


# On the way.


def other_picture() -> bytes:
    return saved(gradient(size=(20, 20)), "PNG")


def keyframes_as_json(world: World, before: str) -> Response:
    named = [(4, base64_of(big_picture())), (9, before), (2, base64_of(SMALL))]
    ask = [{"frame": frame, "image": image} for frame, image in named]
    return world.client.post("/generate-video", json={"prompt": "x", "keyframes": ask})


def keyframes_in_a_form(world: World, before: str) -> Response:
    data = {
        "prompt": "x",
        "keyframes[0][frame]": "4",
        "keyframes[1][frame]": "9",
        "keyframes[1][image]": before,
        "keyframes[2][frame]": "2",
    }
    files = {
        "keyframes[2][image]": ("c.png", SMALL, "image/png"),
        "keyframes[0][image]": ("a.png", big_picture(), "image/png"),
    }
    return world.client.post("/generate-video", data=data, files=files)


@pytest.mark.parametrize("way", [keyframes_as_json, keyframes_in_a_form])
def test_keyframes_come_in_by_every_way_and_stay_in_order(
    world: World, way: Callable[[World, str], Response]
) -> None:
    before = world.submit()["id"]
    world.finish()

    answer = way(world, before)

    assert answer.status_code == 202, answer.text
    job = answer.json()
    found = [(one["frame"], one["image"]["source"]) for one in job["input"]["keyframes"]]
    assert found == [(4, "upload"), (9, "job"), (2, "upload")]
    assert kept(world, job["id"], "keyframes/0/image") == big_picture()
    assert kept(world, job["id"], "keyframes/1/image") is not None
    assert kept(world, job["id"], "keyframes/2/image") == SMALL
    assert left_on_the_desk(world) == []
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    world.client.delete(f"/v1/jobs/{job['id']}")
    assert kept(world, job["id"], "keyframes/0/image") is None


def test_keyframes_may_be_one_field_that_holds_json(world: World) -> None:
    ask = [{"frame": 4, "image": base64_of(SMALL)}]
    files = {"keyframes": (None, json.dumps(ask)), "prompt": (None, "x")}

    job = world.client.post("/generate-video", files=files).json()

    assert kept(world, job["id"], "keyframes/0/image") == SMALL


def test_the_same_keyframes_are_the_same_request(world: World) -> None:
    before = world.submit()["id"]
    world.finish()
    world.client.headers["Idempotency-Key"] = "scene-1"

    first, second = keyframes_as_json(world, before), keyframes_in_a_form(world, before)
    moved = world.client.post(
        "/generate-video",
        json={"prompt": "x", "keyframes": [{"frame": 5, "image": base64_of(SMALL)}]},
    )

    assert first.json()["id"] == second.json()["id"]
    assert problem(moved)["code"] == "idempotency_key_reused"


def test_a_retry_takes_the_keyframes_or_others(world: World) -> None:
    before = world.submit()["id"]
    world.finish()
    old = keyframes_as_json(world, before).json()
    world.client.post(f"/v1/jobs/{old['id']}/cancel")
    again = f"/v1/jobs/{old['id']}/retry"

    same = world.client.post(again, json={"prompt": "y"}).json()
    others = world.client.post(
        again, json={"keyframes": [{"frame": 5, "image": base64_of(other_picture())}]}
    ).json()
    film = world.client.post(again, json={"video": base64_of(FILM)}).json()

    assert same["input"] == {**old["input"], "prompt": "y"}
    assert kept(world, same["id"], "keyframes/2/image") == SMALL
    assert [one["frame"] for one in others["input"]["keyframes"]] == [5]
    assert kept(world, others["id"], "keyframes/0/image") == other_picture()
    assert film["input"]["keyframes"] is None


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"keyframes[0][frame]": "5"}, ("/keyframes/0/image", "missing")),
        ({"keyframes[0][image]": "x"}, ("/keyframes/0/frame", "missing")),
        ({"keyframes[0][place]": "5"}, ("/keyframes[0][place]", "unknown_field")),
        ({"keyframes": "no list"}, ("/keyframes", "list_type")),
    ],
)
def test_a_form_s_keyframes_are_refused_by_their_place(
    world: World, fields: dict[str, str], found: tuple[str, str]
) -> None:
    data = {"prompt": (None, "x"), **{name: (None, text) for name, text in fields.items()}}

    assert error(world.client.post("/generate-video", files=data)) == found


# Once, again, and gone.


def test_the_same_picture_is_the_same_request_however_it_is_sent(world: World) -> None:
    content = big_picture()
    world.client.headers["Idempotency-Key"] = "scene-1"

    answers = [way(world, content) for way in WAYS]
    other = as_base64(world, SMALL)

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers[1:]] == ["true"] * 3
    assert problem(other)["code"] == "idempotency_key_reused"
    assert folders(world) == [answers[0].json()["id"]]


def test_a_replay_needs_no_job_that_is_gone_by_then(world: World) -> None:
    before = world.submit()["id"]
    world.finish()
    ask, named = {"prompt": "x", "image": before}, {"Idempotency-Key": "scene-2"}

    first = world.client.post("/generate-video", json=ask, headers=named).json()
    world.client.delete(f"/v1/jobs/{before}")
    again = world.client.post("/generate-video", json=ask, headers=named)

    assert (again.status_code, again.json()["id"]) == (202, first["id"])


def test_a_replay_waits_until_what_it_found_is_durable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database is copied elsewhere, a write waits for that; a look does not."""
    ask = {"prompt": "x", "image": world.submit()["id"]}
    world.finish()
    named = {"Idempotency-Key": "scene-3"}
    first = world.client.post("/generate-video", json=ask, headers=named).json()
    own, found = Database.write, []

    def write(db: Database, run: Any, *, replicated: bool = True) -> Any:
        waited = own(db, run, replicated=replicated)
        found.append((replicated, waited.result(10)))
        return waited

    monkeypatch.setattr(Database, "write", write)
    again = world.client.post("/generate-video", json=ask, headers=named)

    assert again.json()["id"] == first["id"]
    hard = [answer for replicated, answer in found if replicated and isinstance(answer, Accepted)]
    assert [answer.job.id for answer in hard] == [first["id"]]


def test_a_refused_submit_keeps_nothing(settings: Settings, world: World) -> None:
    limits = world.runtime.limits
    object.__setattr__(limits, "max_queued_per_key", 1)
    world.submit()

    assert as_base64(world, SMALL).status_code == 429
    assert folders(world) == []


def test_what_a_job_was_given_goes_with_it(world: World) -> None:
    job = as_base64(world, SMALL).json()["id"]
    world.client.post(f"/v1/jobs/{job}/cancel")

    world.client.delete(f"/v1/jobs/{job}")

    assert folders(world) == []


def test_a_retry_takes_what_the_job_was_given(world: World) -> None:
    old = in_a_form(world, SMALL, fit="pad").json()
    world.client.post(f"/v1/jobs/{old['id']}/cancel")

    again = world.client.post(f"/v1/jobs/{old['id']}/retry", json={"prompt": "y"})

    assert again.status_code == 202, again.text
    new = again.json()
    assert new["input"] == {**old["input"], "prompt": "y"}
    world.client.delete(f"/v1/jobs/{old['id']}")
    assert kept(world, new["id"]) == SMALL


def test_a_retry_may_bring_another_picture_or_a_film_instead(world: World) -> None:
    ask = {"prompt": "x", "image": base64_of(SMALL), "loop": True}
    old = world.client.post("/generate-video", json=ask).json()["id"]
    world.client.post(f"/v1/jobs/{old}/cancel")
    other = saved(gradient(size=(20, 20)), "PNG")

    picture = world.client.post(f"/v1/jobs/{old}/retry", files={"image": ("b.png", other)})
    film = world.client.post(f"/v1/jobs/{old}/retry", json={"video": base64_of(FILM)})

    assert kept(world, picture.json()["id"]) == other
    assert picture.json()["input"]["loop"] is True
    asked = film.json()["input"]
    assert (asked["image"], asked["loop"]) == (None, False)
    assert asked["video"]["size_bytes"] == len(FILM)


def test_a_retry_of_what_is_kept_no_longer_is_refused(world: World) -> None:
    old = as_base64(world, SMALL).json()["id"]
    world.client.post(f"/v1/jobs/{old}/cancel")
    world.runtime.artifacts.delete(f"inputs/{old}")

    gone = world.client.post(f"/v1/jobs/{old}/retry")
    sent = world.client.post(f"/v1/jobs/{old}/retry", json={"image": base64_of(SMALL)})

    assert error(gone) == ("/image", "gone")
    assert sent.status_code == 202


def test_bytes_beyond_what_is_kept_for_a_key_are_refused_until_some_are_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(world.runtime.limits, max_input_bytes_per_key=2 * len(SMALL))
    monkeypatch.setattr(world.client.app.state, "runtime", replace(world.runtime, limits=limits))  # type: ignore[attr-defined]
    first, second = (as_base64(world, SMALL).json()["id"] for _ in range(2))

    refused = as_base64(world, SMALL)
    world.client.headers["Authorization"] = f"Bearer {world.other_key()}"
    other = as_base64(world, SMALL)
    world.client.headers["Authorization"] = f"Bearer {KEY}"
    url = {"prompt": "x", "image": "https://example.com/a.png"}
    named = world.client.post("/generate-video", json=url)
    world.client.post(f"/v1/jobs/{first}/cancel")
    retried = world.client.post(f"/v1/jobs/{first}/retry")
    world.client.delete(f"/v1/jobs/{first}")

    assert problem(refused, 429)["code"] == "inputs_full"
    assert "RUSHES_MAX_INPUT_BYTES_PER_KEY" in refused.json()["detail"]
    assert (other.status_code, named.status_code) == (202, 202)
    assert problem(retried, 429)["code"] == "inputs_full"
    assert as_base64(world, SMALL).status_code == 202
    assert kept(world, second) == SMALL


def test_more_requests_with_files_than_can_be_taken_in_are_asked_to_come_back(world: World) -> None:
    uploads = world.runtime.uploads
    held = [(key, uploads.acquire(key)) for key in ("a", "b") for _ in range(16)]

    refused = as_base64(world, SMALL)
    for key, folder in held:
        uploads.release(key, folder)
    taken = as_base64(world, SMALL)

    assert problem(refused, 503)["retryable"] is True
    assert taken.status_code == 202


def test_one_key_does_not_take_every_place(world: World) -> None:
    for _ in range(16):
        world.runtime.uploads.acquire("another")

    with pytest.raises(Unavailable):
        world.runtime.uploads.acquire("another")
    assert as_base64(world, SMALL).status_code == 202


def test_a_job_that_commits_after_its_submit_was_canceled_keeps_its_image(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a server stops while the database is slow."""
    world.submit()
    content, file = png(48, 32), tmp_path / "image.png"
    file.write_bytes(content)
    begun, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return submit_all(*arguments)

    monkeypatch.setattr(runtime_module, "submit_all", slow)
    found = world.runtime.key_cache.find(KEY)
    assert found is not None
    image = Input(MediaRef(source="upload", media_type="image/png"), file)
    params = VideoParams(prompt="late", image="sha256:x", model="ltx-2b")
    request = SubmitRequest(found.id, params, "http://rushes.test", files={"image": image})

    async def cancel_it() -> None:
        task = asyncio.ensure_future(create_job(world.runtime, request))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    world.client.portal.call(cancel_it)  # type: ignore[union-attr]

    def late_jobs() -> list[dict[str, Any]]:
        listed = world.client.get("/v1/jobs").json()["data"]
        return [job for job in listed if job["input"]["prompt"] == "late"]

    while not (found_jobs := late_jobs()):  # it commits when it may, and nobody waits for it
        time.sleep(0.01)
    assert kept(world, found_jobs[0]["id"]) == content
