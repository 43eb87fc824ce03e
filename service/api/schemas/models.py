"""Response models of video models."""

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
    rate: RateOut = Field(description="Of the GPU that is tried first.")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelOut]
