"""Records of the models that gave a job up."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from service.domain.attempt import Profile
from service.domain.request import JobRequest

# Fields of a request that may differ for another model; the prompt and the inputs never do.
_RESOLVED = (
    "width",
    "height",
    "num_frames",
    "fps",
    "num_inference_steps",
    "guidance_scale",
    "strength",
)


class Change(BaseModel):
    """A field's value before and after a fallback."""

    model_config = ConfigDict(frozen=True)

    before: float | None
    after: float | None


class FallbackRecord(BaseModel):
    """A model that gave a job up, its memory profile and the reason.

    `next_model` took over, in the smaller profile if it is the same model; `changes` are the fields
    of the request that differ for it.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    profile: Profile
    code: str
    message: str
    at: AwareDatetime
    next_model: str
    changes: dict[str, Change]


def changes(before: JobRequest, after: JobRequest) -> dict[str, Change]:
    """Return the resolved fields that differ."""

    def of(request: JobRequest) -> dict[str, Any]:
        return request.model_dump(include=set(_RESOLVED))

    old, new = of(before), of(after)
    return {
        name: Change(before=old.get(name), after=new.get(name))
        for name in _RESOLVED
        if old.get(name) != new.get(name)
    }
