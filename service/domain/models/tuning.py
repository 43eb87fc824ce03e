"""What an operator may turn to make a model faster or smaller, and how much memory it may take."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Switch = Literal["auto", "on", "off"]
Quantize = Literal["off", "float8", "float8-weights", "int8-weights", "float8-storage"]


class Profile(StrEnum):
    """How much of the GPU's memory a model may take."""

    FULL = "full"  # all of it at once, where the card says that it fits
    SMALL = "small"  # each part only while it works, and decoded by tiles: for after an `oom`


class Tuning(BaseModel):
    """How a model is run. What each may change in a clip is in docs/speed.md, and is tested.

    `auto` is decided by the GPU; a lever that cannot be had is refused when the model is loaded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    compile: Switch = "auto"
    compile_decoder: bool = False
    compiled_shapes: int = Field(default=12, ge=1, le=32)
    attention: str = "native"  # as diffusers calls it
    quantize: Quantize = "off"
    vae_dtype: Literal["model", "bfloat16"] = "model"
    vae_channels_last: bool = False
    embeddings_bytes: int = Field(default=256 << 20, ge=0)


DEFAULT_TUNING = Tuning()
