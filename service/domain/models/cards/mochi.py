"""The card of Mochi 1."""

from service.domain.models.card import (
    FloatRange,
    IntRange,
    Licence,
    ModelCard,
    Weights,
    estimate_speeds,
)

MOCHI = ModelCard(
    name="mochi",
    title="Mochi 1 preview",
    description="Genmo's 10 B transformer: 480p at 30 fps from text alone.",
    licence=Licence(name="Apache-2.0", url="https://www.apache.org/licenses/LICENSE-2.0"),
    side=IntRange(low=64, high=848, step=16),
    max_pixels=848 * 480,
    frames=IntRange(low=7, high=163, step=6),
    fps=IntRange(low=30, high=30),  # its motion is of this rate
    max_seconds=163 / 30,
    steps=IntRange(low=20, high=100),
    guidance=FloatRange(low=1.0, high=10.0),
    negative_prompt=True,
    default_width=848,
    default_height=480,
    default_fps=30,
    default_seconds=5.4,
    default_steps=64,
    default_guidance=4.5,
    fallbacks=("wan2.2-5b-fast", "ltx-2b"),
    gpus=("H100", "H200"),
    gpu_memory_gb=60.0,
    gpu_memory_offload_gb=24.0,
    weights=(
        Weights(
            repo="genmo/mochi-1-preview",
            revision="14be5fcea23095ed330cb214647916a451e38b6e",
            files=(
                "model_index.json",
                "scheduler/*",
                "tokenizer/*",
                "text_encoder/*",
                "transformer/config.json",
                "transformer/*bf16*",
                "vae/*",
            ),
        ),
    ),
    extra="torch",
    seconds_fixed=2.0,
    seconds_per_megapixel_frame=0.048,
    seconds_per_step=0.0674,
    seconds_per_step_squared=1.56e-3,
    speed_source="estimated for an H100",
    speeds=estimate_speeds(64 * 2 * 1900 + 1081, "H100", "H200", "A100-80GB"),
)
