"""The speaker: texts that are spoken at once, and those of a process that is stopped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from service.domain.job import Job
from service.runtime import speaker
from service.runtime.speaker import Speaker
from tests.lifecycle.test_speech import Stage
from tests.lifecycle.test_speech import stage as stage

Talk = Callable[[], None]


@contextmanager
def speaking(stage: Stage, talk: Talk) -> Iterator[Speaker]:
    """Run a speaker whose voice does `talk` before each text is spoken."""
    stage.voice.meanwhile = talk
    running = Speaker(stage.maker, Event())
    running.start()
    try:
        yield running
    finally:
        running.stop()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def is_spoken(stage: Stage, job: Job) -> bool:
    return stage.job(job).speech_at is None


def test_a_stop_lets_a_text_end_that_is_being_spoken(stage: Stage) -> None:
    asked, stopped = Event(), Event()
    stopped_first: list[bool] = []

    def talk() -> None:
        asked.set()
        stopped_first.append(stopped.wait(1))

    job = stage.submit()
    with speaking(stage, talk):
        assert asked.wait(60)
    stopped.set()

    assert stopped_first == [False]
    assert is_spoken(stage, job)


def test_a_stop_leaves_a_text_that_does_not_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaker, "_STOP_SECONDS", 0.1)
    asked, over = Event(), Event()

    def talk() -> None:
        asked.set()
        over.wait(60)

    job = stage.submit()
    with speaking(stage, talk):
        assert asked.wait(60)

    assert not is_spoken(stage, job)
    over.set()
    until(lambda: is_spoken(stage, job))
