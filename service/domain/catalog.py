"""The models there are, as data. A new model is one card here, one adapter, one registry line."""

from service.domain.card import FloatRange, IntRange, ModelCard, Weights

SLATE = ModelCard(
    name="slate",
    title="Slate (sandbox)",
    sandbox=True,
    description=(
        "The sandbox: draws a moving clapper slate with your prompt on it. It generates nothing "
        "and costs nothing; use it to wire a pipeline up, as you would use a payment provider's "
        "test mode."
    ),
    licence="Apache-2.0",
    side=IntRange(low=64, high=1920, step=2),
    max_pixels=1920 * 1920,
    frames=IntRange(low=1, high=7200),
    clip_frames=720,
    overlap=12,
    fps=IntRange(low=1, high=60),
    max_seconds=120.0,
    steps=IntRange(low=1, high=100),
    guidance=FloatRange(low=0.0, high=20.0),
    negative_prompt=True,
    default_width=768,
    default_height=512,
    default_fps=24,
    default_seconds=5.0,
    default_steps=30,
    default_guidance=5.0,
    features=(
        "text-to-video",
        "image-to-video",
        "last-image",
        "video-to-video",
        "continuation",
    ),
    seconds_fixed=0.3,
    seconds_per_megapixel_frame=0.015,
    speed_source="measured on two CPU cores, 2026-11",
)

LTX_2B = ModelCard(
    name="ltx-2b",
    title="LTX-Video 2B 0.9.8 distilled",
    description="Lightricks' fast 1.9 B text-to-video transformer, distilled to 7 steps.",
    licence="LTXV Open Weights (free below $10 M yearly revenue)",
    licence_url="https://huggingface.co/Lightricks/LTX-Video",
    side=IntRange(low=64, high=1280, step=32),
    max_pixels=1280 * 704,
    frames=IntRange(low=9, high=257, step=8),
    fps=IntRange(low=8, high=60),
    max_seconds=257 / 8,
    steps=IntRange(low=7, high=7),
    guidance=FloatRange(low=1.0, high=1.0),
    negative_prompt=False,
    default_width=768,
    default_height=512,
    default_fps=24,
    default_seconds=5.0,
    default_steps=7,
    default_guidance=1.0,
    gpus=("A10", "L40S"),
    gpu_memory_gb=24.0,
    # The commits that other public projects pin for these very files (as of 2026-11; not fetched).
    weights=(
        Weights(
            repo="Lightricks/LTX-Video",
            revision="8984fa25007f376c1a299016d0957a37a2f797bb",
            files=("ltxv-2b-0.9.8-distilled.safetensors",),
        ),
        Weights(
            repo="Lightricks/LTX-Video-0.9.5",
            revision="e58e28c39631af4d1468ee57a853764e11c1d37e",
            files=(
                "model_index.json",
                "tokenizer/*",
                "text_encoder/*.json",
                "text_encoder/*.safetensors",
                "transformer/config.json",
                "vae/config.json",
            ),
        ),
    ),
    seconds_fixed=0.5,
    seconds_per_megapixel_frame=0.03,
    speed_source="estimate from published speeds (LTX-Video paper, one H100), not measured here",
)

CARDS: dict[str, ModelCard] = {card.name: card for card in (SLATE, LTX_2B)}
