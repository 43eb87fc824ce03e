"""Wire shapes of models."""

from typing import Literal

from pydantic import BaseModel, Field

from service.api.schemas.costs import RateOut
from service.domain.models.card import ModelCard


class ModelOut(ModelCard):
    """A model's card, and whether it is the default and has a worker just now."""

    id: str
    object: Literal["model"] = "model"
    default: bool
    workers: int
    rate: RateOut = Field(description="Of the GPU that it is tried on first.")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelOut]
