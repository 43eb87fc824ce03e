"""A second API in another service's shape is one router: it picks how a caller authenticates, how
errors look and how webhooks look, and calls the use cases that our own routes call."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient
from pydantic import BaseModel

from service.api.deps import ApiKeyAuth, RequestContext
from service.api.problems import errors_as
from service.api.schemas.responses import Problem
from service.api.webhook_body import WebhookBodies
from service.app import build
from service.domain.event import Delivery
from service.domain.ids import JobId
from service.domain.job import Job
from service.domain.request import VideoParams
from service.lifecycle.jobs import cancel
from service.runtime.submit import SubmitRequest, create_job
from service.settings import Settings
from service.wiring import web
from tests.api.world import KEY, World
from tests.webhooks.receiver import Receiver, body_of, receiving

STATUS = {"queued": "starting", "canceled": "aborted"}


class Prediction(BaseModel):
    input: VideoParams
    webhook: str | None = None


def shape(job: Job) -> dict[str, Any]:
    return {"id": job.id, "status": STATUS.get(job.state, job.state), "model": job.request.model}


def token(request: Request) -> str | None:
    return request.headers.get("x-token")


def failure(problem: Problem) -> Response:
    return JSONResponse({"title": problem.title, "error": problem.detail}, problem.status)


class Bodies(WebhookBodies):
    """Webhooks that are the prediction itself."""

    def render(self, delivery: Delivery, job: Job | None) -> bytes:
        assert job is not None
        return json.dumps(shape(job)).encode()


Context = Annotated[
    RequestContext, Depends(ApiKeyAuth("token", "A token", token, usage="X-Token: <key>"))
]
router = APIRouter(prefix="/other", route_class=errors_as(failure))


@router.post("/predictions", status_code=201)
async def predict(body: Prediction, context: Context) -> dict[str, Any]:
    params = body.input.model_copy(update={"webhook_url": body.webhook})
    request = SubmitRequest(context.key.id, params, context.links.base, api="other")
    return shape((await create_job(context.runtime, request)).job)


@router.post("/predictions/{id_}/cancel")
async def abort(id_: str, context: Context) -> dict[str, Any]:
    runtime = context.runtime
    now = runtime.clock()
    return shape(
        await runtime.run(cancel, runtime.db, runtime.workers, JobId(id_), context.scope, now)
    )


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("receiver") / "log") as found:
        yield found


@pytest.fixture
def other(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(web.WEBHOOK_BODIES, "other", Bodies)
    settings.webhooks_allow_loopback = True
    app = build(settings)
    app.include_router(router)
    with TestClient(app, base_url="http://rushes.test") as client:
        client.headers["X-Token"] = KEY
        yield World(client)


def test_its_jobs_are_jobs_of_the_key(other: World) -> None:
    made = other.client.post("/other/predictions", json={"input": {"prompt": "a red ball"}})
    assert made.status_code == 201
    assert made.json() == {"id": made.json()["id"], "status": "starting", "model": "slate"}

    job = other.client.get(
        f"/v1/jobs/{made.json()['id']}", headers={"Authorization": f"Bearer {KEY}"}
    )

    assert (job.status_code, job.json()["status"]) == (200, "queued")
    ended = other.client.post(f"/other/predictions/{made.json()['id']}/cancel")
    assert ended.json()["status"] == "aborted"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"json": {"input": {"prompt": "a", "width": 63}}}, 422),
        ({"json": {"input": {}}}, 422),
        ({"json": {"input": {"prompt": "a"}}, "headers": {"X-Token": "no"}}, 401),
    ],
)
def test_its_errors_have_its_shape(other: World, changes: dict[str, Any], status: int) -> None:
    answer = other.client.post("/other/predictions", **changes)

    assert (answer.status_code, answer.json()["title"]) == (status, HTTPStatus(status).phrase)
    assert answer.json().keys() == {"title", "error"}


def test_a_caller_without_a_key_is_told_its_own_header(other: World) -> None:
    del other.client.headers["X-Token"]
    answer = other.client.post("/other/predictions", json={"input": {"prompt": "a"}})
    assert answer.json()["error"] == "send your API key as `X-Token: <key>`"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_its_webhooks_have_its_shape_and_those_of_other_jobs_ours(
    other: World, receiver: Receiver
) -> None:
    ask = {"input": {"prompt": "a"}, "webhook": receiver.url("other")}
    theirs = other.client.post("/other/predictions", json=ask).json()["id"]
    ours = other.client.post(
        "/generate-video",
        json={"prompt": "a", "webhook_url": receiver.url("ours")},
        headers={"Authorization": f"Bearer {KEY}"},
    ).json()["id"]

    registered = {"url": receiver.url("endpoint")}
    other.client.post(
        "/v1/webhook-endpoints", json=registered, headers={"Authorization": f"Bearer {KEY}"}
    )

    for job_id in (theirs, ours):
        other.client.post(f"/other/predictions/{job_id}/cancel")

    (their_event,), (our_event,) = receiver.wait("other"), receiver.wait("ours")
    expected = {"id": theirs, "status": "aborted", "model": "slate"}
    assert json.loads(body_of(their_event)) == expected
    assert json.loads(body_of(our_event))["type"] == "job.canceled"
    # An endpoint was registered here, so it hears of all jobs in our shape.
    of_both = [json.loads(body_of(event)) for event in receiver.wait("endpoint", 2)]
    assert {event["data"]["id"] for event in of_both} == {theirs, ours}
