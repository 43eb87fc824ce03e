"""Response models of video models."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from service.api.schemas.costs import RateOut
from service.domain.models.card import ModelCard


class ModelOut(ModelCard):
    """A model's card, its rate and its number of workers."""

    id: str
    object: Literal["model"] = "model"
    default: bool
    workers: int
    paused_at: datetime | None = Field(
        description="Since when its jobs wait until it is resumed; null: it is not paused."
    )
    rate: RateOut = Field(description="Of the GPU that is tried first.")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelOut]


class ModelPause(BaseModel):
    """The pause of a model; null: it is not paused."""

    model: str
    paused_at: datetime | None
