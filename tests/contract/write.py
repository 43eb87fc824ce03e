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
from service.domain.price import MODAL_TABLE, cost_usd
from service.domain.request import VideoParams, VideoRequest
from service.domain.resolve.avatars import resolve_avatar
from service.domain.resolve.resolve import resolve
from service.settings import ClientSettings, Settings
from tests.contract.openapi import as_json

ROOT = Path(__file__).resolve().parents[2]
GOOD_SECONDS = 10  # a clip that is waited for longer is not called quick


# Settings.

_ENV_INTRO = """\
# Every setting with its default. Write those that you change into .env, without the others: a copy
# of this file would keep the defaults of this release after an upgrade. The environment beats .env;
# a flag, where a command has one, beats both. Nothing after the = means: not set.
"""


def env_example() -> str:
    service = "".join(_setting(Settings, name) for name in Settings.model_fields)
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

Written by `make client` from [service/domain/models/cards](../service/domain/models/cards); a
service tells which of these it serves, and whether a worker is there for them, at `GET /v1/models`.

`RUSHES_MODELS=["ltx-2b", "slate"]` chooses; the first is the default. When it is not set, a machine
with a CUDA or Apple GPU and diffusers installed (`make torch`) serves ltx-2b and slate, and every
other machine serves slate alone, besides the [avatars](avatars.md) that are installed. To add one,
see [architecture.md](architecture.md#where-a-change-goes).

A size or a frame count that a model cannot make is refused, with the nearest that it can; it is
never rounded in silence. `duration_seconds` is different: it becomes the nearest frame count, and
the answer says which.
"""

_NEEDS_INTRO = """\
GPUs by Modal's names, the one to try first in front. A GPU with less memory than the first figure
holds each part of the model only while it works, and every clip pays for moving them; the second
figure is for that. The first of `ltx-2b` was measured; all others are the sizes of the weights in
bfloat16 and room for the work, and those for Mochi and HunyuanVideo 1.5 follow what others report.
`longcat` does not move its parts: with less memory it keeps the attention cache on the CPU. With
`RUSHES_QUANTIZE=int8-weights` it needs 40 GB, or 34; 720p needs about 20 GB more. All of these are
estimates.
"""

_FALLBACKS_INTRO = """\
Where one of these is a service's default and cannot make a job, those that its card names take
over, as far as they are served: see [api.md](api.md#when-a-model-cannot).
"""

_LICENCES_INTRO = """\
`GET /v1/models` tells these too. A model that some may not use at all is served only once its
name, or that of its licence, is in `RUSHES_ACCEPT_LICENCES`; without that the start stops.
"""

_SPEED_INTRO = """\
Seconds for the default clip on a warm worker. *Measured* is by us, on the models' real shapes with
random weights. *Cited* is what others publish. *Estimated* is the arithmetic of the real model,
counted or worked out from its sizes, at 43 % of what the GPU can do at best, which is what
diffusers reaches on Wan 2.1 14B with an H100; and a second for text, encoding and upload. Dollars
are these seconds at the GPU's rate on Modal's list ([price.py](../service/domain/price.py)),
without the CPU and memory beside it, idle time and cold starts.
"""

_MEASURED = """\
Measured 2026-11-27 by `benchmarks/generation.py`: one NVIDIA H100 80GB HBM3 with 16 CPU cores
beside it, torch 2.11.0 for CUDA 13.0, diffusers 0.42.1, bfloat16, every clip with a new prompt.
A large multiplication runs at 790 TFLOP/s there. Seconds of a warm worker:

| | `ltx-2b`, 768x512, 121 frames | `ltx-13b`, 1216x704, 121 frames |
| --- | --- | --- |
| text | 0.03 | 0.04 |
| one denoising step | 0.062 | 0.275 (the first 7, at two thirds of the size) |
| decode | 0.28 | 1.28 |
| encode, of noise, which is the most work | 0.58 | 0.69 |
| **from the ticket to the finished MP4** | **1.51** | **13.4** |
| the same, nothing compiled | 1.88 | 15.0 |
| diffusers' own call and one ffmpeg, in the same run | 2.63 | not taken |
| the first clip of a worker, which compiles | 10.2 | 27.1 |
| peak of GPU memory, not compiled | 20.7 GB | 42.2 GB |

The arithmetic of the `ltx-2b` clip is 268 TFLOP, 0.34 s at that rate; its steps and its decoder
take 0.75 s, so 46 % of the rate is reached. That of `ltx-13b` is 3,990 TFLOP, 5.1 s: with text,
encoding and all, 38 %. The goal of 1.0 s from ticket to MP4 is missed: what is more is mostly
ffmpeg's, which took 0.63 s by itself for that noise and 0.46 s for smooth pictures.
`RUSHES_COMPILE_DECODER` brings decoding from 0.29 s to 0.17 s. The compiled peaks were read while
the eager model was still there, and are left out. `wan2.2-5b-fast` did not end within the time that
there was (110 s, compiling included), and cold loads from a disk were not taken: for both there is
`make gpu`.
"""

_CHEAPEST_INTRO = f"""\
The cheapest GPU on which a default clip takes at most {GOOD_SECONDS} s, by the first table. Where a
GPU was measured, what is cited or estimated for it does not count:
"""

_ETA_INTRO = """\
`eta_seconds`, `expected_seconds` and the estimate of a job's cost come from formulas, because a
request may have any size and length. Each is for the first GPU of its model, and was fitted to the
arithmetic of several sizes, so that for the default clip it may differ by a few percent from the
figure above:
"""

_CLAIMS = """\
## What is said of them and is not so

- *LTX-Video makes 20 s of video in 2 s.* Published is 5 s of video (121 frames of 768x512) in 2 s
  on an H100 (arXiv 2501.00103). 20 s in one pass are outside of what 2B was made for, 257 frames,
  and their arithmetic alone takes 2.1 s of everything that an H100 has (computed).
- *`Lightricks/LTX-Video` gives 2B and 13B.* Read as a folder it gives the oldest 2B. The later ones
  are single files in it; 13B has a repository of its own.
- *The fp8 files are faster.* diffusers turns them into bfloat16 as it reads them (tried): a smaller
  download, the same memory and speed.
- *Wan 2.2 TI2V-5B is a mixture of experts.* It is dense; A14B is.
- *Wan 2.2 TI2V-5B follows a last image.* diffusers' pipeline takes one and leaves it out (tried: no
  pixel differs). So the card does not name it.
- *Wan 2.2 TI2V-5B cannot make a video over.* diffusers' pipeline for that raises, since it reckons
  with another VAE's scale; the adapter sets the right one, and it can.
- *Mochi and HunyuanVideo make a video from an image.* Their checkpoints for text take none.
- *Mochi makes a video over.* diffusers has no such pipeline for it, and its own cannot be told
  where to begin. It has none for HunyuanVideo and HunyuanVideo 1.5 either, but those two go over a
  video here, by their own schedule from latents with noise on them.
- *One pass makes a minute.* Lightricks announced that for 13B 0.9.8 alone, and it is not offered.

"""

_WEIGHTS_INTRO = """\
Fetched from the Hugging Face Hub at the first job, at exactly these commits, unless
`RUSHES_WEIGHTS` names a local folder in diffusers format (that of `ltx-13b` with a part
`latent_upsampler`). The commits are those that other public projects pin for these files; they
were not fetched here. Those of `longcat` are settings (`RUSHES_LONGCAT_REPO`,
`RUSHES_LONGCAT_REVISION`, `RUSHES_LONGCAT_BASE_REVISION`): no commit is known to us, so the default
is the newest, and its local folder has the parts of both repositories.
"""

Column = tuple[str, Callable[[ModelCard], str]]


def models() -> str:
    return "\n".join(
        [
            _MODELS_INTRO,
            "## What each can make\n",
            _table(_MAKES),
            "## What a request gets that does not say\n",
            _table(_DEFAULTS),
            "## What each needs\n",
            _NEEDS_INTRO,
            _table(_NEEDS),
            "## What takes over from each\n",
            _FALLBACKS_INTRO,
            _table([_NAME, ("then", _fallbacks)]),
            "## Licences\n",
            _LICENCES_INTRO,
            *(_terms(card) for card in CARDS.values() if card.licence.limits),
            "",
            "## How fast each is\n",
            _SPEED_INTRO,
            _speeds(),
            _MEASURED,
            _CHEAPEST_INTRO,
            _table([_NAME, ("the cheapest that is quick enough", _cheapest)]),
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


def _default_clip(card: ModelCard) -> str:
    if card.kind == "avatar":
        size = f"{card.default_width}x{card.default_height}"
        return f"{size} at {card.default_fps} fps, as long as what is spoken"
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
    heads = ("model", "GPU", "its default clip", "10 s of video", "US$ for 10 s", "what it is")
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
        return "none of these"
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
    ("what it is", lambda card: card.description),
    ("from", lambda card: ", ".join(card.features)),
    ("width, height", _sides),
    ("frames", lambda card: _numbers(card.frames)),
    ("fps", lambda card: _numbers(card.fps)),
    ("longest", _max_seconds),
    ("steps", lambda card: _numbers(card.steps)),
    ("guidance", _guidance),
    ("negative prompt", lambda card: "yes" if card.negative_prompt else "refused"),
]
_DEFAULTS: list[Column] = [
    _NAME,
    ("clip", _default_clip),
    ("steps", lambda card: str(card.default_steps)),
    ("guidance", lambda card: f"{card.default_guidance:g}"),
]
_NEEDS: list[Column] = [
    _NAME,
    ("GPU", lambda card: ", ".join(card.gpus) or "none"),
    ("memory", _memory),
    ("licence", _licence),
]
_SPEED: list[Column] = [
    _NAME,
    ("its default clip", _expected),
    ("seconds, with n million pixels in all frames", _rate),
    ("where that comes from", lambda card: card.speed_source),
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
