"""Examples for the OpenAPI document, built by the code of the real responses."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from service.api.schemas import responses
from service.api.schemas.costs import Budget, Cost, RateOut, Sums, Usage, UsageRow
from service.api.schemas.jobs import DeletedObject, Estimate, InlineVideo, JobList, JobOut
from service.api.schemas.keys import KeyList, KeyOut, NewKeyOut
from service.api.schemas.likeness_examples import likeness_examples
from service.api.schemas.models import ModelList, ModelOut
from service.api.schemas.webhooks import (
    NewWebhookEndpoint,
    WebhookDelivery,
    WebhookDeliveryList,
    WebhookEndpoint,
    WebhookEndpointList,
    WebhookSecret,
)
from service.api.signed_links import SignedLinks
from service.domain.artifact import ARTIFACT_RULES, ArtifactRule
from service.domain.attempt import Artifact, FailureKind, VideoFacts
from service.domain.event import (
    DEFAULT_EVENTS,
    Delivery,
    DeliveryId,
    DeliveryState,
    Endpoint,
    EndpointId,
    Secrets,
    Try,
)
from service.domain.ids import JobId, KeyId
from service.domain.job import Job, JobError, JobState
from service.domain.key import Key, KeyRole
from service.domain.models.catalog import CARDS
from service.domain.price import NO_GPU, Balance
from service.domain.request import VideoParams
from service.domain.resolve.resolve import resolve
from service.webhooks.sign import encode_secret

_NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
_PROMPT = "A serene mountain landscape with flowing water"
_JOB, _KEY = JobId("job_06h0d9vq1dp9l4uu8vk1jbtr78"), KeyId("key_06h0d9vq1dp9l4uu8vk1jbtr78")
_LINKS = SignedLinks(b"for the examples alone", "http://127.0.0.1:8787")
_CARD = CARDS["slate"]
_SECRET = "rsh_0123abcd_" + "A" * 43

Named = dict[str, Any]


def examples() -> dict[str, Named]:
    """Return the named examples of each schema, by the schema's name."""
    single = {
        **_of_jobs(),
        **_of_keys(),
        **_of_webhooks(),
        **_of_models(),
        **_of_bodies(),
        **likeness_examples(),
    }
    return {
        **{name: {name: _plain(value)} for name, value in single.items()},
        **{name: {value["code"]: value} for name, value in responses.examples().items()},
        "AnyJob": {job.state.value: _plain(_job_out(job)) for job in _jobs()},
    }


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else value


def _jobs() -> list[Job]:
    queued_job = Job(
        id=_JOB,
        key_id=_KEY,
        state=JobState.QUEUED,
        priority="normal",
        request=resolve(VideoParams(prompt=_PROMPT), _CARD, seed=7),
        metadata={"scene": "12"},
        created_at=_NOW,
        run_at=_NOW,
        timeout_seconds=1800,
    )
    final = {"attempt": 1, "started_at": _NOW, "finished_at": _NOW + timedelta(seconds=2)}
    return [
        queued_job,
        queued_job.model_copy(
            update={
                **final,
                "state": JobState.SUCCEEDED,
                "progress": 1.0,
                "result": _facts(queued_job),
                "timings_ms": {"total": 1234},
                "expires_at": _NOW + timedelta(days=7),
                "actual_usd": 0.0,
            }
        ),
        queued_job.model_copy(update={**final, "state": JobState.FAILED, "error": _error()}),
    ]


def _facts(job: Job) -> VideoFacts:
    def artifact(rule: ArtifactRule) -> Artifact:
        key = f"jobs/{job.id}/1/{rule.file}"
        return Artifact(key=key, media_type=rule.media_type, size_bytes=283_830, sha256="0f" * 32)

    request = job.request
    return VideoFacts(
        artifacts={variant: artifact(rule) for variant, rule in ARTIFACT_RULES.items()},
        width=request.width,
        height=request.height,
        fps=request.fps,
        num_frames=request.num_frames,
    )


def _error() -> JobError:
    message = "frames do not fit this GPU"
    return JobError(
        code="oom", kind=FailureKind.OOM, message=message, retryable=False, stage=None, attempt=1
    )


def _job_out(job: Job) -> JobOut:
    position = 0 if job.state is JobState.QUEUED else None
    return JobOut.from_domain(job, _LINKS, card=_CARD, position=position)


def _of_jobs() -> Named:
    jobs = [_plain(_job_out(job)) for job in _jobs()]
    request = _jobs()[0].request
    cost = Cost(estimated_usd=0.0, usd_per_second=0.0, rate_source=NO_GPU.source)
    estimate = Estimate(
        model=_CARD.name,
        sandbox=True,
        input=request,
        duration_seconds=request.duration_seconds,
        duration_range_seconds=None,
        expected_seconds=1.2,
        starts_in_seconds=0.0,
        fallbacks=[],
        cost=cost,
        warnings=["no seed was given: every job gets a random one of its own"],
    )
    job_list = JobList(data=[], first_id=_JOB, last_id=_JOB, has_more=False)
    inline = InlineVideo(video="AAAAIGZ0eXBpc29t", duration_ms=5000, generation_time_ms=1234)
    return {
        "Estimate": estimate,
        "JobList": {**_plain(job_list), "data": jobs[1:2]},
        "InlineVideo": inline,
        "DeletedObject": DeletedObject(id=_JOB),
    }


def _of_keys() -> Named:
    balance = Balance(50_000_000, spent=48_200_000, reserved=1_799_000)
    key = Key(_KEY, "the editor", "rsh_0123abcd", bytes(32), KeyRole.USER, created_at=_NOW)
    key_out, sums = KeyOut.from_domain(key, balance), Sums(jobs=3, gpu_seconds=4.5, cost_usd=0.01)
    day = _NOW.date()
    usage = Usage(
        first=day.replace(day=1),
        last=day,
        group_by="model",
        data=[UsageRow(model="ltx-2b", **sums.model_dump())],
        total=sums,
        budget=Budget.from_domain(balance),
    )
    return {
        "KeyOut": key_out,
        "KeyList": KeyList(data=[key_out]),
        "NewKeyOut": NewKeyOut(key=key_out, secret=_SECRET),
        "Usage": usage,
    }


def _of_webhooks() -> Named:
    secrets = Secrets(bytes(32))
    endpoint = WebhookEndpoint.from_domain(
        Endpoint(
            id=EndpointId("wep_06h0d9vq1dp9l4uu8vk1jbtr78"),
            key_id=_KEY,
            url="https://example.com/hooks/video",
            events=DEFAULT_EVENTS,
            secrets=secrets,
            created_at=_NOW,
        )
    )
    delivery = WebhookDelivery.from_domain(
        Delivery(
            id=DeliveryId("msg_06h0d9vq1dp9l4uu8vk1jbtr78"),
            key_id=_KEY,
            event="job.succeeded",
            url=endpoint.url,
            state=DeliveryState.DELIVERED,
            created_at=_NOW,
            job_id=_JOB,
            delivered_at=_NOW,
            tries=(Try(at=_NOW, status=204, duration_ms=41),),
        )
    )
    page = {"first_id": delivery.id, "last_id": delivery.id, "has_more": False}
    return {
        "WebhookEndpoint": endpoint,
        "WebhookEndpointList": WebhookEndpointList(data=[endpoint]),
        "NewWebhookEndpoint": NewWebhookEndpoint(
            endpoint=endpoint, secret=encode_secret(bytes(32))
        ),
        "WebhookSecret": WebhookSecret.from_domain(secrets, _NOW),
        "WebhookDelivery": delivery,
        "WebhookDeliveryList": WebhookDeliveryList(data=[delivery], **page),
    }


def _of_models() -> Named:
    model = ModelOut(
        **_CARD.model_dump(),
        id=_CARD.name,
        default=True,
        workers=1,
        paused_at=None,
        rate=RateOut.from_domain(NO_GPU),
    )
    model_health = {"id": _CARD.name, "gpu": None, "warm": True, "workers": 1, "calls": None}
    health = {"status": "healthy", "model": _CARD.name, "gpu": None, "warm": True}
    return {
        "ModelList": ModelList(data=[model]),
        "ModelPause": {"model": _CARD.name, "paused_at": _NOW.isoformat()},
        "WarmContainers": {"model": _CARD.name, "containers": 1},
        "Health": {
            **health,
            "version": "0.1.0",
            "queue": {"queued": 0, "running": 1},
            "models": [model_health],
            "reasons": [],
            "unfit_workers": [],
        },
        "Liveness": {"status": "ok"},
    }


def _of_bodies() -> Named:
    return {
        "VideoParams": {"prompt": _PROMPT, "duration_seconds": 5, "metadata": {"scene": "12"}},
        "VideoParamsForm": {"prompt": _PROMPT, "num_frames": 24},
        "VideoOptions": {"seed": 8},
        "VideoOptionsForm": {"seed": 8},
        "AvatarParams": {"text": "Hello.", "reference_image": "https://example.com/face.jpg"},
        "AvatarParamsForm": {"text": "Hello.", "reference_image": "https://example.com/face.jpg"},
        "AvatarOptions": {"text": "Good bye."},
        "AvatarOptionsForm": {"text": "Good bye."},
        "KeyBody": {"name": "the editor", "budget_usd": 50},
        "BudgetBody": {"budget_usd": 50},
        "WarmBody": {"containers": 1},
        "EndpointBody": {"url": "https://example.com/hooks/video", "events": ["job.succeeded"]},
    }
