"""SQLite on the disk of power.py: the methods of its sqlite3_vfs and sqlite3_io_methods."""

# ruff: noqa: N802 - SQLite named them

from pathlib import Path
from typing import Any

import apsw

from tests.chaos.power import Disk, File


class _Handle:
    """A file as SQLite holds it: the methods are those of sqlite3_io_methods."""

    def __init__(self, disk: Disk, file: File) -> None:
        self._disk = disk
        self._file = file

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._file.now[offset : offset + amount])

    def xWrite(self, data: Any, offset: int) -> None:
        self._disk.change()
        self._file.write((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        self._disk.change()
        self._file.write((size, None))

    def xSync(self, flags: int) -> None:
        self._disk.change()
        self._file.sync()

    def xFileSize(self) -> int:
        return len(self._file.now)

    def xDeviceCharacteristics(self) -> int:
        """As SQLite takes every disk on Unix: a torn write spoils no byte beside its own."""
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xSectorSize(self) -> int:
        return 4096

    def xLock(self, level: int) -> None:
        pass

    def xUnlock(self, level: int) -> None:
        pass

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xClose(self) -> None:
        pass


class DiskVfs(apsw.VFS):
    """SQLite's way to the disk."""

    def __init__(self, name: str, disk: Disk) -> None:
        self.name = name
        self._disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _Handle(self._disk, self._disk.files.setdefault(_base(path), File()))

    def xAccess(self, pathname: str, flags: int) -> bool:
        return _base(pathname) in self._disk.files

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._disk.change()
        del self._disk.files[_base(filename)]

    def xFullPathname(self, name: str) -> str:
        return name


def _base(path: str) -> str:
    return Path(path).name
