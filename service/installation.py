"""The optional parts of this package: which are installed, and the commands that install them."""

from importlib.util import find_spec
from pathlib import Path

# Modules by which an extra is known to be installed: what every job of its models imports.
_MODULES: dict[str, tuple[str, ...]] = {
    "torch": ("torch", "diffusers", "transformers"),
    "avatar": ("cv2", "ai_edge_litert"),
    # Its own code is no package: docs/avatars.md says where it is cloned from.
    "longcat": ("torch", "diffusers", "cv2", "ai_edge_litert", "longcat_video"),
}


def missing_modules(extra: str | None) -> list[str]:
    """Return the modules of an extra that are not installed; nothing is imported."""
    names = () if extra is None else _MODULES[extra]
    return [name for name in names if find_spec(name) is None]


def install_command(extra: str) -> str:
    """Return the command that installs an extra: `torch`, `avatar`, `postgres`, `s3`, …"""
    if _has_makefile():
        return f"`make {extra}`"
    return f"`pip install 'rushes[{extra}]'`"


def start_command() -> str:
    """Return the command that starts the service."""
    return "`make up` or `rushes up`" if _has_makefile() else "`rushes up`"


def rushes_command() -> str:
    """Return what to type for `rushes`: a checkout has it in its environment."""
    return ".venv/bin/rushes" if _has_makefile() else "rushes"


def _has_makefile() -> bool:
    """Tell whether this is a checkout, which has its Makefile above this package."""
    return (Path(__file__).parent.parent / "Makefile").is_file()
