import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.artifacts.spool import Spool


def test_a_copy_is_fetched_once_however_many_ask(tmp_path: Path) -> None:
    fetched: list[Path] = []
    gate = threading.Event()

    def fetch(place: Path) -> bool:
        gate.wait(5)
        fetched.append(place)
        place.write_bytes(b"clip")
        return True

    spool = Spool(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(spool.get, "jobs/a/1/video.mp4", fetch) for _ in range(8)]
        gate.set()
        paths = {future.result() for future in futures}

    assert len(fetched) == 1
    assert [path.read_bytes() for path in paths if path] == [b"clip"]


def test_what_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    assert Spool(tmp_path).get("jobs/a", lambda place: False) is None
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(place: Path) -> bool:
        place.write_bytes(b"half")
        raise OSError("as planned")

    with pytest.raises(OSError, match="as planned"):
        Spool(tmp_path).get("jobs/a", fail)
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_wanted_for_longest_goes_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=25)

    def fetch(place: Path) -> bool:
        place.write_bytes(b"0123456789")
        return True

    for age, key in ((30, "a"), (20, "b")):
        path = spool.get(key, fetch)
        assert path is not None
        os.utime(path, (path.stat().st_atime - age, path.stat().st_mtime - age))
    spool.get("a", fetch)  # wanted again
    spool.get("c", fetch)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
