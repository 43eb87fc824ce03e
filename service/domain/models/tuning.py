"""Tuning of a model for speed or memory."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Switch = Literal["auto", "on", "off"]
Quantize = Literal["off", "float8", "float8-weights", "int8-weights", "float8-storage"]


class Tuning(BaseModel):
    """Settings of a model. Their effects on the video are in docs/speed.md, and tested.

    `auto` depends on the GPU; a setting that it does not support is refused at loading.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    compile: Switch = Field(
        "auto",
        description="Compile the models' blocks; see docs/speed.md for this and the "
        "settings below.",
    )
    compile_decoder: bool = Field(
        False,
        description="Compile the decoder too: the first video of a new size then takes longer.",
    )
    compiled_shapes: int = Field(
        12, ge=1, le=32, description="Maximum video sizes to compile for; others run uncompiled."
    )
    attention: str = Field(
        "native", description="The kernel for self-attention, by diffusers' name for it."
    )
    quantize: Quantize = Field(
        "off", description="Weights of the transformers in eight bits, for speed or memory."
    )
    vae_dtype: Literal["model", "bfloat16"] = Field(
        "model", description="bfloat16 also where a model's decoder is kept in float32."
    )
    vae_channels_last: bool = Field(
        False,
        description="Use the channels-last memory format for the decoder, which may be faster.",
    )
    lora_multiplier: float = Field(
        1.0,
        gt=0,
        le=2,
        description="Weight of the LoRA that distils longcat; 0.3 to 0.6 if lips turn red.",
    )
    embeddings_bytes: int = Field(
        268_435_456, ge=0, description="Memory of a worker for cached prompt embeddings; 0: none."
    )


DEFAULT_TUNING = Tuning()
