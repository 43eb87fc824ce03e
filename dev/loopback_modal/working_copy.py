"""A container's copy of a Volume: commit brings its changes up, reload brings others' down."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# What tells that a file was written: a rename changes the inode, a write in place the rest.
Stamp = tuple[int, int, int]
Tree = dict[str, Stamp]


@dataclass
class WorkingCopy:
    """Deals in whole files. `base` is what the copy held when it last agreed with the Volume."""

    volume: Path
    path: Path
    read_only: bool = False
    base: Tree = field(default_factory=dict)

    def commit(self) -> None:
        """What changed here since the last agreement replaces the Volume's; the last one wins."""
        now = scan(self.path)
        for name, stamp in now.items():
            if self.base.get(name) != stamp:
                put(self.path / name, self.volume / name)
        for name in self.base.keys() - now.keys():
            (self.volume / name).unlink(missing_ok=True)
        self.base = now

    def reload(self) -> None:
        """Uncommitted changes are committed first; then this copy is like the Volume."""
        if not self.read_only:
            self.commit()
        theirs = scan(self.volume)
        mine = scan(self.path)
        for name in theirs:
            if name not in mine or not same(self.volume / name, self.path / name):
                put(self.volume / name, self.path / name, link=self.read_only)
        for name in mine.keys() - theirs.keys():
            (self.path / name).unlink()
        self.base = scan(self.path)

    def open_files(self, pids: list[int]) -> list[str]:
        """The files of this copy that these processes hold open."""
        held = {inode for pid in pids for inode in inodes(pid)}
        return [name for name in scan(self.path) if inode_of(self.path / name) in held]


def scan(folder: Path) -> Tree:
    """Every file below the folder, with the stamp that a change would change."""
    tree = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            with suppress(FileNotFoundError):
                stat = path.stat()
                tree[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return tree


def same(one: Path, other: Path) -> bool:
    """Copies keep size and time, hard links the inode."""
    a, b = one.stat(), other.stat()
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def put(source: Path, target: Path, link: bool = False) -> None:
    """Replaces the target at once: a reader has the old file or the new one, never half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    with suppress(FileNotFoundError):  # the source may be removed meanwhile
        if link:
            os.link(source, partial)
        else:
            shutil.copy2(source, partial)
        partial.replace(target)


def inode_of(path: Path) -> tuple[int, int]:
    with suppress(FileNotFoundError):
        stat = path.stat()
        return stat.st_dev, stat.st_ino
    return 0, 0


def inodes(pid: int) -> set[tuple[int, int]]:
    """What the process has open."""
    with suppress(FileNotFoundError, PermissionError):
        return {inode_of(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    return set()
