"""Build a container's view of the file system, then exec its command.

Run as `unshare -m python -S -E enter.py PLAN COMMAND...`. The new root is a tmpfs that holds this
machine's top folders, each bound in place, plus the Volumes at their true paths, so that `/outputs`
appears in the container and nowhere else. It uses the standard library only: it starts in 20 ms.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def main(plan: dict[str, Any], command: list[str]) -> None:
    die_with(plan["parent"])
    root = Path(plan["new_root"])
    mount("tmpfs", root, "tmpfs", 0)
    for entry in Path("/").iterdir():
        if entry.is_symlink():
            root.joinpath(entry.name).symlink_to(entry.readlink())
        elif entry.is_dir():
            bind(entry, inside(root, entry), MS_REC)
    for folder in plan["hidden"]:
        hide(Path(folder), [Path(path) for path in plan["visible"]], root)
    place(Path(plan["root"]), root)
    for source, path, read_only in plan["mounts"]:
        bind(Path(source), inside(root, Path(path)))
        if read_only:
            bind(Path(source), inside(root, Path(path)), MS_REMOUNT | MS_RDONLY)
    os.chroot(root)
    os.chdir(plan["home"])
    os.execv(command[0], command)


def die_with(parent: int) -> None:
    """Kill this process when the control plane dies."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the control plane is gone")


def inside(root: Path, path: Path) -> Path:
    """Create the folder `path` below the new root."""
    target = root / path.relative_to("/")
    target.mkdir(parents=True, exist_ok=True)
    return target


def hide(folder: Path, visible: list[Path], root: Path) -> None:
    """Hide the folder's contents, except the `visible` paths."""
    mount("tmpfs", inside(root, folder), "tmpfs", 0)
    for path in visible:
        if path.is_relative_to(folder):
            bind(path, inside(root, path), MS_REC)


def place(uploads: Path, root: Path) -> None:
    """Bind uploaded folders outside /root at their paths, unless this machine has such a folder."""
    for entry in uploads.iterdir():
        if entry.name != "root" and entry.is_dir() and not root.joinpath(entry.name).exists():
            bind(entry, inside(root, Path("/", entry.name)))


def bind(source: Path, target: Path, flags: int = 0) -> None:
    mount(str(source), target, None, MS_BIND | flags)


def mount(source: str, target: Path, kind: str | None, flags: int) -> None:
    filesystem = kind.encode() if kind else None
    if libc.mount(source.encode(), str(target).encode(), filesystem, flags, None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)}: mounting {source} at {target}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
