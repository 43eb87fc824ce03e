import json
from typing import Any

import pytest

from service.log import LineFormatter
from tests.api.world import World


def refuse(world: World, body: Any) -> dict[str, Any]:
    answer = world.client.post("/generate-video", json=body)
    problem: dict[str, Any] = answer.json()

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert world.client.get("/v1/jobs").json()["data"] == []
    return problem


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("width", 770, ["768", "800"]),
        ("height", 10, ["64"]),
        ("num_frames", 120, ["113", "121"]),
        ("fps", 200, ["60"]),
        ("duration_seconds", 125.0, ["120.042"]),
        ("num_inference_steps", 30, ["7"]),
        ("guidance_scale", 7.5, ["1"]),
        ("negative_prompt", "fog", ["no effect"]),
    ],
)
def test_what_the_model_cannot_make_is_refused_with_the_nearest(
    world: World, field: str, value: Any, words: list[str]
) -> None:
    problem = refuse(world, {"prompt": "x", "model": "ltx-2b", field: value})

    assert [error["pointer"] for error in problem["errors"]] == [f"/{field}"]
    assert all(word in problem["errors"][0]["detail"] for word in words)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", "x" * 4001),
        ("prompt", "a\x00b"),
        ("prompt", None),
        ("prompt", 5),
        ("prompt", ["x"]),
        ("width", "768"),
        ("width", 768.5),
        ("width", True),
        ("width", 10**30),
        ("width", -64),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 1.5),
        ("duration_seconds", "5"),
        ("duration_seconds", -1),
        ("duration_seconds", 1e300),
        ("priority", "urgent"),
        ("metadata", {"a": 1}),
        ("metadata", {"": "x"}),
        ("metadata", {"é": "x"}),
        ("metadata", {'a"b': "x"}),
        ("prompt", "  \n"),
        ("metadata", {f"k{n}": "v" for n in range(17)}),
        ("metadata", "x"),
        ("timeout_seconds", 0),
        ("response_format", "mp4"),
        ("model", ""),
    ],
)
def test_a_wrong_value_is_refused_by_name(world: World, field: str, value: Any) -> None:
    problem = refuse(world, {"prompt": "x", field: value})

    assert problem["errors"][0]["pointer"].startswith(f"/{field}")


def test_a_million_characters_are_refused(world: World) -> None:
    answer = world.client.post("/generate-video", json={"prompt": "x" * 1_000_000})

    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_that_are_none_are_refused(world: World, number: str) -> None:
    answer = world.client.post(
        "/generate-video",
        content=f'{{"prompt": "x", "duration_seconds": {number}}}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/duration_seconds"


def test_an_unknown_field_is_refused_with_the_nearest_known_one(world: World) -> None:
    problem = refuse(world, {"prompt": "x", "widht": 768})

    assert problem["errors"][0]["pointer"] == "/widht"
    assert "did you mean width?" in problem["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("seconds", "duration_seconds"),
        ("frames", "num_frames"),
        ("steps", "num_inference_steps"),
        ("size", "width and height"),
    ],
)
def test_what_is_called_otherwise_elsewhere_is_named(world: World, said: str, meant: str) -> None:
    """`seconds` is spelt most like `timeout_seconds`, which would end the job."""
    problem = refuse(world, {"prompt": "x", said: 5})

    assert f"did you mean {meant}?" in problem["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("path", "name", "meant"),
    [
        ("/generate-avatar", "image", "reference_image"),
        ("/v1/avatars", "reference_image", "image"),
        ("/generate-video", "last_imag", "last_image"),
    ],
)
def test_an_unknown_field_is_answered_with_one_of_its_own_route(
    world: World, path: str, name: str, meant: str
) -> None:
    answer = world.client.post(path, json={name: "x"})

    details = {e["pointer"]: e["detail"] for e in answer.json()["errors"]}
    assert details[f"/{name}"] == f"{name}: no such field; did you mean {meant}?"


def test_a_body_that_makes_no_job_is_not_answered_with_fields_of_jobs(world: World) -> None:
    answer = world.client.post("/v1/keys", json={"name": "x", "prompts": "x"})

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["detail"] == "prompts: no such field"


def test_a_slip_within_a_keyframe_is_named_by_its_own_fields(world: World) -> None:
    problem = refuse(world, {"prompt": "x", "keyframes": [{"frames": 3, "image": "x"}]})

    errors = {error["pointer"]: error["detail"] for error in problem["errors"]}
    assert errors["/keyframes/0/frames"].endswith("no such field; did you mean frame?")


def test_an_unknown_model_is_refused_with_those_that_are_here(world: World) -> None:
    problem = refuse(world, {"prompt": "x", "model": "sora"})

    assert problem["errors"][0]["pointer"] == "/model"
    assert "slate, ltx-2b" in problem["errors"][0]["detail"]


def test_two_lengths_are_one_too_many(world: World) -> None:
    problem = refuse(world, {"prompt": "x", "num_frames": 24, "duration_seconds": 1})

    assert "not both" in problem["detail"]


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"[1, 2", b'{"prompt": }', b"\xff\xfe", b"[" * 100_000, b"1" * 5000],
)
def test_broken_json_is_told_apart(world: World, content: bytes) -> None:
    answer = world.client.post(
        "/generate-video", content=content, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_lone_surrogate_is_refused(world: World) -> None:
    answer = world.client.post(
        "/generate-video",
        content=b'{"prompt": "\\ud800"}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/prompt"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_also_in_chunks(world: World, chunked: bool) -> None:
    body = json.dumps({"prompt": "x" * 2_000_000}).encode()
    chunks = iter([body[n : n + 65536] for n in range(0, len(body), 65536)])

    answer = world.client.post(
        "/generate-video",
        content=chunks if chunked else body,
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"


def test_a_request_id_is_taken_over_if_it_is_sound(world: World) -> None:
    good = world.client.get("/livez", headers={"X-Request-Id": "abc-123"})
    bad = world.client.get("/livez", headers={"X-Request-Id": "a b\tc"})

    assert good.headers["x-request-id"] == "abc-123"
    assert bad.headers["x-request-id"].startswith("req_")


def test_unknown_routes_and_methods_are_problems_too(world: World) -> None:
    assert world.client.get("/nothing").json()["code"] == "not_found"
    assert world.client.put("/generate-video").json()["code"] == "method_not_allowed"


def test_our_own_faults_say_so_and_nothing_more(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caplog.handler, "formatter", LineFormatter("json"))
    db = world.runtime.db
    object.__setattr__(world.runtime, "db", None)

    answer = world.client.get("/v1/jobs")
    object.__setattr__(world.runtime, "db", db)

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "NoneType" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    events = [json.loads(line) for line in caplog.text.splitlines()]
    assert [event["request"] for event in events if "fault" in event] == [
        answer.headers["x-request-id"]
    ]


def test_a_body_of_nonsense_is_refused_quickly_and_briefly(world: World) -> None:
    body = {f"promp{n}": n for n in range(10_000)}

    answer = world.client.post("/generate-video", json={"prompt": "x", **body})

    assert answer.status_code == 422
    assert len(answer.json()["errors"]) <= 20


def test_a_body_that_is_not_said_to_be_json_is_told_so(world: World) -> None:
    answer = world.client.post("/generate-video", content=b'{"prompt": "x"}')

    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]


def test_broken_json_is_told_where_it_goes_wrong(world: World) -> None:
    answer = world.client.post(
        "/generate-video",
        content='{"prompt": "x",}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == ""
    assert "error at character 15" in answer.json()["detail"]


def test_a_field_whose_name_cannot_be_encoded_is_refused(world: World) -> None:
    answer = world.client.post(
        "/generate-video",
        content=b'{"prompt": "x", "\\ud800": 1}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_captions_that_are_no_object_are_told_what_they_are(world: World) -> None:
    for captions in ("vtt", '{"format": "vt'):
        form = {"text": "Hello.", "captions": captions}
        answer = world.client.post(
            "/generate-avatar", files={k: (None, v) for k, v in form.items()}
        )
        (error,) = answer.json()["errors"]
        assert error["pointer"] == "/captions"
        assert error["detail"] == 'captions: must be an object such as {"format": "vtt"}'
