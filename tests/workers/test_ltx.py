"""The LTX adapter on the real diffusers pipeline, over a tiny random checkpoint."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.models.card import IntRange
from service.domain.models.catalog import LTX_2B
from service.workers.adapters.base import Conditions, Frame, Frames
from service.workers.adapters.diffusion import DiffusionAdapter
from service.workers.adapters.ltx import TIMESTEPS, Ltx
from service.workers.adapters.tensors import to_images, to_tensor
from service.workers.weights import find_weights
from tests.tiny.ltx import build_ltx_upscaled, write_original_ltx
from tests.workers.hub import make_hub
from tests.workers.models import conditions_for, film, loaded, render, request_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_ltx_upscaled(tmp_path_factory.mktemp("ltx"))


@pytest.fixture(scope="module")
def adapter(checkpoint: Path) -> DiffusionAdapter:
    return loaded("ltx-2b", checkpoint)


@pytest.fixture(scope="module")
def frames(adapter: DiffusionAdapter) -> list[Frame]:
    """The plain clip; read-only for all tests."""
    return render(adapter)


def latents(adapter: DiffusionAdapter, conditions: Conditions, **changes: Any) -> Any:
    import torch

    with torch.inference_mode():
        return adapter.denoise(
            request_of(adapter.card.name, **changes), conditions, torch.Generator().manual_seed(7)
        )


def encoded(adapter: DiffusionAdapter, pictures: Frames) -> Any:
    """As latents of the size that LTX-Video denoises."""
    import torch

    vae = adapter.pipe.vae
    with torch.inference_mode():
        found = vae.encode(to_tensor(pictures).to(vae.device, vae.dtype)).latent_dist.mode()
        return adapter.pipe._normalize_latents(found, vae.latents_mean, vae.latents_std)


def test_the_frame_rate_is_told_to_the_model(
    adapter: DiffusionAdapter, frames: list[Frame]
) -> None:
    assert not np.array_equal(render(adapter, fps=30), frames)


@pytest.mark.parametrize(("feature", "forced"), [("image-to-video", 1), ("continuation", 2)])
def test_the_first_latents_are_what_the_clip_begins_with(
    adapter: DiffusionAdapter, feature: str, forced: int
) -> None:
    import torch

    one, other = (conditions_for(feature, request_of("ltx-2b"), seed) for seed in (0, 5))

    made = latents(adapter, one)
    with_another_prompt = latents(adapter, one, prompt="rain")
    of_another_picture = latents(adapter, other)

    begin = made[:, :, :forced]
    assert torch.equal(begin, with_another_prompt[:, :, :forced])
    assert not torch.equal(begin, of_another_picture[:, :, :forced])
    assert not torch.equal(made[:, :, forced:], with_another_prompt[:, :, forced:])


def test_a_smaller_strength_stays_nearer_to_the_video(adapter: DiffusionAdapter) -> None:
    video = film(17)
    source = encoded(adapter, video)

    away = [
        float((latents(adapter, Conditions(video=video), strength=strength) - source).abs().mean())
        for strength in (0.1, 0.5, 0.9)
    ]

    assert away == sorted(away)
    assert away[0] < away[2] / 2


def passes(adapter: DiffusionAdapter, conditions: Conditions, **changes: Any) -> list[Any]:
    """Of each pass the noise that its latents begin with, None for noise alone, and how many
    pictures it follows."""
    found: list[Any] = []
    prepare = adapter.pipe.prepare_latents

    def noted(followed: Any, *args: Any, **kwargs: Any) -> Any:
        sigma = kwargs.get("sigma")
        begun = kwargs.get("latents") is not None and sigma is not None
        found.append((round(float(sigma), 3) if begun else None, len(followed)))
        return prepare(followed, *args, **kwargs)

    adapter.pipe.prepare_latents = noted
    try:
        latents(adapter, conditions, **changes)
    finally:
        del adapter.pipe.prepare_latents
    return found


@pytest.fixture(scope="module")
def upscaled(checkpoint: Path) -> DiffusionAdapter:
    return loaded("ltx-13b", checkpoint)


@pytest.mark.parametrize(
    ("strength", "of_13b"),
    [(1.0, (1.0, 0.909)), (0.95, (0.95, 0.909)), (0.6, (0.6, 0.6)), (0.05, (0.05, 0.05))],
)
def test_a_video_is_noised_as_far_as_its_strength_says_and_no_further(
    adapter: DiffusionAdapter,
    upscaled: DiffusionAdapter,
    strength: float,
    of_13b: tuple[float, float],
) -> None:
    conditions = conditions_for("video-to-video", request_of("ltx-2b"))

    assert passes(adapter, conditions, strength=strength) == [(strength, 0)]
    assert passes(upscaled, conditions, strength=strength) == [(noise, 0) for noise in of_13b]


def test_both_passes_follow_all_that_is_given(upscaled: DiffusionAdapter) -> None:
    first, way, last = film(3)
    conditions = Conditions(image=first, keyframes=((8, way),), last_image=last)

    assert passes(upscaled, conditions) == [(None, 3), (0.909, 3)]
    assert passes(upscaled, Conditions(tail=film(9), last_image=last)) == [(None, 2), (0.909, 2)]


def test_the_last_words_of_a_long_prompt_count(adapter: DiffusionAdapter) -> None:
    red, blue = (f"{'a very ' * 30}{colour} ball" for colour in ("red", "blue"))

    assert not np.array_equal(render(adapter, prompt=red), render(adapter, prompt=blue))


def test_only_an_accelerator_has_a_name(adapter: DiffusionAdapter) -> None:
    import torch

    assert (adapter.gpu is not None) == torch.accelerator.is_available()


CALL = {
    "prompt": "a red ball",
    "width": 96,
    "height": 64,
    "num_frames": 17,
    "frame_rate": 24,
    "decode_timestep": 0.05,
    "decode_noise_scale": 0.025,
    "image_cond_noise_scale": 0.0,
    "max_sequence_length": 256,
    "output_type": "np",
}
DISTILLED = {**CALL, "timesteps": TIMESTEPS, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def bare(checkpoint: Path) -> Any:
    import torch
    from diffusers import LTXConditionPipeline

    if torch.accelerator.is_available():
        pytest.skip("in bfloat16 the pipeline rounds twice and the adapter once")
    return LTXConditionPipeline.from_pretrained(checkpoint, local_files_only=True)


def drawn(pipe: Any, **call: Any) -> Any:
    """The frames of the bare pipeline, rounded as the adapter rounds."""
    import torch

    video = pipe(**call, generator=torch.Generator().manual_seed(7)).frames[0]
    return (video * 255).round().astype(np.uint8)


def test_a_clip_is_the_bare_pipeline_s(bare: Any, frames: list[Frame]) -> None:
    assert np.array_equal(frames, drawn(bare, **DISTILLED))


def test_a_clip_between_two_images_is_the_bare_pipeline_s(
    bare: Any, adapter: DiffusionAdapter
) -> None:
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    first, last = film(2, seed=3)
    images = to_images(np.stack([first, last]))

    made = render(adapter, Conditions(image=first, last_image=last))

    conditions = [
        LTXVideoCondition(image=images[0], frame_index=0),
        LTXVideoCondition(image=images[1], frame_index=16),
    ]
    assert np.array_equal(made, drawn(bare, **DISTILLED, conditions=conditions))


# diffusers hands its own schedule to numpy, which is about to want more of a tensor.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_clip_with_guidance_is_the_bare_pipeline_s(bare: Any, checkpoint: Path) -> None:
    made = render(loaded("ltx-2b-dev", checkpoint), negative_prompt="fog")

    guided = {"guidance_scale": 3.0, "guidance_rescale": 0.7, "negative_prompt": "fog"}
    assert np.array_equal(made, drawn(bare, **CALL, **guided, num_inference_steps=4))


def test_an_upscaled_clip_is_that_of_the_recipe_in_diffusers_documents(
    bare: Any, checkpoint: Path
) -> None:
    import torch
    from diffusers import LTXLatentUpsamplePipeline
    from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
    from PIL import Image

    model = LTXLatentUpsamplerModel.from_pretrained(checkpoint, subfolder="latent_upsampler")
    upscale = LTXLatentUpsamplePipeline(vae=bare.vae, latent_upsampler=model)
    generator = torch.Generator().manual_seed(7)
    small = {**DISTILLED, "width": 64, "height": 32, "output_type": "latent"}
    latents = bare(**small, generator=generator).frames
    latents = upscale(
        latents=latents, adain_factor=1.0, tone_map_compression_ratio=0.6, output_type="latent"
    ).frames
    large = {**DISTILLED, "width": 128, "height": 64, "output_type": "pil"}
    large |= {"timesteps": [1000, 909.4, 725, 421.9], "denoise_strength": 0.999}
    expected = bare(**large, latents=latents, generator=generator).frames[0]

    made = render(loaded("ltx-13b", checkpoint))

    resized = [frame.resize((96, 64), Image.Resampling.BICUBIC) for frame in expected]
    assert np.array_equal(made, [np.asarray(frame) for frame in resized])


def test_running_out_of_memory_says_what_would_fit_and_leaves_nothing_behind(
    checkpoint: Path, frames: list[Frame]
) -> None:
    boundless = LTX_2B.model_copy(update={"frames": IntRange(low=9, high=2**50 + 1, step=8)})
    ltx = Ltx(boundless, checkpoint)
    ltx.load()

    with pytest.raises(AttemptFailed, match="fewer frames or a smaller size") as no:
        render(ltx, num_frames=2**42 + 1)  # a petabyte of noise, more than there are addresses

    assert (no.value.kind, no.value.code) == (FailureKind.OOM, "out_of_memory")
    assert np.array_equal(render(ltx), frames)


def test_a_folder_s_own_schedule_is_not_used(
    checkpoint: Path, frames: list[Frame], tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "ltx")
    config = folder / "scheduler" / "scheduler_config.json"
    # As the repository Lightricks/LTX-Video has it.
    shifting = {"use_dynamic_shifting": True, "shift_terminal": 0.1}
    config.write_text(json.dumps(json.loads(config.read_text()) | shifting))

    assert np.array_equal(render(loaded("ltx-2b", folder)), frames)


def test_importing_the_adapter_loads_neither_torch_nor_the_hub() -> None:
    code = (
        "import sys, service.workers.adapters.ltx;"
        "print({'torch', 'diffusers', 'transformers', 'huggingface_hub'} & set(sys.modules))"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout == "set()\n"


def test_what_is_loaded_is_not_loaded_again(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "ltx")
    ltx = loaded("ltx-2b", folder)

    shutil.rmtree(folder)

    ltx.load()
    assert len(render(ltx)) == 17


def test_a_load_that_failed_can_be_tried_again(checkpoint: Path, tmp_path: Path) -> None:
    ltx = Ltx(LTX_2B, tmp_path / "ltx")
    with pytest.raises(AttemptFailed):
        ltx.load()

    shutil.copytree(checkpoint, tmp_path / "ltx")

    ltx.load()
    assert len(render(ltx)) == 17


def test_a_folder_that_is_not_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(AttemptFailed, match=str(tmp_path)) as no:
        loaded("ltx-2b", tmp_path)

    assert (no.value.kind, no.value.code) == (FailureKind.INTERNAL, "weights_unavailable")


def test_the_hub_s_two_repositories_make_one_pipeline(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    single = tmp_path / "single"
    single.mkdir()
    write_original_ltx(checkpoint, single / "ltxv-2b-0.9.8-distilled.safetensors")
    hub = {"Lightricks/LTX-Video": single, "Lightricks/LTX-Video-0.9.5": checkpoint}

    parts = find_weights(LTX_2B, None, fetch=make_hub(hub, tmp_path / "cache"))
    pipe = Ltx(LTX_2B, None).assemble(parts, torch.float32)

    local = Ltx(LTX_2B, None).assemble([checkpoint], torch.float32)
    for name in ("transformer", "vae", "text_encoder"):
        expected = getattr(local, name).state_dict()
        found = getattr(pipe, name).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        assert not getattr(pipe, name).training
    assert pipe.tokenizer("a red ball") == local.tokenizer("a red ball")


def test_a_repository_without_the_file_is_named(tmp_path: Path) -> None:
    empty = {weights.repo: tmp_path for weights in LTX_2B.weights}

    with pytest.raises(AttemptFailed, match=r"Lightricks/LTX-Video has no file ltxv-2b") as no:
        Ltx(LTX_2B, None).assemble(
            find_weights(LTX_2B, None, fetch=make_hub(empty, tmp_path / "cache")), None
        )

    assert no.value.kind is FailureKind.INTERNAL
