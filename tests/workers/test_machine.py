"""Faults of the machine are told apart from the job's and from ours."""

import errno
import gc
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, Failure, FailureKind, Outcome
from service.domain.errors import StorageFull, Unavailable
from service.workers.adapters.base import Frame
from service.workers.adapters.slate import Slate
from service.workers.attempt import ModelCache, run_attempt
from service.workers.recipe import WorkerEnvironment
from service.workers.reporter import AttemptReleased, HttpReporter
from service.workers.stages.encode import encode
from service.workers.stages.inputs.media import probe_media
from service.workers.stages.stills import frame_at
from service.workers.stages.stitch import join
from tests import make


@pytest.fixture
def bench(tmp_path: Path) -> WorkerEnvironment:
    (tmp_path / "scratch").mkdir()
    return WorkerEnvironment(Files(tmp_path / "artifacts"), tmp_path / "scratch")


def carry_out(
    bench: WorkerEnvironment, fault: Exception | None = None
) -> Outcome | Failure | AttemptReleased:
    class Faulty(Slate):
        def generate(self, *given: Any, **more: Any) -> Iterator[Frame]:
            if fault is not None:
                raise fault
            return super().generate(*given, **more)

    ticket = make.ticket()
    with httpx.Client(base_url=ticket.api_url) as client:
        reporter = HttpReporter(client, ticket, threading.Event())
        return run_attempt(
            ticket, ModelCache(lambda card: Faulty(card, None)), bench, reporter, "jobs/j/2"
        )


def kind_of(made: Outcome | Failure | AttemptReleased) -> FailureKind:
    assert isinstance(made, Failure), made
    return made.kind


NUMBERS = [
    getattr(errno, name)
    for name in ("ENOSPC", "EROFS", "EMFILE", "ENFILE", "EDQUOT", "EIO", "ENOMEM", "EAGAIN")
]
OUR_NUMBERS = [
    getattr(errno, name)
    for name in ("ENOENT", "EISDIR", "ENOTDIR", "ENAMETOOLONG", "EINVAL", "EPIPE", "EEXIST")
]


@pytest.mark.parametrize(
    "fault",
    [
        *(OSError(number, os.strerror(number), "/a/secret/path") for number in NUMBERS),
        MemoryError(),
        RuntimeError("can't start new thread"),
        subprocess.TimeoutExpired(["ffmpeg"], 120),
        StorageFull("no room for another clip"),
        Unavailable("the bucket does not answer"),
    ],
    ids=repr,
)
def test_a_fault_of_the_machine_is_told_as_such_and_names_no_path(
    bench: WorkerEnvironment, fault: Exception
) -> None:
    made = carry_out(bench, fault)

    assert kind_of(made) is FailureKind.MACHINE
    assert isinstance(made, Failure)
    assert "secret" not in made.message


@pytest.mark.parametrize(
    "fault",
    [
        ValueError("x"),
        KeyError("x"),
        OSError("broken data stream"),
        *(OSError(number, os.strerror(number), "/a/file") for number in OUR_NUMBERS),
    ],
    ids=repr,
)
def test_a_fault_of_ours_is_not_the_machines(bench: WorkerEnvironment, fault: Exception) -> None:
    assert kind_of(carry_out(bench, fault)) is FailureKind.INTERNAL


@pytest.mark.parametrize("program", ["/bin/false", "/bin/true", "/nowhere/ffmpeg", "/etc/passwd"])
def test_an_ffmpeg_that_does_not_start_is_the_machines_fault(
    bench: WorkerEnvironment, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)

    assert kind_of(carry_out(bench)) is FailureKind.MACHINE


def test_every_use_of_an_ffmpeg_that_does_not_start_blames_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make.request()
    video = encode(frames(3), request, tmp_path / "v.mp4", {}).path
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
    probing: dict[str, Any] = {"kinds": {"video"}, "max_bytes": 10**6, "max_seconds": 9.0}
    uses = [
        lambda: encode(frames(3), request, tmp_path / "w.mp4", {}),
        lambda: join([video, video], tmp_path / "j.mp4", 12, {}),
        lambda: frame_at(video, 0, request),
        lambda: probe_media(video, timeout=make.LEASE, **probing),
    ]

    for use in uses:
        with pytest.raises(AttemptFailed) as failed:
            use()
        assert failed.value.kind is FailureKind.MACHINE


def test_a_broken_file_is_still_the_fault_of_whoever_gave_it(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 100)

    with pytest.raises(AttemptFailed) as failed:
        probe_media(broken, kinds={"video"}, max_bytes=10**6, max_seconds=9.0, timeout=make.LEASE)

    assert failed.value.kind is FailureKind.USER


def test_an_ffmpeg_that_the_kernel_kills_is_the_machines_fault(tmp_path: Path) -> None:
    """As the OOM killer does."""
    kills: list[Any] = []

    def killed() -> Iterator[Frame]:
        yield from frames(1)
        kills[0]()
        yield from frames(2)

    with pytest.raises(AttemptFailed, match="SIGKILL") as failed:
        encode(killed(), make.request(), tmp_path / "v.mp4", {}, on_start=kills.append)

    assert failed.value.kind is FailureKind.MACHINE


def frames(count: int) -> Iterator[Frame]:
    for _ in range(count):
        yield np.zeros((64, 64, 3), np.uint8)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_ffmpeg_without_room_for_its_file_is_the_machines_fault(tmp_path: Path) -> None:
    """/dev/full takes no byte."""
    full = tmp_path / "full.mp4"
    full.symlink_to("/dev/full")

    with pytest.raises(AttemptFailed, match="No space left on device") as failed:
        encode(frames(3), make.request(), full, {})

    assert failed.value.kind is FailureKind.MACHINE


@contextmanager
def limited(what: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(what)
    resource.setrlimit(what, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


def test_a_worker_without_free_descriptors_blames_its_machine(bench: WorkerEnvironment) -> None:
    gc.collect()  # nothing is closed later, by chance, and so freed
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    gaps = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest)]  # none is free below
    try:
        with limited(resource.RLIMIT_NOFILE, max(gaps) + 2):
            made = carry_out(bench)
    finally:
        for gap in gaps:
            os.close(gap)

    assert kind_of(made) is FailureKind.MACHINE
    assert isinstance(carry_out(bench), Outcome)


def test_a_worker_that_may_write_no_file_so_large_blames_its_machine(
    bench: WorkerEnvironment,
) -> None:
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with limited(resource.RLIMIT_FSIZE, 100):
            made = carry_out(bench)
    finally:
        signal.signal(signal.SIGXFSZ, ignored)

    assert kind_of(made) is FailureKind.MACHINE


def test_a_scratch_that_is_gone_is_the_machines_fault(bench: WorkerEnvironment) -> None:
    gone = replace(bench, scratch=bench.scratch / "gone")

    assert kind_of(carry_out(gone)) is FailureKind.MACHINE
