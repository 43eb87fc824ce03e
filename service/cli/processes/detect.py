"""Detect the GPU and the installed packages, and with them the models to serve by default."""

import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from service.domain.models.cards.longcat import SOURCE
from service.domain.models.catalog import CARDS, LONGCAT, PUPPET, SLATE
from service.installation import install_command, missing_modules

_AUTHORS_CODE = "longcat_video"  # no package that a command could install
_PROBE = (
    "import torch; print('cuda' if torch.cuda.is_available() "
    "else 'mps' if torch.backends.mps.is_available() else 'cpu')"
)


# A GPU on Linux has one of these: NVIDIA, NVIDIA under WSL, AMD.
_LINUX_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


def accelerator() -> str | None:
    """Return `cuda`, `mps` or None. Runs a child process: torch is large and slow to import."""
    if find_spec("torch") is None:
        return None
    if sys.platform == "linux" and not any(device.exists() for device in _LINUX_DEVICES):
        return None
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False
    )
    device = probe.stdout.strip()
    return device if device in ("cuda", "mps") else None


def models_to_serve() -> list[str]:
    """Return the first real model, if there is a GPU, and what needs none: the sandbox, and the
    puppet, each where its packages are installed. LongCat is in front of it where its code is
    installed, which nobody has by chance, and there is a CUDA GPU."""
    avatars = [] if missing_modules(PUPPET.extra) else [PUPPET.name]
    real = next(card for card in CARDS.values() if not card.sandbox)
    device = None if missing_modules(real.extra) else accelerator()
    if device is None:
        return [SLATE.name, *avatars]
    if device == "cuda" and avatars and not missing_modules(LONGCAT.extra):
        avatars.insert(0, LONGCAT.name)
    return [real.name, SLATE.name, *avatars]


def missing_packages(models: Iterable[str]) -> list[str]:
    """Return a sentence for each model whose packages are not installed, and how to mend it."""
    sentences = []
    for card in map(CARDS.__getitem__, models):
        missing = missing_modules(card.extra)
        if _AUTHORS_CODE in missing:
            sentences.append(
                f"{card.name} needs its authors' code: clone {SOURCE} and set PYTHONPATH to the "
                "folder; docs/avatars.md has the commands under 'Run longcat'"
            )
        elif card.extra is not None and missing:
            packages = f"packages that are not installed ({', '.join(missing)})"
            sentences.append(f"{card.name} needs {packages}: run {install_command(card.extra)}")
    return sentences
