"""The sandbox's card."""

from service.domain.models.card import FloatRange, IntRange, Licence, ModelCard

SLATE = ModelCard(
    name="slate",
    title="Slate (sandbox)",
    sandbox=True,
    description=(
        "The sandbox: draws a moving clapper slate with your prompt on it. It generates nothing "
        "and costs nothing; use it to wire a pipeline up, as you would use a payment provider's "
        "test mode."
    ),
    licence=Licence(name="Apache-2.0"),
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
        "keyframes",
        "video-to-video",
        "continuation",
    ),
    seconds_fixed=0.3,
    seconds_per_megapixel_frame=0.015,
    speed_source="measured on two CPU cores, 2026-11",
)
