"""Writes what is generated from the code; test_documents.py compares with the same functions.

`python -m tests.contract.write`, or `make client`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic_settings import BaseSettings

from service.domain.avatar import AvatarParams, AvatarRequest
from service.domain.media import MediaRef
from service.domain.models.card import IntRange, ModelCard, Speed, Weights
from service.domain.models.catalog import CARDS
from service.domain.models.tuning import Tuning
from service.domain.price import MODAL_TABLE, cost_usd
from service.domain.request import VideoParams, VideoRequest
from service.domain.resolve.avatars import resolve_avatar
from service.domain.resolve.resolve import resolve
from service.settings import ClientSettings, Settings
from tests.contract.openapi import as_json

ROOT = Path(__file__).resolve().parents[2]
GOOD_SECONDS = 10  # a video that is waited for longer is not called quick


# Settings.

_ENV_INTRO = """\
# Every setting with its default. Copy only the lines you change into .env: a copy of the whole
# file would keep the defaults of this release after an upgrade. The environment beats .env; a flag,
# where a command has one, beats both. Nothing after the = means: not set.
"""


def env_example() -> str:
    own = [name for name in Settings.model_fields if name not in Tuning.model_fields]
    service = "".join(_setting(Settings, name) for name in (*own, *Tuning.model_fields))
    commands = "".join(_setting(ClientSettings, name) for name in ClientSettings.model_fields)
    heading = "\n# For the commands that talk to a service: rushes video, rushes jobs, …\n"
    return _ENV_INTRO + service + heading + commands


def _setting(settings: type[BaseSettings], name: str) -> str:
    field = settings.model_fields[name]
    alias = field.validation_alias
    variable = alias.choices[0] if isinstance(alias, AliasChoices) else f"RUSHES_{name.upper()}"
    return f"\n# {field.description}\n{variable}={_as_text(field.default)}\n"


def _as_text(default: Any) -> str:
    if isinstance(default, list | dict):
        return json.dumps(default)
    assert not isinstance(default, SecretStr), "a secret has no default"
    return "" if default is None or default == {} else str(default)


# Models.

_MODELS_INTRO = """\
# Models

`make client` writes this page from the models' cards
([service/domain/models/cards](../service/domain/models/cards)). `GET /v1/models` and
`rushes models` list those that a service serves, and how many workers can run each.

`RUSHES_MODELS=["ltx-2b", "slate"]` chooses the models to serve; the first is the default. Without
it, a machine with a CUDA or Apple GPU and the packages of `make torch` serves `ltx-2b` and `slate`,
and any other machine `slate` alone; the [avatars](avatars.md) that are installed come on top.
[How to add a model](architecture.md#where-a-change-goes).

A size or a number of frames that a model cannot make is refused, with the nearest valid one; it is
never rounded in silence. `duration_seconds` is different: it becomes the nearest number of frames,
which the response shows.
"""

_OVERVIEW_INTRO = """\
`by 32` means multiples of 32, and `8n + 1` a multiple of 8 plus 1. A video longer than one pass of
its model is made in [segments](api.md#long-videos).
"""

_NEEDS_INTRO = """\
The GPU memory is that of the whole model. A GPU with less, down to the second figure, holds each
part of the model only while it runs, and every video takes longer for moving them. The first figure
of `ltx-2b` was measured; the others are the sizes of the weights in bfloat16 with some room, and
those of Mochi and HunyuanVideo 1.5 follow what others report.

`longcat` does not move its parts: with less memory it keeps the attention cache on the CPU. With
`RUSHES_QUANTIZE=int8-weights` it needs 40 GB, or 34; 720p needs about 20 GB more. All of these are
estimates.
"""

_FALLBACKS_INTRO = """\
Where a request names no model, and the service's default cannot make the video, these take over in
this order, as far as they are served. [How fallbacks work](api.md#when-a-model-cannot).
"""

_LICENCES_INTRO = """\
Some licences exclude users or regions. To serve such a model, add its name to
`RUSHES_ACCEPT_LICENCES`; otherwise the service refuses to start. `GET /v1/models` shows the licence
of each model.
"""

_SPEED_INTRO = """\
Seconds for the default video on a warm worker:

- *measured* by us, on the models' real shapes with random weights;
- *cited* from what others publish;
- *estimated*: the arithmetic of the real model at 43 % of the GPU's peak, which diffusers reaches
  with Wan 2.1 14B on an H100, and one second for text, encoding and upload.

Dollars are these seconds at [Modal's list price](../service/domain/price.py) of the GPU, without
the CPU and memory beside it, idle time and cold starts.
"""

_MEASURED = """\
### Measured on an H100

2026-11-27, by `benchmarks/generation.py`: one NVIDIA H100 80GB HBM3 with 16 CPU cores, torch 2.11.0
for CUDA 13.0, diffusers 0.42.1, bfloat16, each video with a new prompt. The GPU's rate for a large
matrix multiplication was 790 TFLOP/s. Seconds on a warm worker:

| | `ltx-2b`, 768x512, 121 frames | `ltx-13b`, 1216x704, 121 frames |
| --- | --- | --- |
| text encoder | 0.03 | 0.04 |
| one denoising step | 0.062 | 0.275 (the first 7, at two thirds of the size) |
| decoding | 0.28 | 1.28 |
| encoding of noise, the slowest input | 0.58 | 0.69 |
| **from the claimed job to the finished MP4** | **1.51** | **13.4** |
| the same, nothing compiled | 1.88 | 15.0 |
| diffusers' own call and one ffmpeg, in the same run | 2.63 | not measured |
| the first video of a worker, which compiles | 10.2 | 27.1 |
| peak of GPU memory, not compiled | 20.7 GB | 42.2 GB |

The arithmetic of the `ltx-2b` video is 268 TFLOP, 0.34 s at that rate; its steps and decoding take
0.75 s, 46 % of the rate. That of `ltx-13b` is 3,990 TFLOP, 5.1 s: 38 %, text and encoding
included. Most of what `ltx-2b` takes beyond 1.0 s is ffmpeg's: 0.63 s by itself for that noise, and
0.46 s for smooth images. Not measured: the peak of memory when compiled, `wan2.2-5b-fast` (it had
not ended after 110 s, compiling included) and loading from a disk. `make gpu` measures these on
your GPU.
"""

_CHEAPEST_INTRO = f"""\
### The cheapest GPU within {GOOD_SECONDS} s

For the default video, by the first table. Where a GPU was measured, what is cited or estimated for
it does not count:
"""

_ETA_INTRO = """\
### Formulas

`eta_seconds`, `expected_seconds` and the estimate of a job's cost come from formulas, because a
request may have any size and length. Each is for the first GPU of its model, and was fitted to the
arithmetic of several sizes; for the default video it may differ by a few percent from the first
table.
"""

_CLAIMS = """\
## Common misconceptions

- Wrong: LTX-Video makes 20 s of video in 2 s. Published is 5 s of video (121 frames of 768x512) in
  2 s on an H100 (arXiv 2501.00103). 2B was made for at most 257 frames in one pass, and the
  arithmetic of 20 s alone takes an H100 2.1 s at its peak (computed).
- Wrong: `Lightricks/LTX-Video` is 2B and 13B. Loaded as a folder it is the oldest 2B. The later
  ones are single files in it; 13B has a repository of its own.
- Wrong: the fp8 files are faster. diffusers turns them into bfloat16 as it reads them (tried): a
  smaller download, the same memory and speed.
- Wrong: Wan 2.2 TI2V-5B is a mixture of experts. It is dense; A14B is one.
- Wrong: Wan 2.2 TI2V-5B follows a last image. diffusers' pipeline accepts one and ignores it
  (tried: no pixel differs), so it is refused here.
- Wrong: Wan 2.2 TI2V-5B cannot do video-to-video. diffusers' pipeline raises, since it assumes the
  scale of another VAE; the adapter here sets the right one.
- Wrong: Mochi and HunyuanVideo make a video from an image. Their checkpoints for text cannot.
- Wrong: Mochi does video-to-video. diffusers has no such pipeline for it, and its own always
  starts from noise. It has none for HunyuanVideo and HunyuanVideo 1.5 either, but those two do it
  here, from latents with noise added by their own schedule.
- Wrong: one pass makes a minute. Lightricks announced that for 13B 0.9.8 alone; it is not offered
  here.

"""

_WEIGHTS_INTRO = """\
Downloaded from the Hugging Face Hub at the first job, at exactly these commits, into its cache
(`HF_HOME`). With `RUSHES_WEIGHTS={"ltx-2b": "/a/folder"}` they are read from a local folder in
diffusers format instead (that of `ltx-13b` has a part `latent_upsampler`).

About 25 GB for `ltx-2b` and `ltx-2b-dev`, and 50 GB for `longcat`. The sizes of the others were not
looked up; expect 2 to 4 GB for each billion parameters, and 10 to 20 GB for the text encoder.

The commits are those that other public projects pin for these files; they were not downloaded
here. Those of `longcat` are settings (`RUSHES_LONGCAT_REPO`, `RUSHES_LONGCAT_REVISION`,
`RUSHES_LONGCAT_BASE_REVISION`): no commit is known to us, so the default is the newest, and its
local folder has the parts of both repositories.
"""

Column = tuple[str, Callable[[ModelCard], str]]


def models() -> str:
    return "\n".join(
        [
            _MODELS_INTRO,
            "## Overview\n",
            _OVERVIEW_INTRO,
            _table(_MAKES),
            "## Defaults\n",
            _table(_DEFAULTS),
            "## Requirements\n",
            _NEEDS_INTRO,
            _table(_NEEDS),
            "## Fallbacks\n",
            _FALLBACKS_INTRO,
            _table([_NAME, ("fallbacks", _fallbacks)]),
            "## Licences\n",
            _LICENCES_INTRO,
            *(_terms(card) for card in CARDS.values() if card.licence.limits),
            "",
            "## Speed and cost\n",
            _SPEED_INTRO,
            _speeds(),
            _MEASURED,
            _CHEAPEST_INTRO,
            _table([_NAME, ("cheapest GPU", _cheapest)]),
            _ETA_INTRO,
            _table(_SPEED),
            _CLAIMS,
            "## Weights\n",
            _WEIGHTS_INTRO,
            *(_weights(card) for card in CARDS.values()),
        ]
    )


def _table(columns: list[Column]) -> str:
    lines = [
        [heading for heading, _ in columns],
        ["---" for _ in columns],
        *([tell(card) for _, tell in columns] for card in CARDS.values()),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _sides(card: ModelCard) -> str:
    if card.only_resolutions:
        counts = (f"{len(known.sizes)} sizes of {known.name}" for known in card.resolutions)
        return f"{' and '.join(counts)}: see [avatars.md](avatars.md#the-sizes-of-longcat)"
    return f"{_numbers(card.side)}, at most {card.max_pixels:,} pixels"


def _numbers(numbers: IntRange) -> str:
    """`64 to 1280 by 32`; where the low end is no multiple of the step: `9 to 257, 8n + 1`."""
    low, high, step = numbers.low, numbers.high, numbers.step
    if low == high:
        return str(low)
    if step == 1:
        return f"{low} to {high}"
    rest = low % step
    return f"{low} to {high}" + (f", {step}n + {rest}" if rest else f" by {step}")


def _guidance(card: ModelCard) -> str:
    low, high = card.guidance.low, card.guidance.high
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _max_seconds(card: ModelCard) -> str:
    """At the frame rate that most requests have, and at the one that stretches it most."""
    usual = min(card.frames.high / card.default_fps, card.max_seconds)
    if usual == card.max_seconds:
        return f"{usual:.4g} s"
    return (
        f"{usual:.1f} s at {card.default_fps} fps, {card.max_seconds:.1f} s at {card.fps.low} fps"
    )


def _default(card: ModelCard) -> VideoRequest | AvatarRequest:
    """What a request becomes that says nothing but its prompt, or for 20 s of speech."""
    if card.kind == "avatar":
        params = AvatarParams(text="…", duration_seconds=card.default_seconds)
        face = {"reference_image": MediaRef(source="upload")}
        return resolve_avatar(params, card, seed=0, media=face)
    return resolve(VideoParams(prompt="…"), card, seed=0)


def _default_video(card: ModelCard) -> str:
    if card.kind == "avatar":
        size = f"{card.default_width}x{card.default_height}"
        return f"{size} at {card.default_fps} fps, as long as the speech"
    made = _default(card)
    return f"{made.width}x{made.height}, {made.num_frames} frames at {made.fps} fps"


def _memory(card: ModelCard) -> str:
    if card.gpu_memory_gb is None:
        return "none"
    return f"{card.gpu_memory_gb:g} GB, or {card.gpu_memory_offload_gb:g} GB"


def _fallbacks(card: ModelCard) -> str:
    return ", ".join(f"`{name}`" for name in card.fallbacks) or "none"


def _terms(card: ModelCard) -> str:
    licence = card.licence
    regions = f" Excluded: {', '.join(licence.excluded_regions)}." if licence.opt_in else ""
    accept = " Must be accepted." if licence.opt_in else ""
    return f"- `{card.name}`, {_licence(card)}: {'; '.join(licence.limits)}.{regions}{accept}"


def _speeds() -> str:
    heads = ("model", "GPU", "default video", "10 s of video", "US$ for 10 s", "source")
    rows = [heads, ["---"] * len(heads)]
    rows += [_speed(card, speed) for card in CARDS.values() for speed in card.speeds]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _speed(card: ModelCard, speed: Speed) -> tuple[str, ...]:
    return (
        f"`{card.name}`",
        speed.gpu,
        f"{speed.seconds:.1f} s",
        f"{_seconds_for_ten(card, speed):.0f} s",
        f"{usd_for_ten(card, speed):.4f}",
        f"{speed.kind}: {speed.source}",
    )


def usd_for_ten(card: ModelCard, speed: Speed) -> float:
    """US dollars for 10 s of video, on a warm worker."""
    return cost_usd(_seconds_for_ten(card, speed), MODAL_TABLE[speed.gpu])


def _seconds_for_ten(card: ModelCard, speed: Speed) -> float:
    return speed.seconds * 10 / _default(card).duration_seconds


def cheapest(card: ModelCard) -> Speed | None:
    """Of the GPUs that make the default clip in time the one that costs least for it."""
    good = [speed for speed in counted(card) if speed.seconds <= GOOD_SECONDS]
    return min(good, key=lambda speed: usd_for_ten(card, speed), default=None)


def counted(card: ModelCard) -> list[Speed]:
    """Its speeds without those that a measured one on the same GPU has proved or disproved."""
    known = {speed.gpu for speed in card.speeds if speed.kind == "measured"}
    return [speed for speed in card.speeds if speed.kind == "measured" or speed.gpu not in known]


def _cheapest(card: ModelCard) -> str:
    if not card.gpus:
        return "needs none"
    found = cheapest(card)
    if found is None:
        return "none"
    usd = usd_for_ten(card, found)
    return f"{found.gpu}: {found.seconds:.1f} s, {usd:.4f} US$ for 10 s of video ({found.kind})"


def _licence(card: ModelCard) -> str:
    licence = card.licence
    return f"[{licence.name}]({licence.url})" if licence.url else licence.name


def _expected(card: ModelCard) -> str:
    return f"{card.expected_seconds(_default(card)):.1f} s"


def _rate(card: ModelCard) -> str:
    runtime = (card.seconds_fixed, card.seconds_per_megapixel_frame)
    step = (card.seconds_per_step, card.seconds_per_step_squared)
    each = f", a step {step[0]:g} n + {step[1]:g} n²" if any(step) else ""
    return f"{runtime[0]:g} + {runtime[1]:g} n{each}"


def _weights(card: ModelCard) -> str:
    if not card.weights:
        return f"- `{card.name}`: none"
    return "\n".join([f"- `{card.name}`:", *map(_source, card.weights)]) + "\n"


def _source(weights: Weights) -> str:
    url = f"https://huggingface.co/{weights.repo}/tree/{weights.revision}"
    files = ", ".join(f"`{pattern}`" for pattern in weights.files)
    return f"  - [{weights.repo}]({url}) at `{weights.revision}`: {files}"


_NAME: Column = ("model", lambda card: f"`{card.name}`")

_MAKES: list[Column] = [
    _NAME,
    ("description", lambda card: card.description),
    ("features", lambda card: ", ".join(card.features)),
    ("width, height", _sides),
    ("frames", lambda card: _numbers(card.frames)),
    ("fps", lambda card: _numbers(card.fps)),
    ("maximum length", _max_seconds),
    ("steps", lambda card: _numbers(card.steps)),
    ("guidance", _guidance),
    ("negative prompt", lambda card: "yes" if card.negative_prompt else "refused"),
]
_DEFAULTS: list[Column] = [
    _NAME,
    ("video", _default_video),
    ("steps", lambda card: str(card.default_steps)),
    ("guidance", lambda card: f"{card.default_guidance:g}"),
]
_NEEDS: list[Column] = [
    _NAME,
    ("GPUs (Modal's names), preferred first", lambda card: ", ".join(card.gpus) or "none"),
    ("GPU memory", _memory),
    ("licence", _licence),
]
_SPEED: list[Column] = [
    _NAME,
    ("default video", _expected),
    ("seconds, with n million pixels in all frames", _rate),
    ("source", lambda card: card.speed_source),
]

# TypeScript.

OPENAPI_TYPESCRIPT = ROOT / "node_modules" / ".bin" / "openapi-typescript"
TYPES = "clients/typescript/src/schema.ts"


def typescript_types() -> str:
    """Generate the types of the API's document; needs Node and `npm ci`."""
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "openapi.json"
        document.write_text(as_json("clients"), encoding="utf-8")
        command = [OPENAPI_TYPESCRIPT, document, "--default-non-nullable=false"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


WRITTEN: dict[str, Callable[[], str]] = {
    "clients/openapi.json": lambda: as_json("clients"),
    "clients/internal.json": lambda: as_json("workers"),
    "docs/models.md": models,
    ".env.example": env_example,
}


def main() -> None:
    for name, text in WRITTEN.items():
        (ROOT / name).write_text(text(), encoding="utf-8")
    if OPENAPI_TYPESCRIPT.exists():
        (ROOT / TYPES).write_text(typescript_types(), encoding="utf-8")
    else:
        sys.stderr.write(f"{TYPES} is left as it was: run `npm ci` first\n")


if __name__ == "__main__":
    main()
