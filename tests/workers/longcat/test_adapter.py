"""LongCat's adapter on a double of its authors' package, which has their signatures and checks."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, FailureKind, Profile, Stage
from service.domain.avatar import AvatarRequest
from service.domain.errors import Lost
from service.domain.models.card import ModelCard
from service.domain.models.cards.longcat import longcat_card
from service.domain.models.catalog import LONGCAT
from service.domain.models.tuning import DEFAULT_TUNING, Tuning
from service.domain.resolve.segments import plan
from service.workers.adapters.base import Audio, Conditions, Frames, Speech
from service.workers.adapters.longcat import Longcat

pytestmark = pytest.mark.slow

EIGHT_BITS = longcat_card("someone/avatar", "main", "main", int8=True).weights


def request(**changes: Any) -> AvatarRequest:
    values: dict[str, Any] = {
        "model": "longcat",
        "prompt": "A woman talks.",
        "width": 96,
        "height": 64,
        "num_frames": 93,
        "fps": 25,
        "seed": 3,
        "num_inference_steps": 8,
    }
    return AvatarRequest(**values | changes)


def conditions(frames: int, **changes: Any) -> Conditions:
    """A voice that gets louder, as long as the video."""
    level = np.linspace(0, 0.9, frames * 640, dtype=np.float32)
    sound = Audio(np.zeros((frames * 1920, 2), np.int16))
    given = Conditions(speech=Speech(level), audio=sound, video_frames=frames)
    return replace(given, **changes)


def photo(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8)


def adapter_of(card: ModelCard, weights: Path | None, **tuning: Any) -> Longcat:
    adapter = Longcat(card, weights, Tuning(**tuning))
    adapter.load()
    return adapter


@pytest.fixture
def adapter(card: ModelCard, weights: Path) -> Longcat:
    return adapter_of(card, weights)


def render(
    adapter: Longcat,
    given: Conditions | None = None,
    on_step: Callable[..., None] = lambda *_: None,
    **changes: Any,
) -> Frames:
    asked = request(**changes)
    clip = adapter.generate(asked, given or conditions(asked.shape.num_frames), on_step)
    frames = list(clip.frames)
    assert clip.anchor is not None
    assert clip.anchor().shape == (1, 16, 1, asked.height // 8, asked.width // 8)
    assert all(frame.flags.c_contiguous for frame in frames)
    assert clip.audio is not None
    assert len(clip.audio.samples) == len(frames) * 1920
    return np.stack(frames)


def calls(adapter: Longcat) -> list[str]:
    return [name for name, _ in adapter._pipe.calls]


def arguments(adapter: Longcat, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(given for call, given in adapter._pipe.calls if call == name)
    return found


@pytest.mark.parametrize("frames", [1, 13, 92, 93])
def test_a_clip_is_generated_whole_and_cut_to_the_frames_of_the_request(
    adapter: Longcat, frames: int
) -> None:
    video = render(adapter, num_frames=frames)

    assert video.shape == (frames, 64, 96, 3)
    assert video.dtype == np.uint8
    assert arguments(adapter, "at2v")["num_frames"] == 93


def test_the_prompt_the_voice_the_photo_and_the_seed_show(adapter: Longcat) -> None:
    plain = render(adapter)
    quiet = conditions(93, speech=Speech(np.zeros(93 * 640, np.float32)))

    assert np.array_equal(render(adapter), plain)
    assert not np.array_equal(render(adapter, seed=4), plain)
    assert not np.array_equal(render(adapter, prompt="A man sings."), plain)
    assert not np.array_equal(render(adapter, quiet), plain)
    assert not np.array_equal(render(adapter, conditions(93, image=photo())), plain)


def test_the_photo_is_the_first_frame(adapter: Longcat) -> None:
    image = np.full((64, 96, 3), (30, 160, 220), np.uint8)

    video = render(adapter, conditions(93, image=image))

    assert np.abs(video[0].astype(int) - image).max() <= 1
    given = arguments(adapter, "ai2v")
    assert (given["image"].size, given["resolution"]) == ((96, 64), "480p")


def test_the_prompt_and_the_voice_are_encoded_once_for_all_clips_of_a_video(
    adapter: Longcat, card: ModelCard
) -> None:
    given, clip, frames = conditions(200), None, np.empty(0)

    for segment in plan(request(num_frames=200), card):
        if clip is not None:
            assert clip.anchor is not None
            tail, anchor = frames[-13:], clip.anchor()
            given = replace(given, tail=tail, anchor=anchor, start=segment.start)
        clip = adapter.generate(segment.request, given, lambda *_: None)
        frames = np.stack(list(clip.frames))

    assert len(frames) == 200 - 2 * 80
    assert calls(adapter) == ["get_audio_embedding", "at2v", "encode_prompt", "avc", "avc"]
    # Silence fills the clips: 93 frames and twice 80, of 640 samples.
    assert arguments(adapter, "get_audio_embedding") == {"samples": 253 * 640, "fps": 25}
    render(adapter, conditions(253), num_frames=93)
    assert calls(adapter).count("get_audio_embedding") == 2  # of another voice
    assert calls(adapter).count("encode_prompt") == 1


def test_a_clip_hears_its_own_part_of_the_voice(adapter: Longcat) -> None:
    given = conditions(
        173, start=80, tail=render(adapter)[-13:], anchor=np.zeros((1, 16, 1, 8, 12))
    )
    given = replace(given, anchor=given.anchor.astype(np.float32))  # type: ignore[union-attr]

    render(adapter, given)

    heard = arguments(adapter, "avc")["audio_emb"][0, :, :, 0, 0].numpy()
    levels = np.linspace(0, 0.9, 173 * 640).reshape(173, 640).mean(1)
    assert np.allclose(heard[:, 2], levels[80:173], atol=1e-5)
    assert np.allclose(heard[0], levels[78:83], atol=1e-5)
    assert np.allclose(heard[-1], [*levels[170:173], levels[172], levels[172]], atol=1e-5)


def test_a_continuation_gets_the_authors_values(adapter: Longcat) -> None:
    first = render(adapter)
    anchor = np.full((1, 16, 1, 8, 12), 0.25, np.float32)
    given = conditions(173, start=80, tail=first[-13:], anchor=anchor)

    render(adapter, given)

    avc = arguments(adapter, "avc")
    names = ("enhance_hf", "use_kv_cache", "ref_img_index", "mask_frame_range", "num_cond_frames")
    assert [avc[name] for name in names] == [False, True, 10, 3, 13]
    assert np.array_equal(avc["ref_latent"].numpy(), anchor)
    assert [np.asarray(frame).tobytes() for frame in avc["video"]] == [
        frame.tobytes() for frame in first[-13:]
    ]
    assert avc["generator"].initial_seed() != arguments(adapter, "at2v")["generator"].initial_seed()
    assert adapter._pipe.kv_cache_dict is None  # it would hold gigabytes


def test_every_step_is_told_and_then_the_end_of_decoding(adapter: Longcat) -> None:
    reports: list[tuple[Stage, int, int]] = []

    render(adapter, on_step=lambda *report: reports.append(report))

    steps = [(Stage.GENERATE, step, 8) for step in range(1, 9)]
    assert reports == [*steps, (Stage.DECODE, 1, 1)]


def test_a_cancel_leaves_within_the_step_and_leaves_nothing_behind(adapter: Longcat) -> None:
    frames = render(adapter)
    anchor = np.zeros((1, 16, 1, 8, 12), np.float32)
    told = 0

    def cancel(*_: Any) -> None:
        nonlocal told
        told += 1
        if told == 3:
            raise Lost

    with pytest.raises(Lost):
        render(adapter, conditions(173, start=80, tail=frames[-13:], anchor=anchor), cancel)

    assert told == 3
    assert adapter._pipe.kv_cache_dict is None
    assert np.array_equal(render(adapter), frames)


def test_nothing_is_made_before_the_first_frame_is_asked_for(adapter: Longcat) -> None:
    clip = adapter.generate(request(), conditions(93), lambda *_: None)

    assert calls(adapter) == []
    next(clip.frames)
    assert "at2v" in calls(adapter)


def test_a_prompt_that_would_be_cut_off_is_refused(adapter: Longcat) -> None:
    with pytest.raises(AttemptFailed, match="at most 512; shorten it") as refused:
        render(adapter, prompt="talks " * 200)

    assert (refused.value.kind, refused.value.code) == (FailureKind.USER, "prompt_too_long")


def test_the_weight_of_the_lora_shows(card: ModelCard, weights: Path, adapter: Longcat) -> None:
    less = adapter_of(card, weights, lora_multiplier=0.3)

    assert not np.array_equal(render(less), render(adapter))
    assert (adapter.made_with["lora_multiplier"], less.made_with["lora_multiplier"]) == ("1", "0.3")


def test_eight_bits_have_weights_of_their_own(
    card: ModelCard, weights: Path, adapter: Longcat
) -> None:
    small = adapter_of(card.model_copy(update={"weights": EIGHT_BITS}), weights)

    assert (adapter.made_with["quantize"], small.made_with["quantize"]) == ("off", "int8-weights")
    assert not np.array_equal(render(small), render(adapter))


def test_a_quantization_that_it_lacks_is_told(card: ModelCard, weights: Path) -> None:
    assert adapter_of(card, weights, quantize="float8").made_with["quantize"] == (
        "off: longcat has no float8"
    )


def test_in_the_small_profile_the_attention_cache_is_on_the_cpu(adapter: Longcat) -> None:
    tail, anchor = render(adapter)[-13:], np.zeros((1, 16, 1, 8, 12), np.float32)
    continued = conditions(173, start=80, tail=tail, anchor=anchor)
    pipe, found = adapter._pipe, []

    for profile in (Profile.FULL, Profile.SMALL):
        adapter.load(profile)
        render(adapter, continued)
        found.append((pipe.dit.cache_on_cpu, adapter.made_with["memory"]))

    assert adapter._pipe is pipe
    assert found == [(False, "whole"), (True, "attention cache on the CPU")]


def test_without_embeddings_in_memory_the_prompt_is_encoded_for_each_clip(
    card: ModelCard, weights: Path
) -> None:
    adapter = adapter_of(card, weights, embeddings_bytes=0)

    for _ in range(2):
        render(adapter)

    assert calls(adapter).count("encode_prompt") == 2


def test_a_table_of_other_sizes_is_noticed_before_a_step(adapter: Longcat) -> None:
    adapter._pipe.get_condition_shape = lambda *_, **__: (64, 128)

    with pytest.raises(AttemptFailed, match="makes 128x64 instead of 96x64"):
        render(adapter, conditions(93, image=photo()))

    assert "ai2v" not in calls(adapter)


@pytest.mark.parametrize(
    "part", ["base_model", "lora", "scheduler", "whisper-large-v3", "vae", "text_encoder"]
)
def test_weights_that_are_missing_are_named(
    card: ModelCard, weights: Path, tmp_path: Path, part: str
) -> None:
    for folder in weights.iterdir():
        if folder.name != part:
            (tmp_path / folder.name).symlink_to(folder)

    with pytest.raises(AttemptFailed, match=str(tmp_path)) as failed:
        adapter_of(card, tmp_path)

    assert (failed.value.kind, failed.value.code) == (FailureKind.INTERNAL, "weights_unavailable")


def test_the_double_takes_every_size_of_the_card_for_an_image_of_it(
    card: ModelCard, weights: Path
) -> None:
    """As the authors' rule does: by the nearest shape, of keys with two digits."""
    from longcat_video.utils.bukcet_config import get_bucket_config

    for resolution in LONGCAT.resolutions:
        table = get_bucket_config(resolution.name, scale_factor_spatial=16)
        for width, height in resolution.sizes:
            key = min(table, key=lambda key: abs(float(key) - height / width))
            assert table[key][0] == [height, width]


def test_importing_the_adapter_brings_no_torch() -> None:
    import subprocess

    code = "import sys, service.workers.adapters.longcat; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_its_tuning_has_a_default() -> None:
    assert DEFAULT_TUNING.lora_multiplier == 1.0
