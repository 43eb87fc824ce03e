"""Commands for messages, by how this copy was installed: from a checkout or a wheel."""

from pathlib import Path


def install_command(extra: str, root: Path | None = None) -> str:
    """Return the command that installs an optional part: `torch`, `postgres`, `s3` or `quantize`.

    `root` is where a checkout has its Makefile; by default the folder above this package.
    """
    if _has_makefile(root):
        return f"`make {extra}`"
    return f"`pip install 'rushes[{extra}]'`"


def start_command(root: Path | None = None) -> str:
    """Return the command that starts the service."""
    return "`make up` or `rushes up`" if _has_makefile(root) else "`rushes up`"


def _has_makefile(root: Path | None) -> bool:
    return ((root or Path(__file__).parent.parent) / "Makefile").is_file()
