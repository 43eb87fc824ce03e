"""The puppet's card."""

from service.domain.avatar import FPS, MAX_AUDIO_SECONDS
from service.domain.models.card import FloatRange, IntRange, Licence, ModelCard, Resolution

PUPPET = ModelCard(
    name="puppet",
    title="Puppet (a photo that speaks)",
    kind="avatar",
    description=(
        "Animates one photo on any CPU: jaw, lips by phoneme, eyelids, brows, head and breath. It "
        "bends the photo and invents no pixels but the inside of the mouth: no hands, no turning "
        "around, no expressions beyond those."
    ),
    licence=Licence(
        name="Apache-2.0", url="https://github.com/google-ai-edge/mediapipe/blob/master/LICENSE"
    ),
    side=IntRange(low=256, high=1280, step=2),
    max_pixels=1280 * 720,
    resolutions=(
        Resolution(name="512p", sizes=((512, 512),)),
        Resolution(name="480p", sizes=((480, 480),)),
        Resolution(name="720p", sizes=((720, 720),)),
    ),
    frames=IntRange(low=1, high=int(MAX_AUDIO_SECONDS) * FPS),
    clip_frames=10 * FPS,
    fps=IntRange(low=FPS, high=FPS),
    max_seconds=MAX_AUDIO_SECONDS,
    steps=IntRange(low=0, high=0),
    guidance=FloatRange(low=0.0, high=0.0),
    negative_prompt=False,
    default_width=512,
    default_height=512,
    default_fps=FPS,
    default_seconds=20.0,
    default_steps=0,
    default_guidance=0.0,
    features=("speech", "reference-image"),
    bends_photo=True,
    extra="avatar",
    seconds_fixed=2.0,
    seconds_per_megapixel_frame=0.075,
    speed_source="measured on two CPU cores, 2026-11",
)
