"""The LTX adapter on the real diffusers pipeline, over a tiny random checkpoint."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed, FailureKind, Stage
from service.domain.card import IntRange
from service.domain.catalog import LTX_2B
from service.domain.errors import Lost
from service.domain.request import VideoRequest
from service.workers.adapters.base import NOTHING, Frame, OnStep
from service.workers.adapters.ltx import MAX_TOKENS, TIMESTEPS, Ltx
from service.workers.weights import Fetch, load_ltx
from tests.tiny import build_ltx, write_original_ltx

pytestmark = pytest.mark.slow

REQUEST = VideoRequest(
    model="ltx-2b",
    prompt="a red ball",
    width=96,
    height=64,
    num_frames=17,
    fps=24,
    num_inference_steps=7,
    guidance_scale=1.0,
    seed=7,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(2)
    return build_ltx(tmp_path_factory.mktemp("ltx"))


@pytest.fixture(scope="module")
def adapter(checkpoint: Path) -> Ltx:
    return loaded(checkpoint)


@pytest.fixture(scope="module")
def frames(adapter: Ltx) -> list[Frame]:
    """What REQUEST gives; read-only for all tests."""
    return render(adapter)


def loaded(folder: Path) -> Ltx:
    ltx = Ltx(LTX_2B, folder)
    ltx.load()
    return ltx


def no_report(stage: Stage, done: int, of: int) -> None:
    pass


def render(ltx: Ltx, on_step: OnStep = no_report, **changes: Any) -> list[Frame]:
    return list(ltx.generate(REQUEST.model_copy(update=changes), NOTHING, on_step))


def test_a_clip_has_exactly_the_frames_and_the_size_that_were_asked(frames: list[Frame]) -> None:
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 17
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert all(frame.flags.c_contiguous for frame in frames)
    assert len({frame.tobytes() for frame in frames}) > 1


def test_the_same_seed_gives_the_same_frames(adapter: Ltx, frames: list[Frame]) -> None:
    assert np.array_equal(render(adapter), frames)


@pytest.mark.parametrize("change", [{"seed": 8}, {"prompt": "a blue box"}, {"fps": 30}])
def test_another_request_gives_other_frames(
    adapter: Ltx, frames: list[Frame], change: dict[str, Any]
) -> None:
    assert not np.array_equal(render(adapter, **change), frames)


def test_every_step_is_reported_and_then_the_decoding(adapter: Ltx) -> None:
    reports: list[tuple[Stage, int, int]] = []

    render(adapter, lambda stage, done, of: reports.append((stage, done, of)))

    steps = [(Stage.GENERATE, step, 7) for step in range(1, 8)]
    assert reports == [*steps, (Stage.DECODE, 0, 1), (Stage.DECODE, 1, 1)]


def test_nothing_is_made_before_the_first_frame_is_asked_for(adapter: Ltx) -> None:
    reports: list[Stage] = []

    clip = adapter.generate(REQUEST, NOTHING, lambda stage, done, of: reports.append(stage))

    assert reports == []
    next(clip)
    assert reports[-1] is Stage.DECODE


@pytest.mark.parametrize("reason", [AttemptFailed(FailureKind.CANCELED, "canceled", "-"), Lost()])
@pytest.mark.parametrize("at", [(Stage.GENERATE, 2), (Stage.DECODE, 0)])
def test_a_cancel_leaves_within_the_step_and_leaves_nothing_behind(
    adapter: Ltx, frames: list[Frame], reason: Exception, at: tuple[Stage, int]
) -> None:
    reports: list[tuple[Stage, int]] = []

    def cancel(stage: Stage, done: int, of: int) -> None:
        reports.append((stage, done))
        if (stage, done) == at:
            raise reason

    with pytest.raises(type(reason)) as raised:
        render(adapter, cancel)

    assert raised.value is reason
    assert reports[-1] == at
    assert np.array_equal(render(adapter), frames)


def test_a_prompt_that_does_not_fit_is_refused_rather_than_cut(adapter: Ltx) -> None:
    # The tiny tokenizer makes a token of every letter, one of the start and one of the end.
    longest = "x" * (MAX_TOKENS - 2)

    with pytest.raises(AttemptFailed, match="257 tokens long and ltx-2b reads at most 256") as no:
        render(adapter, prompt=longest + "x")

    assert (no.value.kind, no.value.code) == (FailureKind.USER, "prompt_too_long")
    assert len(render(adapter, prompt=longest)) == 17


def test_the_last_words_of_a_long_prompt_count(adapter: Ltx) -> None:
    red, blue = (f"{'a very ' * 30}{colour} ball" for colour in ("red", "blue"))

    assert not np.array_equal(render(adapter, prompt=red), render(adapter, prompt=blue))


def test_a_frame_count_that_the_pipeline_would_floor_is_refused(adapter: Ltx) -> None:
    with pytest.raises(AttemptFailed, match="cannot make 120 frames; nearest: 113 or 121") as no:
        render(adapter, num_frames=120)

    assert no.value.kind is FailureKind.USER


def test_only_an_accelerator_has_a_name(adapter: Ltx) -> None:
    import torch

    assert (adapter.gpu is not None) == torch.accelerator.is_available()


def test_the_frames_are_those_of_the_bare_pipeline_rounded(
    checkpoint: Path, adapter: Ltx, frames: list[Frame]
) -> None:
    if adapter.gpu:
        pytest.skip("in bfloat16 the pipeline rounds twice and the adapter once")
    import torch
    from diffusers import LTXConditionPipeline

    pipe = LTXConditionPipeline.from_pretrained(checkpoint, local_files_only=True)
    video = pipe(
        prompt="a red ball",
        width=96,
        height=64,
        num_frames=17,
        frame_rate=24,
        timesteps=TIMESTEPS,
        guidance_scale=1.0,
        decode_timestep=0.05,
        decode_noise_scale=0.025,
        max_sequence_length=MAX_TOKENS,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).frames[0]

    assert np.array_equal(frames, (video * 255).round().astype(np.uint8))


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

    assert np.array_equal(render(loaded(folder)), frames)


def test_importing_the_adapter_loads_neither_torch_nor_the_hub() -> None:
    code = (
        "import sys, service.workers.adapters.ltx;"
        "print({'torch', 'diffusers', 'transformers', 'huggingface_hub'} & set(sys.modules))"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout == "set()\n"


def test_what_is_loaded_is_not_loaded_again(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "ltx")
    ltx = loaded(folder)

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
        loaded(tmp_path)

    assert (no.value.kind, no.value.code) == (FailureKind.INTERNAL, "weights_unavailable")


def test_the_hub_s_two_repositories_make_one_pipeline(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    single = tmp_path / "single"
    single.mkdir()
    write_original_ltx(checkpoint, single / "ltxv-2b-0.9.8-distilled.safetensors")
    hub = {"Lightricks/LTX-Video": single, "Lightricks/LTX-Video-0.9.5": checkpoint}

    pipe = load_ltx(LTX_2B, None, torch.float32, fetch=make_hub(hub, tmp_path / "cache"))

    local = load_ltx(LTX_2B, checkpoint, torch.float32)
    for name in ("transformer", "vae", "text_encoder"):
        expected = getattr(local, name).state_dict()
        found = getattr(pipe, name).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        assert not getattr(pipe, name).training
    assert pipe.tokenizer("a red ball") == local.tokenizer("a red ball")


def make_hub(repositories: dict[str, Path], cache: Path) -> Fetch:
    """A hub on this disk: gives the files that match the patterns, at a commit only."""

    def fetch(repo_id: str, *, revision: str, allow_patterns: list[str]) -> str:
        from huggingface_hub.utils import filter_repo_objects

        assert len(revision) == 40
        source = repositories[repo_id]
        names = (str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
        for name in filter_repo_objects(names, allow_patterns=allow_patterns):
            target = cache / repo_id / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target)
        return str(cache / repo_id)

    return fetch


def test_a_repository_without_the_file_is_named(tmp_path: Path) -> None:
    empty = {weights.repo: tmp_path for weights in LTX_2B.weights}

    with pytest.raises(AttemptFailed, match=r"Lightricks/LTX-Video has no file ltxv-2b") as no:
        load_ltx(LTX_2B, None, None, fetch=make_hub(empty, tmp_path))

    assert no.value.kind is FailureKind.INTERNAL


def answer(status: int) -> Exception:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    request = httpx2.Request("GET", "https://huggingface.co")
    error: Exception = HfHubHTTPError("No.", response=httpx2.Response(status, request=request))
    return error


def broken_connection() -> Exception:
    import httpx2

    return httpx2.ReadTimeout("The read operation timed out")


def wrapped(status: int) -> Exception:
    from huggingface_hub.errors import LocalEntryNotFoundError

    error: Exception = LocalEntryNotFoundError("An error happened while trying to locate them")
    error.__cause__ = answer(status)
    return error


@pytest.mark.parametrize(
    ("make", "kind", "advice"),
    [
        (lambda: answer(404), FailureKind.INTERNAL, "set HF_TOKEN"),
        (lambda: wrapped(403), FailureKind.INTERNAL, "set HF_TOKEN"),
        (lambda: answer(429), FailureKind.TRANSIENT, "connect the worker"),
        (lambda: wrapped(503), FailureKind.TRANSIENT, "connect the worker"),
        (broken_connection, FailureKind.TRANSIENT, "connect the worker"),
        (lambda: ConnectionResetError("reset"), FailureKind.TRANSIENT, "connect the worker"),
        (lambda: OSError(errno.ENOSPC, "No space"), FailureKind.INTERNAL, "make room"),
        (lambda: RuntimeError("IO: No space left"), FailureKind.INTERNAL, "make room"),
    ],
)
def test_a_failing_hub_says_who_must_act(
    make: Callable[[], Exception], kind: FailureKind, advice: str
) -> None:
    def fetch(repo_id: str, *, revision: str, allow_patterns: list[str]) -> str:
        raise make()

    with pytest.raises(AttemptFailed, match=advice) as no:
        load_ltx(LTX_2B, None, None, fetch=fetch)

    assert (no.value.kind, no.value.code) == (kind, "weights_unavailable")
    assert "Lightricks/LTX-Video" in no.value.message


def test_without_a_network_and_without_a_cache_the_real_hub_client_is_explained(
    tmp_path: Path,
) -> None:
    code = (
        "from service.domain.catalog import LTX_2B\n"
        "from service.domain.attempt import AttemptFailed\n"
        "from service.workers.weights import load_ltx\n"
        "try: load_ltx(LTX_2B, None, None)\n"
        "except AttemptFailed as exc: print(exc.kind, exc.code, exc.message)\n"
    )
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}

    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=offline
    )

    assert out.stdout.startswith("transient weights_unavailable Lightricks/LTX-Video at 8984fa2")
