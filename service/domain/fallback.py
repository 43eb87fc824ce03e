"""What a job carries of the models that may take it over, and of those that gave it up."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from service.domain.models.tuning import Profile
from service.domain.request import VideoRequest

# Fields of a request that are compared when another model takes it over; the prompt and what the
# job was given are never changed.
_RESOLVED = (
    "width",
    "height",
    "num_frames",
    "fps",
    "num_inference_steps",
    "guidance_scale",
    "strength",
)


class Fallback(BaseModel):
    """Another model that may take a job over, with the request as it was resolved for it.

    `expected_ms` is what it would take; the rest is the rate of the GPU that it tries first.
    """

    model_config = ConfigDict(frozen=True)

    request: VideoRequest
    expected_ms: int
    rate_source: str | None = None
    rate_gpu: str | None = None
    usd_per_second: float | None = None


class Change(BaseModel):
    """A value of the request before and after."""

    model_config = ConfigDict(frozen=True)

    before: float | None
    after: float | None


class FallbackRecord(BaseModel):
    """A model that gave a job up, in which memory profile and why.

    `next_model` went on with it, in the smaller profile where it is the same model; `changes` are
    the values of the request that are others for it.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    profile: Profile
    code: str
    message: str
    at: AwareDatetime
    next_model: str
    changes: dict[str, Change]


def changes(before: VideoRequest, after: VideoRequest) -> dict[str, Change]:
    """What was resolved otherwise."""

    def of(request: VideoRequest) -> dict[str, Any]:
        return request.model_dump(include=set(_RESOLVED))

    old, new = of(before), of(after)
    return {
        name: Change(before=old[name], after=new[name])
        for name in _RESOLVED
        if old[name] != new[name]
    }
