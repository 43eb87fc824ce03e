"""Tiny random checkpoints of the real model classes: real geometry, a few megabytes, no hub."""

from collections.abc import Callable
from pathlib import Path

from tests.tiny.hunyuan import build_hunyuan
from tests.tiny.hunyuan15 import build_hunyuan15
from tests.tiny.ltx import build_ltx, build_ltx_upscaled
from tests.tiny.mochi import build_mochi
from tests.tiny.wan import build_wan

# How the folder of each model is written, the same weights every time.
BUILD: dict[str, Callable[[Path], Path]] = {
    "ltx-2b": build_ltx,
    "ltx-2b-dev": build_ltx,
    "ltx-13b": build_ltx_upscaled,
    "wan2.2-5b": build_wan,
    "wan2.2-5b-fast": build_wan,
    "mochi": build_mochi,
    "hunyuan": build_hunyuan,
    "hunyuan-1.5": build_hunyuan15,
}
