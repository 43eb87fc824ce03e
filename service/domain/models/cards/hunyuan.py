"""The cards of HunyuanVideo."""

from service.domain.models.card import (
    FloatRange,
    IntRange,
    Licence,
    ModelCard,
    Weights,
    estimate_speeds,
)

_LICENCE = Licence(
    name="Tencent Hunyuan Community",
    url="https://huggingface.co/tencent/HunyuanVideo/blob/main/LICENSE",
    limits=(
        "does not apply in the EU, the United Kingdom and South Korea",
        "above 100 million monthly users Tencent's permission is needed",
        "what it makes may not train other models",
    ),
    excluded_regions=("EU", "GB", "KR"),
    opt_in=True,
)
_FILES = (
    "model_index.json",
    "scheduler/*",
    "tokenizer/*",
    "tokenizer_2/*",
    "text_encoder/*",
    "text_encoder_2/*",
    "transformer/*",
    "vae/*",
)

HUNYUAN = ModelCard(
    name="hunyuan",
    title="HunyuanVideo 1.0",
    description="Tencent's 12.8 B transformer, up to 720p, with its guidance built in.",
    licence=_LICENCE,
    side=IntRange(low=64, high=1280, step=16),
    max_pixels=1280 * 720,
    frames=IntRange(low=5, high=129, step=4),
    fps=IntRange(low=24, high=24),  # its motion is of this rate
    max_seconds=129 / 24,
    steps=IntRange(low=20, high=60),
    guidance=FloatRange(low=1.0, high=10.0),
    negative_prompt=False,
    default_width=832,
    default_height=480,
    default_fps=24,
    default_seconds=5.0,
    default_steps=50,
    default_guidance=6.0,
    features=("text-to-video", "video-to-video"),
    fallbacks=("hunyuan-1.5", "wan2.2-5b-fast"),
    gpus=("H100", "H200"),
    gpu_memory_gb=60.0,
    gpu_memory_offload_gb=40.0,
    weights=(
        Weights(
            repo="hunyuanvideo-community/HunyuanVideo",
            revision="e8c2aaa66fe3742a32c11a6766aecbf07c56e773",
            files=_FILES,
        ),
    ),
    extra="torch",
    seconds_fixed=2.0,
    # The decoder's FLOPs are not counted: taken for a fiftieth of the transformer's.
    seconds_per_megapixel_frame=0.15,
    seconds_per_step=0.0418,
    seconds_per_step_squared=2.17e-3,
    speed_source="estimated for an H100",
    speeds=estimate_speeds(50 * 2405 * 1.02, "H100", "H200"),
)

HUNYUAN_15 = HUNYUAN.model_copy(
    update={
        "name": "hunyuan-1.5",
        "title": "HunyuanVideo 1.5, 480p",
        "description": "Tencent's 8.3 B transformer for 480p, with guidance and negative prompts.",
        "max_pixels": 848 * 480,
        "side": IntRange(low=64, high=848, step=16),
        "frames": IntRange(low=5, high=121, step=4),
        "max_seconds": 121 / 24,
        "negative_prompt": True,
        "default_width": 848,
        "fallbacks": ("wan2.2-5b-fast",),
        "gpus": ("H100", "H200"),
        "gpu_memory_gb": 48.0,
        "gpu_memory_offload_gb": 24.0,
        "weights": (
            Weights(
                repo="hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v",
                revision="286be7ce72277246578a3e3cc2487e95ddae5bcf",
                files=(*_FILES, "guider/*"),
            ),
        ),
        "seconds_per_megapixel_frame": 0.22,
        "seconds_per_step": 0.098,
        "seconds_per_step_squared": 2.55e-3,
        "speeds": estimate_speeds(50 * 2 * 1840 * 1.02, "H100", "H200"),
    }
)
