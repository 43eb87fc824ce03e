"""A job with several models, from the submit to the one that makes it."""

from typing import Any

import pytest

from service.domain.models.catalog import CARDS
from tests.api.world import World

OOM = {"kind": "oom", "code": "out_of_memory", "message": "it does not fit"}
GONE = {"kind": "internal", "code": "weights_unavailable", "message": "no weights here"}


def fail(world: World, model: str, failure: dict[str, Any]) -> dict[str, Any]:
    """A worker of `model` takes the next job and fails; what it was given."""
    ticket: dict[str, Any] = world.claim(models=[model]).json()
    begun = world.report(ticket, "begin", call_id=ticket["token"]).json()
    answer = world.report(ticket, "fail", fence=begun["fence"], failure=failure)
    assert answer.status_code == 200, answer.text
    return ticket


def errors(answer: Any) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {error["pointer"]: error["detail"] for error in answer.json()["errors"]}


def test_the_order_is_shown_with_what_each_would_make(world: World) -> None:
    job = world.submit(models=["ltx-2b", "slate"], duration_seconds=2, seed=5)

    assert job["model"] == "ltx-2b"
    assert job["input"]["num_frames"] == 49
    assert [(each["model"], each["input"]["num_frames"]) for each in job["fallbacks"]] == [
        ("slate", 2 * CARDS["slate"].default_fps)
    ]
    assert job["fallbacks"][0]["input"]["seed"] == 5
    assert (job["fell_back"], job["profile"]) == ([], "full")


def test_memory_is_saved_first_and_then_the_next_model_takes_over(world: World) -> None:
    job_id = world.submit(models=["ltx-2b", "slate"], duration_seconds=2, seed=5)["id"]

    assert fail(world, "ltx-2b", OOM)["profile"] == "full"
    assert world.job(job_id)["profile"] == "small"
    assert fail(world, "ltx-2b", OOM)["profile"] == "small"
    assert world.finish() == job_id

    job = world.job(job_id)
    assert (job["status"], job["model"], job["sandbox"]) == ("succeeded", "slate", True)
    assert job["fallbacks"] == []
    first, second = job["fell_back"]
    assert (first["model"], first["profile"], first["next_model"]) == ("ltx-2b", "full", "ltx-2b")
    assert (second["profile"], second["code"]) == ("small", "out_of_memory")
    assert second["next_model"] == "slate"
    assert second["changes"]["num_frames"] == {
        "before": 49,
        "after": 2 * CARDS["slate"].default_fps,
    }
    assert "seed" not in second["changes"]


def test_missing_weights_are_no_reason_to_wait(world: World) -> None:
    job_id = world.submit(models=["ltx-2b", "slate"])["id"]

    fail(world, "ltx-2b", GONE)

    assert (world.job(job_id)["status"], world.job(job_id)["model"]) == ("queued", "slate")
    assert [each["id"] for each in world.client.get("/v1/jobs?model=slate").json()["data"]] == [
        job_id
    ]


def test_every_model_must_be_able_to_make_what_is_asked(world: World) -> None:
    answer = world.client.post(
        "/generate-video",
        json={"prompt": "x", "models": ["slate", "ltx-2b"], "num_frames": 120},
    )

    assert "ltx-2b" in errors(answer)["/num_frames"]
    assert "113 and 121" in errors(answer)["/num_frames"]


@pytest.mark.parametrize(
    ("ask", "pointer", "words"),
    [
        ({"models": ["slate", "nope"]}, "/models/1", "no model 'nope' here; available: slate"),
        ({"models": ["slate"], "model": "slate"}, "", "`model` or `models`, not both"),
        ({"models": ["slate", "slate"]}, "", "`models` contains a model twice"),
        ({"models": []}, "/models", "must not be empty"),
    ],
)
def test_an_order_that_cannot_be_is_refused(
    world: World, ask: dict[str, Any], pointer: str, words: str
) -> None:
    answer = world.client.post("/generate-video", json={"prompt": "x", **ask})

    assert words in errors(answer)[pointer]


def test_an_estimate_tells_of_all_of_them(world: World) -> None:
    ask = {"prompt": "x", "models": ["slate", "ltx-2b"]}
    answer = world.client.post("/v1/estimate", json=ask).json()

    assert answer["model"] == "slate"
    assert [each["model"] for each in answer["fallbacks"]] == ["ltx-2b"]
    assert answer["fallbacks"][0]["expected_seconds"] > 0


def test_a_model_that_is_named_stands_alone_and_the_default_has_those_of_its_card(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = world.runtime.default_card.model_copy(update={"fallbacks": ("ltx-2b", "mochi")})
    monkeypatch.setitem(world.runtime.cards, "slate", default)

    def fallbacks(**ask: Any) -> list[str]:
        return [each["model"] for each in world.submit(**ask)["fallbacks"]]

    assert fallbacks() == ["ltx-2b"]  # mochi is not served here
    assert fallbacks(model="slate") == []
    assert fallbacks(num_frames=120) == []  # ltx-2b cannot


def test_a_retry_goes_on_with_the_model_that_it_ended_with_or_a_new_order(world: World) -> None:
    job_id = world.submit(models=["ltx-2b", "slate"], duration_seconds=2, seed=5)["id"]
    fail(world, "ltx-2b", GONE)
    world.finish()

    same = world.client.post(f"/v1/jobs/{job_id}/retry").json()
    assert (same["model"], same["fallbacks"], same["fell_back"]) == ("slate", [], [])
    assert same["input"] == world.job(job_id)["input"]

    ask = {"models": ["slate", "ltx-2b"]}
    other = world.client.post(f"/v1/jobs/{job_id}/retry", json=ask).json()
    assert (other["model"], other["seed"]) == ("slate", 5)
    assert [each["model"] for each in other["fallbacks"]] == ["ltx-2b"]
