"""The forms: make a video or an avatar, and retry a job with edits."""

import base64
import html
import json
import re
import shlex
from typing import Any

import pytest
from anyio import to_thread
from httpx import Response

from service.admin import job_form
from service.lifecycle.likenesses import Voices
from service.settings import Settings
from service.store import audit, statistics
from tests.admin.person import Person
from tests.api.world import World
from tests.workers.inputs.pictures import png


def send(person: Person, path: str, *, files: Any = None, **fields: Any) -> Response:
    """Send a form as a browser does: every field, and files without a choice as empty ones."""
    parts: list[Any] = [(name, (None, str(value))) for name, value in fields.items()]
    parts.append(("csrf", (None, person.csrf)))
    nothing = ("", b"", "application/octet-stream")
    names = ("image", "last_image", "video")
    parts += [(name, (files or {}).get(name, nothing)) for name in names]
    return person.client.post(path, files=parts)


def job_of(answer: Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["hx-redirect"].rpartition("/")[2]


def test_the_form_has_the_limits_of_the_model(admin: Person) -> None:
    text = admin.get("/admin/new/video?model=ltx-2b").text

    width = re.search(
        r'<input type="number" name="width" min="(\d+)" max="(\d+)" step="(\d+)"', text
    )
    card = admin.world.runtime.cards["ltx-2b"]
    assert width is not None
    assert tuple(map(int, width.groups())) == (card.side.low, card.side.high, card.side.step)


def test_a_loop_is_offered_by_models_that_place_a_last_image(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = admin.world.runtime.cards
    assert '<select name="loop">' in admin.get("/admin/new/video?model=slate").text
    features = tuple(each for each in cards["slate"].features if each != "last-image")
    other = cards["slate"].model_copy(update={"features": features})
    monkeypatch.setitem(cards, "slate", other)  # type: ignore[arg-type]

    page = admin.get("/admin/new/video?model=slate").text

    assert 'name="loop"' not in page
    assert 'name="last_image"' not in page
    assert 'name="image"' in page


def test_a_kind_without_a_model_says_so(admin: Person) -> None:
    page = admin.get("/admin/new/avatar").text
    assert "no model that makes avatars" in page
    assert "<code>make avatar</code> and restart" in page


def test_a_video_is_made(admin: Person) -> None:
    empty = dict.fromkeys(("duration_seconds", "fps", "seed", "negative_prompt"), "")

    job_id = job_of(send(admin, "/admin/new/video", prompt="a blue ball", width="128", **empty))

    job = admin.world.job(job_id)
    assert job["status"] == "queued"
    assert (job["input"]["prompt"], job["input"]["width"]) == ("a blue ball", 128)


def form_id_of(person: Person, path: str) -> str:
    found = re.search(r'name="form_id" value="(\w+)"', person.get(path).text)
    assert found is not None
    return found[1]


def test_a_form_that_is_sent_twice_makes_one_job(admin: Person) -> None:
    path = "/admin/new/video"
    form = {"form_id": form_id_of(admin, path), "prompt": "a blue ball"}
    image = {"image": ("photo.png", png(64, 64), "image/png")}

    first, second = (job_of(send(admin, path, **form)) for _ in range(2))
    edited = job_of(send(admin, path, **form | {"prompt": "a red ball"}))
    with_image = job_of(send(admin, path, **form, files=image))
    other = job_of(send(admin, path, **form | {"form_id": form_id_of(admin, path)}))

    assert first == second
    assert len({first, edited, with_image, other}) == 4


def test_a_video_is_made_from_an_image(admin: Person) -> None:
    image = ("photo.png", png(64, 64), "image/png")

    job_id = job_of(send(admin, "/admin/new/video", prompt="it moves", files={"image": image}))

    kept = admin.world.job(job_id)["input"]["image"]
    assert (kept["source"], kept["media_type"], kept["width"]) == ("upload", "image/png", 64)


def test_a_loop_is_made_where_the_model_can(admin: Person) -> None:
    files = {"image": ("photo.png", png(64, 64), "image/png")}
    assert 'name="loop"' in admin.get("/admin/new/video").text

    plain = job_of(send(admin, "/admin/new/video", prompt="it moves", files=files, loop="false"))
    looped = job_of(send(admin, "/admin/new/video", prompt="it moves", files=files, loop="true"))
    admin.world.finish()
    admin.world.finish()
    form = admin.get(f"/admin/jobs/{looped}/retry").text
    undone = job_of(send(admin, f"/admin/jobs/{looped}/retry", prompt="it moves", loop="false"))

    assert '<option value="true" selected>' in form
    jobs = [admin.world.job(job) for job in (plain, looped, undone)]
    assert [job["input"]["loop"] for job in jobs] == [False, True, False]


def test_what_is_wrong_is_said_and_nothing_is_made(admin: Person) -> None:
    for fields, words in (
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "width": "63"}, "nearest"),
        ({"prompt": "x", "colour": "red"}, "colour"),
    ):
        answer = send(admin, "/admin/new/video", **fields)
        assert answer.status_code == 200
        assert 'role="alert"' in answer.text
        assert words in answer.text, answer.text
        assert "hx-redirect" not in answer.headers
    assert admin.world.client.get("/v1/jobs").json()["data"] == []


def test_an_estimate_says_what_it_costs_and_makes_nothing(admin: Person) -> None:
    told = send(admin, "/admin/new/video/estimate", prompt="x", duration_seconds="2", fps="24")
    empty = send(admin, "/admin/new/video/estimate", prompt="")

    assert "costs about" in told.text
    assert "48 frames" in told.text
    assert "Write a prompt" in empty.text
    assert admin.world.client.get("/v1/jobs").json()["data"] == []


def test_a_form_without_the_token_makes_nothing(admin: Person, viewer: Person) -> None:
    for person, token in ((admin, ""), (admin, viewer.csrf), (viewer, viewer.csrf)):
        parts = [("prompt", (None, "x")), ("csrf", (None, token))]
        answer = person.client.post("/admin/new/video", files=parts)
        assert "hx-redirect" not in answer.headers
    assert viewer.get("/admin/new/video").status_code == 403
    assert admin.world.client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize("act", ["logout", "revoke"])
def test_a_session_that_ends_during_the_upload_makes_nothing(
    admin: Person, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    world = admin.world
    other = Person(world).log_in(world.other_key(admin=True))
    keys = {key["name"]: key["id"] for key in world.client.get("/v1/keys").json()["data"]}
    read = job_form.read_form_body

    async def read_slowly(*values: Any, **options: Any) -> Any:
        body = await read(*values, **options)
        end = f"/admin/keys/{keys['other']}/revoke" if act == "revoke" else "/admin/logout"
        person = admin if act == "revoke" else other
        assert (await to_thread.run_sync(person.post, end)).status_code == 303
        return body

    monkeypatch.setattr(job_form, "read_form_body", read_slowly)
    other.client.headers["HX-Request"] = "true"
    answer = send(other, "/admin/new/video", prompt="a ball")

    assert answer.headers["hx-redirect"] == "/admin/login"
    assert world.runtime.db.read(statistics.waiting_groups) == []


@pytest.mark.usefixtures("serve_puppet")
def test_the_voices_of_the_form_are_listed_in_threads_of_their_own(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider may hang, and the pages would wait for it."""
    threads, busy = admin.world.runtime.voice_threads, []
    listing = Voices.listing

    def list_and_note(*values: Any, **options: Any) -> Any:
        busy.append(threads.borrowed_tokens)
        return listing(*values, **options)

    monkeypatch.setattr(Voices, "listing", list_and_note)

    assert admin.get("/admin/new/avatar").status_code == 200
    assert busy == [1]


@pytest.fixture
def parent(world: World) -> str:
    """A final job of another key."""
    headers = {"Authorization": f"Bearer {world.other_key()}"}
    body = {"prompt": "a red ball", "width": 128, "height": 64, "num_frames": 24, "seed": 7}
    world.client.post("/generate-video", json=body, headers=headers)
    return world.finish()


def test_a_retry_is_of_the_same_key_with_the_edits(admin: Person, parent: str) -> None:
    form = admin.get(f"/admin/jobs/{parent}/retry").text
    assert 'name="num_frames"' in form
    assert 'value="24"' in form
    fields = {"prompt": "a green ball", "width": "128", "height": "64", "num_frames": "24"}
    fields["seed"] = "7"

    told = send(admin, f"/admin/jobs/{parent}/retry/estimate", **fields)
    job_id = job_of(send(admin, f"/admin/jobs/{parent}/retry", **fields))

    assert "<del>a red ball</del>" in told.text
    assert "<ins>a green ball</ins>" in told.text
    assert "random one" not in told.text  # it has the seed of its parent
    page = admin.get(f"/admin/jobs/{job_id}").text
    assert "<del>a red ball</del>" in page
    assert "seed" not in re.findall(r"<tr><th>(\w+)</th>", page)
    assert f"/admin/jobs/{job_id}" in admin.get(f"/admin/jobs/{parent}").text
    assert admin.world.client.get(f"/v1/jobs/{job_id}").status_code == 404  # not the admin's own


def test_a_retry_takes_the_default_of_a_field_that_is_emptied(admin: Person) -> None:
    parent = admin.world.submit(model="slate", seed=7, negative_prompt="blurry", width=128)["id"]
    admin.world.client.post(f"/v1/jobs/{parent}/cancel")
    path = f"/admin/jobs/{parent}/retry"
    kept = {"form_id": form_id_of(admin, path), "prompt": "a red ball", "model": "slate"}
    fields = {"seed": "7", "negative_prompt": "blurry", "width": "128"}
    empty = dict.fromkeys(fields, "")

    told = send(admin, f"{path}/estimate", **kept, **empty)
    as_it_was, cleared = (job_of(send(admin, path, **kept, **each)) for each in (fields, empty))

    same, new = (admin.world.job(job_id)["input"] for job_id in (as_it_was, cleared))
    card = admin.world.runtime.cards["slate"]
    assert (same["seed"], same["negative_prompt"], same["width"]) == (7, "blurry", 128)
    assert new["seed"] != 7
    assert (new["negative_prompt"], new["width"]) == (None, card.default_width)
    assert "<td><del>7</del></td><td><ins>random</ins>" in told.text
    assert "<td><del>blurry</del></td><td><ins>\N{EN DASH}</ins>" in told.text


@pytest.mark.usefixtures("serve_puppet")
def test_a_retry_of_an_avatar_without_words_is_refused(admin: Person) -> None:
    face = base64.b64encode(png(64, 64)).decode()
    body = {"text": "Hello.", "reference_image": face, "seed": 7}
    job = admin.world.client.post("/generate-avatar", json=body).json()["id"]
    admin.world.client.post(f"/v1/jobs/{job}/cancel")

    answer = send(admin, f"/admin/jobs/{job}/retry", text="")

    assert "give `text` or `audio`" in answer.text
    assert "hx-redirect" not in answer.headers


def test_a_retry_that_is_sent_twice_makes_one_job(admin: Person, parent: str) -> None:
    path = f"/admin/jobs/{parent}/retry"
    form = {"form_id": form_id_of(admin, path), "prompt": "a green ball"}

    first, second = (job_of(send(admin, path, **form)) for _ in range(2))

    assert first == second
    entries = admin.world.runtime.db.read(lambda tx: audit.page(tx, size=9))
    assert [(each.target, each.detail) for each in entries if each.act == "job.retry"] == [
        (first, f"of {parent}")
    ]


def test_a_job_is_made_with_its_record_or_not_at_all(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ArithmeticError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(audit, "insert", fail)
        answer = send(admin, "/admin/new/video", prompt="a blue ball")

    assert answer.status_code == 500
    assert admin.world.client.get("/v1/jobs").json()["data"] == []
    job_id = job_of(send(admin, "/admin/new/video", prompt="a blue ball"))
    entries = admin.world.runtime.db.read(lambda tx: audit.page(tx, size=9))
    assert [(each.act, each.target) for each in entries] == [("job.submit", job_id)]


def test_a_retry_with_another_model_takes_its_defaults(admin: Person, parent: str) -> None:
    fields = {"model": "ltx-2b", "prompt": "a red ball", "width": "128", "height": "64"}

    told = send(admin, f"/admin/jobs/{parent}/retry/estimate", **fields, num_frames="24")

    card = admin.world.runtime.cards["ltx-2b"]
    assert f"{card.default_width}\N{MULTIPLICATION SIGN}{card.default_height}" in told.text


def test_a_job_that_runs_is_not_retried(admin: Person) -> None:
    job = admin.world.submit()

    assert admin.get(f"/admin/jobs/{job['id']}/retry").status_code == 409


@pytest.fixture
def serve_puppet(settings: Settings) -> None:
    settings.models = ["slate", "puppet"]


def test_the_code_samples_of_a_loop_ask_for_one(admin: Person) -> None:
    image = base64.b64encode(png(64, 64)).decode()
    job = admin.world.submit(image=image, loop=True)

    assert "&#34;loop&#34;: true" in admin.get(f"/admin/jobs/{job['id']}").text


@pytest.mark.usefixtures("serve_puppet")
@pytest.mark.parametrize(
    ("route", "inputs", "body"),
    [
        (
            "/generate-video",
            {
                "image": png(64, 64),
                "keyframes/0/image": png(32, 32),
                "keyframes/1/image": png(8, 8),
            },
            {
                "prompt": "a red ball",
                "image": "<your image>",
                "keyframes": [
                    {"frame": 4, "image": "<your keyframes/0/image>"},
                    {"frame": 9, "image": "<your keyframes/1/image>"},
                ],
                "fit": "pad",
                "priority": "high",
                "metadata": {"scene": "3"},
                "webhook_url": "<your webhook_url>",
                "webhook_events": ["job.succeeded"],
            },
        ),
        (
            "/generate-avatar",
            {"reference_image": png(64, 64)},
            {
                "text": "Hello, it's me.",
                "reference_image": "<your reference_image>",
                "speed": 1.25,
                "captions": {"format": "srt", "burn_in": True},
                "duration_seconds": 2.0,
            },
        ),
    ],
)
def test_the_code_samples_submit_the_same_request(
    admin: Person, route: str, inputs: dict[str, bytes], body: dict[str, Any]
) -> None:
    def submit(text: str) -> dict[str, Any]:
        for role, content in inputs.items():
            text = text.replace(f"<your {role}>", base64.b64encode(content).decode())
        text = text.replace("<your webhook_url>", "https://hooks.example/rushes?secret=x")
        answer = admin.world.client.post(route, json=json.loads(text))
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    job = submit(json.dumps(body))
    page = admin.get(f"/admin/jobs/{job['id']}").text
    shown = re.findall(r'data-copy="([^"]*)"', page)
    curl = next(html.unescape(text) for text in shown if text.startswith("curl "))
    *_, data = shlex.split(curl)

    again = submit(data)

    assert "secret=x" not in page
    same = ("kind", "model", "input", "metadata", "priority", "timeout_seconds", "webhook_events")
    assert {name: again.get(name) for name in same} == {name: job.get(name) for name in same}
