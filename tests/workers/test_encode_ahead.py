"""Frames are taken as fast as they come, up to a bound, and nothing is left behind."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from service.domain.attempt import AttemptFailed
from service.workers.adapters.base import Frame
from service.workers.stages import encode_ahead
from service.workers.stages.encode_ahead import BackgroundEncoder
from tests import make

REQUEST = make.request(num_frames=20)


def frames(count: int = 20) -> Iterator[Frame]:
    for number in range(count):
        yield np.full((64, 64, 3), 10 * number % 256, dtype=np.uint8)


def until(holds: Callable[[], object]) -> None:
    while not holds():  # pytest-timeout ends what never comes
        time.sleep(0.01)


def processes(folder: Path) -> list[int]:
    """Of all that run, those that were told of this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended while we looked
            if str(folder) in path.read_text(errors="replace"):
                found.append(int(path.parent.name))
    return found


def test_the_frames_are_taken_before_the_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    encode = encode_ahead.encode

    def late(frames: Iterator[Frame], *args: object, **more: object) -> object:
        assert gate.wait(30)
        return encode(frames, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(encode_ahead, "encode", late)
    with BackgroundEncoder(REQUEST, tmp_path / "v.mp4", {}, ahead=21) as encoding:
        encoding.write(frames())
        assert not (tmp_path / "v.mp4").exists()
        gate.set()
        made = encoding.result(lambda: None)

    assert made.path.stat().st_size > 500
    assert (made.middle[0, 0, 0], made.last[0, 0, 0]) == (100, 190)


def test_no_more_frames_wait_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, made = threading.Event(), []
    encode = encode_ahead.encode

    def late(frames: Iterator[Frame], *args: object, **more: object) -> object:
        assert gate.wait(30)
        return encode(frames, *args, **more)  # type: ignore[arg-type]

    def counted() -> Iterator[Frame]:
        for frame in frames():
            made.append(1)
            if len(made) == 6:
                threading.Timer(0.3, gate.set).start()
                assert not gate.is_set()
            yield frame
            assert len(made) <= 6 or gate.is_set()

    monkeypatch.setattr(encode_ahead, "encode", late)
    with BackgroundEncoder(REQUEST, tmp_path / "v.mp4", {}, ahead=5) as encoding:
        encoding.write(counted())
        encoding.result(lambda: None)

    assert len(made) == 20


def test_what_the_model_raises_ends_ffmpeg(tmp_path: Path) -> None:
    def failing() -> Iterator[Frame]:
        yield from frames(3)
        until(lambda: processes(tmp_path))
        raise KeyError("as planned")

    with BackgroundEncoder(REQUEST, tmp_path / "v.mp4", {}, ahead=4) as encoding:
        with pytest.raises(KeyError, match="as planned"):
            encoding.write(failing())
        assert processes(tmp_path) == []


def test_an_ffmpeg_that_ends_early_stops_the_model(tmp_path: Path) -> None:
    endless = make.request(num_frames=10**6)

    with (
        BackgroundEncoder(endless, tmp_path / "nowhere" / "v.mp4", {}, ahead=2) as encoding,
        pytest.raises(AttemptFailed, match="No such file or directory"),
    ):
        encoding.write(frames(10**6))


def test_what_is_left_before_it_is_done_is_thrown_away(tmp_path: Path) -> None:
    with BackgroundEncoder(REQUEST, tmp_path / "v.mp4", {}, ahead=30):
        until(lambda: processes(tmp_path))

    assert processes(tmp_path) == []


def test_what_tells_to_stop_is_heard_while_ffmpeg_encodes_and_ends_it(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyError("as planned")

    with BackgroundEncoder(REQUEST, tmp_path / "v.mp4", {}, ahead=30) as encoding:
        until(lambda: processes(tmp_path))
        for process in processes(tmp_path):
            os.kill(process, signal.SIGSTOP)  # it would never be done
        encoding.write(frames())
        with pytest.raises(KeyError, match="as planned"):
            encoding.result(stop)

    assert processes(tmp_path) == []
    assert "SIGKILL" in str(encoding._file.exception())
