"""The card of LongCat-Video-Avatar 1.5."""

from service.domain.avatar import FPS, MAX_AUDIO_SECONDS
from service.domain.models.card import (
    FloatRange,
    IntRange,
    Licence,
    ModelCard,
    Resolution,
    Speed,
    Weights,
)

SOURCE = "https://github.com/meituan-longcat/LongCat-Video"
INT8 = "base_model_int8/*"  # the weights of the transformer in eight bits

# The pipeline's own sizes, landscape first. It takes the one whose shape is nearest to an image's,
# so that an image of exactly one of these sizes gets it.
_SIZES_480P = (
    *((832, 480), (864, 448), (960, 416), (1024, 384), (1120, 352), (1216, 320)),
    *((768, 512), (736, 544), (672, 576), (640, 608), (608, 640), (576, 672), (544, 704)),
    *((544, 736), (512, 768), (480, 800), (480, 832), (448, 896), (416, 960), (384, 992)),
    *((384, 1056), (352, 1088), (320, 1184), (320, 1216), (320, 1248), (320, 1280)),
)
_SIZES_720P = (
    *((1248, 736), (1312, 704), (1376, 672), (1504, 608), (1600, 576), (1696, 544)),
    *((1792, 512), (1920, 480), (1152, 800), (1120, 832), (1056, 864), (1024, 896)),
    *((992, 928), (960, 960), (928, 992), (896, 1024), (864, 1056), (832, 1088), (832, 1120)),
    *((800, 1152), (736, 1248), (672, 1344), (672, 1376), (608, 1504), (608, 1536)),
    *((576, 1632), (544, 1664), (544, 1696), (512, 1856), (480, 1888), (480, 1920)),
)
# What others measured for 93 frames at 480p: eight steps on an H100 with the weights in eight bits.
_SECONDS_OF_A_CLIP = 62.0
_CLIPS_OF_20_S = 7
_H100_TO_A100 = 790 / 312  # by their best TFLOP/s in bfloat16


_BASE_REPO = "meituan-longcat/LongCat-Video"
_PARTS = (
    "lora/dmd_lora.safetensors",
    "scheduler/*",
    "whisper-large-v3/*.json",
    "whisper-large-v3/merges.txt",
    "whisper-large-v3/model.safetensors",
)
_BASE_PARTS = ("tokenizer/*", "text_encoder/*", "vae/*")

LONGCAT = ModelCard(
    name="longcat",
    title="LongCat-Video-Avatar 1.5",
    kind="avatar",
    description=(
        "Meituan's 15.9 B transformer: a person of a photo, or of the prompt alone, speaks, moves "
        "and gestures. Distilled to 8 steps. It was not run on a GPU with its real weights here; "
        "docs/avatars.md has its known defects."
    ),
    licence=Licence(
        name="MIT", url="https://huggingface.co/meituan-longcat/LongCat-Video-Avatar-1.5"
    ),
    side=IntRange(low=320, high=1920, step=32),
    max_pixels=max(width * height for width, height in _SIZES_720P),
    resolutions=(
        Resolution(name="480p", sizes=_SIZES_480P),
        Resolution(name="720p", sizes=_SIZES_720P),
    ),
    only_resolutions=True,
    extra="longcat",
    frames=IntRange(low=1, high=int(MAX_AUDIO_SECONDS) * FPS),
    clip_frames=93,
    overlap=13,
    full_clips=True,
    fps=IntRange(low=FPS, high=FPS),
    max_seconds=MAX_AUDIO_SECONDS,
    steps=IntRange(low=8, high=8),  # those that it is distilled to
    guidance=FloatRange(low=1.0, high=1.0),
    negative_prompt=False,
    default_width=832,
    default_height=480,
    default_fps=FPS,
    default_seconds=20.0,
    default_steps=8,
    default_guidance=1.0,
    default_prompt="A person looks into the camera and talks calmly, in natural light.",
    features=("speech", "reference-image"),
    fallbacks=("puppet",),
    gpus=("H100", "A100-80GB"),
    gpu_memory_gb=56.0,  # of 480p; 720p needs about 20 GB more
    gpu_memory_offload_gb=50.0,
    # The revisions are settings: no commit is known to pin here.
    weights=(
        Weights(
            repo="meituan-longcat/LongCat-Video-Avatar-1.5",
            revision="main",
            files=("base_model/*", *_PARTS),
        ),
        Weights(repo=_BASE_REPO, revision="main", files=_BASE_PARTS),
    ),
    # The transformer's arithmetic of two sizes, at the rate of the clip that others measured.
    seconds_fixed=8.0,
    seconds_per_megapixel_frame=0.05,
    seconds_per_step=0.1003,
    seconds_per_step_squared=2.93e-3,
    speed_source="from what others measured on an H100, int8-weights",
    speeds=(
        Speed(
            gpu="H100",
            seconds=_CLIPS_OF_20_S * _SECONDS_OF_A_CLIP,
            kind="cited",
            source="LongCat-Video's pull request 115: 62 s for 93 frames, int8-weights",
        ),
        Speed(
            gpu="A100-80GB",
            seconds=round(_CLIPS_OF_20_S * _SECONDS_OF_A_CLIP * _H100_TO_A100),
            kind="estimated",
            source="the H100's figure by the ratio of their TFLOP/s, 790 to 312",
        ),
    ),
)


def longcat_card(repo: str, revision: str, base_revision: str, *, int8: bool) -> ModelCard:
    """Return the card for other weights: of another repository or revision, or in eight bits.

    `base_revision` is that of LongCat-Video, whose tokenizer, text encoder and VAE are used.
    """
    transformer = INT8 if int8 else "base_model/*"
    weights = (
        Weights(repo=repo, revision=revision, files=(transformer, *_PARTS)),
        Weights(repo=_BASE_REPO, revision=base_revision, files=_BASE_PARTS),
    )
    memory = {"gpu_memory_gb": 40.0, "gpu_memory_offload_gb": 34.0} if int8 else {}
    return LONGCAT.model_copy(update={"weights": weights, **memory})
