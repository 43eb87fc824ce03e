"""The cards of Wan 2.2 TI2V-5B, a dense model of 5 B; only the family's A14B is made of experts."""

from service.domain.models.card import (
    FloatRange,
    IntRange,
    Licence,
    ModelCard,
    Speed,
    Weights,
    estimate_speeds,
)

_APACHE = Licence(name="Apache-2.0", url="https://www.apache.org/licenses/LICENSE-2.0")
_WAN = ("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "b8fff7315c768468a5333511427288870b2e9635")
_WITHOUT_TRANSFORMER = (
    "model_index.json",
    "scheduler/*",
    "tokenizer/*",
    "text_encoder/*.json",
    "text_encoder/*.safetensors",
    "vae/*",
)

WAN_5B = ModelCard(
    name="wan2.2-5b",
    title="Wan 2.2 TI2V-5B",
    description="Alibaba's 5 B transformer for 720p at 24 fps, from text or a first image.",
    licence=_APACHE,
    side=IntRange(low=64, high=1280, step=32),
    max_pixels=1280 * 704,
    frames=IntRange(low=5, high=2881, step=4),
    clip_frames=121,
    overlap=5,
    fps=IntRange(low=24, high=24),  # its motion is of this rate
    max_seconds=120.0,
    steps=IntRange(low=20, high=60),
    guidance=FloatRange(low=1.0, high=10.0),
    negative_prompt=True,
    default_width=1280,
    default_height=704,
    default_fps=24,
    default_seconds=5.0,
    default_steps=50,
    default_guidance=5.0,
    # No last image: the pipeline takes one and leaves it out of the latents.
    features=("text-to-video", "image-to-video", "video-to-video", "continuation"),
    fallbacks=("wan2.2-5b-fast", "ltx-2b"),
    gpus=("H100", "L40S"),
    gpu_memory_gb=40.0,
    gpu_memory_offload_gb=24.0,
    weights=(
        Weights(
            repo=_WAN[0],
            revision=_WAN[1],
            files=(*_WITHOUT_TRANSFORMER, "transformer/*.json", "transformer/*.safetensors"),
        ),
    ),
    extra="torch",
    seconds_fixed=2.0,
    seconds_per_megapixel_frame=0.108,
    seconds_per_step=0.0130,
    seconds_per_step_squared=1.38e-4,
    speed_source="estimated for an H100",
    speeds=(
        # The decoder runs in float32, at half of bfloat16's rate.
        *estimate_speeds(52_070 + 2 * 2011, "H100", "L40S"),
        Speed(
            gpu="H200",
            seconds=157.2,
            kind="cited",
            source="FastVideo, the 50 steps alone with FlashAttention 2",
        ),
    ),
)

WAN_5B_FAST = WAN_5B.model_copy(
    update={
        "name": "wan2.2-5b-fast",
        "title": "FastWan 2.2 TI2V-5B",
        "description": "Wan 2.2 TI2V-5B distilled by FastVideo to 3 steps without guidance.",
        "steps": IntRange(low=3, high=3),
        "guidance": FloatRange(low=1.0, high=1.0),
        "negative_prompt": False,
        "default_steps": 3,
        "default_guidance": 1.0,
        "fallbacks": ("ltx-2b",),
        "weights": (
            Weights(
                repo="FastVideo/FastWan2.2-TI2V-5B-FullAttn-Diffusers",
                revision="3e187042a324f6f5fb68fd22110a78725253de8f",
                files=("transformer/*.json", "transformer/*.safetensors"),
            ),
            Weights(repo=_WAN[0], revision=_WAN[1], files=_WITHOUT_TRANSFORMER),
        ),
        "seconds_fixed": 1.5,
        "seconds_per_megapixel_frame": 0.054,
        "seconds_per_step": 0.0065,
        "seconds_per_step_squared": 6.9e-5,
        "speeds": (
            *estimate_speeds(3 * 520.7 + 2011, "H100", "L40S"),
            Speed(gpu="H200", seconds=16.0, kind="cited", source="FastVideo, end to end"),
        ),
    }
)
