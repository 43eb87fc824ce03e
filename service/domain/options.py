"""The parameters that jobs of every kind have."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from service.domain.event import EventKinds
from service.domain.media import Role
from service.domain.text import Label, MetadataLabel, Value, _storable

Priority = Literal["low", "normal", "high"]
MAX_SEED = 2**32 - 1  # the largest that every generator (numpy, torch, JavaScript) takes exactly


def _whole(number: Any) -> Any:
    """Accept `24.0` as an integer, as JSON Schema does."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number


WHOLE = BeforeValidator(_whole)


# Base64 or a data URI, which api/body/parse.py writes to a file; else an https URL or a job's id,
# which runtime/submit.py tells apart.
MediaText = Annotated[str, Field(min_length=1), AfterValidator(_storable)]


class MediaBody(BaseModel):
    """A body that may have images, videos and recordings among its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @property
    def media_texts(self) -> dict[Role, str]:
        """Return the texts of all inputs, by role."""
        return {}

    def with_media_texts(self, texts: Mapping[Role, str]) -> Self:
        """Return a copy with some of the inputs' texts replaced."""
        return self.model_copy(update=dict(texts))


class JobOptions(MediaBody):
    """The parameters of a job of any kind, each optional.

    `null` has the same effect as leaving a field out.
    """

    model: Label | None = Field(
        default=None,
        description="A name from `GET /v1/models`. Default: the service's own default, and where "
        "that cannot make the video those that its card names.",
    )
    models: Annotated[list[Label], Field(min_length=1, max_length=8)] | None = Field(
        default=None,
        description="Instead of `model`: several, the best first. Where one has not the memory or "
        "the weights, has no worker within `start_timeout_seconds`, or fails again and again, the "
        "next takes over. Each must support the request.",
    )
    width: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = Field(
        default=None, description="Pixels."
    )
    height: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = Field(
        default=None, description="Pixels."
    )
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), WHOLE] | None = Field(
        default=None,
        description="Same seed, request and device: same frames. Default: a random one.",
    )
    priority: Priority | None = Field(
        default=None, description="Order within the queue. Default: normal."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400), WHOLE] | None = Field(
        default=None, description="Fail an attempt that runs longer than this."
    )
    start_timeout_seconds: Annotated[int, Field(ge=1, le=604_800), WHOLE] | None = Field(
        default=None,
        description="How long to wait for a worker of each model; then the next takes over, and "
        "after the last the job expires.",
    )
    metadata: Annotated[dict[MetadataLabel, Value], Field(max_length=16)] | None = Field(
        default=None,
        description="Up to 16 labels (letters, digits, space, `_.:/@-`) with texts of your own.",
    )
    webhook_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        default=None, description="An https URL that receives the job's events as signed POSTs."
    )
    webhook_events: EventKinds | None = Field(
        default=None, description="Events to deliver to it. Default: the four final ones."
    )
    response_format: Literal["url", "b64_json"] | None = Field(
        default=None,
        description="`b64_json`: a wait that sees the job finish answers with the MP4 itself.",
    )

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if self.models is None:
            return self
        if self.model is not None:
            raise ValueError("give `model` or `models`, not both")
        if len(set(self.models)) < len(self.models):
            raise ValueError("`models` contains a model twice")
        return self

    @model_validator(mode="after")
    def _check_webhook(self) -> Self:
        if self.webhook_events is not None and self.webhook_url is None:
            raise ValueError("`webhook_events` needs a `webhook_url`")
        return self
