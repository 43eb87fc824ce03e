"""A container's copy of a Volume, with commit and reload."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# (size, mtime, inode): a rename changes the inode, a write in place the others.
Stamp = tuple[int, int, int]
Tree = dict[str, Stamp]


@dataclass
class WorkingCopy:
    """Syncs whole files. `base` is the copy's content at the last sync with the Volume."""

    volume: Path
    path: Path
    read_only: bool = False
    base: Tree = field(default_factory=dict)

    def commit(self) -> None:
        """Write changes since the last sync to the Volume; the last writer wins."""
        now = scan(self.path)
        for name, stamp in now.items():
            if self.base.get(name) != stamp:
                put(self.path / name, self.volume / name)
        for name in self.base.keys() - now.keys():
            (self.volume / name).unlink(missing_ok=True)
        self.base = now

    def reload(self) -> None:
        """Commit, then make this copy equal to the Volume."""
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
        """List the files of this copy that these processes have open."""
        open_inodes = {inode for pid in pids for inode in inodes(pid)}
        return [name for name in scan(self.path) if inode_of(self.path / name) in open_inodes]


def scan(folder: Path) -> Tree:
    """Return every file below the folder with its stamp."""
    tree = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            with suppress(FileNotFoundError):
                stat = path.stat()
                tree[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return tree


def same(source: Path, target: Path) -> bool:
    """Compare size and time, which copies and hard links preserve."""
    a, b = source.stat(), target.stat()
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def put(source: Path, target: Path, link: bool = False) -> None:
    """Replace the target atomically: a reader sees the old or the new file."""
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
    """Return the inodes that the process has open."""
    with suppress(FileNotFoundError, PermissionError):
        return {inode_of(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    return set()
