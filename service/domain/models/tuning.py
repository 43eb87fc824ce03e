"""Tuning of a model for speed or memory."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Switch = Literal["auto", "on", "off"]
Quantize = Literal["off", "float8", "float8-weights", "int8-weights", "float8-storage"]


class Profile(StrEnum):
    """The memory profile of a model."""

    FULL = "full"  # all parts loaded, if the card says that they fit
    SMALL = "small"  # each part loaded only while it works, tiled decoding: after an `oom`


class Tuning(BaseModel):
    """Settings of a model. Their effects on the video are in docs/speed.md, and tested.

    `auto` depends on the GPU; a setting that it does not support is refused at loading.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    compile: Switch = "auto"
    compile_decoder: bool = False
    compiled_shapes: int = Field(default=12, ge=1, le=32)
    attention: str = "native"  # as diffusers calls it
    quantize: Quantize = "off"
    vae_dtype: Literal["model", "bfloat16"] = "model"
    vae_channels_last: bool = False
    lora_multiplier: float = Field(default=1.0, gt=0, le=2)  # of a model distilled by a LoRA
    embeddings_bytes: int = Field(default=256 << 20, ge=0)


DEFAULT_TUNING = Tuning()
