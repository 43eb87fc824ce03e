"""Writes what is generated from the code; test_documents.py compares with the same functions.

`python -m tests.contract.write`, or `make client`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from service.app import build
from service.domain.card import IntRange, ModelCard, Weights
from service.domain.catalog import CARDS
from service.domain.request import VideoAsk, VideoRequest
from service.domain.resolve import resolve
from service.settings import ClientSettings, Settings

ROOT = Path(__file__).resolve().parents[2]


def openapi() -> str:
    """The API's description, as the service itself answers it at `/openapi.json`."""
    described = build(Settings(_env_file=None)).openapi()
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


# Settings.

_ENV_INTRO = """\
# Every setting with its default. Copy this file to .env and change what you need. The environment
# beats .env; a flag, where a command has one, beats both. Nothing after the = means: not set.
"""


def env_example() -> str:
    service = "".join(_setting(Settings, name) for name in Settings.model_fields)
    commands = "".join(_setting(ClientSettings, name) for name in ClientSettings.model_fields)
    heading = "\n# For the commands that talk to a service: rushes video, rushes jobs, …\n"
    return _ENV_INTRO + service + heading + commands


def _setting(settings: type[BaseSettings], name: str) -> str:
    field = settings.model_fields[name]
    return f"\n# {field.description}\nRUSHES_{name.upper()}={_as_text(field.default)}\n"


def _as_text(default: Any) -> str:
    if isinstance(default, list | dict):
        return json.dumps(default)
    assert not isinstance(default, SecretStr), "a secret has no default"
    return "" if default is None or default == {} else str(default)


# Models.

_MODELS_INTRO = """\
# Models

Written by `make client` from [service/domain/catalog.py](../service/domain/catalog.py); a service
tells which of these it serves, and whether a worker is there for them, at `GET /v1/models`.

`RUSHES_MODELS=["ltx-2b", "slate"]` chooses; the first is the default. When it is not set, a machine
with a CUDA or Apple GPU and diffusers installed (`make torch`) serves ltx-2b and slate, and every
other machine serves slate alone. To add one, see
[architecture.md](architecture.md#where-a-change-goes).

A size or a frame count that a model cannot make is refused, with the nearest that it can; it is
never rounded in silence. `duration_seconds` is different: it becomes the nearest frame count, and
the answer says which.
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
            _table(_NEEDS),
            "## How fast each is\n",
            "On a warm worker. This is where `eta_seconds` and `expected_seconds` come from.\n",
            _table(_SPEED),
            "## Weights\n",
            "Fetched from the Hugging Face Hub at the first job, at exactly these commits, unless",
            "`RUSHES_WEIGHTS` names a local folder in diffusers format.\n",
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


def _longest(card: ModelCard) -> str:
    """At the frame rate that most requests have, and at the one that stretches it most."""
    usual = min(card.frames.high / card.default_fps, card.max_seconds)
    if usual == card.max_seconds:
        return f"{usual:g} s"
    return (
        f"{usual:.1f} s at {card.default_fps} fps, {card.max_seconds:.1f} s at {card.fps.low} fps"
    )


def _default(card: ModelCard) -> VideoRequest:
    """What a request becomes that says nothing but its prompt."""
    return resolve(VideoAsk(prompt="…"), card, seed=0)


def _default_clip(card: ModelCard) -> str:
    made = _default(card)
    return f"{made.width}x{made.height}, {made.num_frames} frames at {made.fps} fps"


def _gpu(card: ModelCard) -> str:
    memory = f", {card.gpu_memory_gb:g} GB" if card.gpu_memory_gb else ""
    return f"{card.gpus[0]}{memory}" if card.gpus else "none"


def _licence(card: ModelCard) -> str:
    licence = card.licence
    return f"[{licence.name}]({licence.url})" if licence.url else licence.name


def _expected(card: ModelCard) -> str:
    return f"{card.expected_seconds(_default(card)):.1f} s"


def _rate(card: ModelCard) -> str:
    return f"{card.seconds_fixed:g} s + {card.seconds_per_megapixel_frame:g} s"


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
    ("width, height", _sides),
    ("frames", lambda card: _numbers(card.frames)),
    ("fps", lambda card: _numbers(card.fps)),
    ("longest", _longest),
    ("steps", lambda card: _numbers(card.steps)),
    ("guidance", _guidance),
    ("negative prompt", lambda card: "yes" if card.negative_prompt else "refused"),
]
_DEFAULTS: list[Column] = [
    _NAME,
    ("clip", _default_clip),
    ("steps", lambda card: str(_default(card).num_inference_steps)),
    ("guidance", lambda card: f"{_default(card).guidance_scale:g}"),
]
_NEEDS: list[Column] = [_NAME, ("smallest GPU", _gpu), ("licence", _licence)]
_SPEED: list[Column] = [
    _NAME,
    ("its default clip", _expected),
    ("fixed + per million pixels of all frames", _rate),
    ("where that comes from", lambda card: card.speed_source),
]

WRITTEN: dict[str, Callable[[], str]] = {
    "clients/openapi.json": openapi,
    "docs/models.md": models,
    ".env.example": env_example,
}


def main() -> None:
    for name, text in WRITTEN.items():
        (ROOT / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
