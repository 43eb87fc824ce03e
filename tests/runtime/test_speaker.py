"""The speaker: texts that are spoken at once, and those of a process that is stopped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock

import pytest

from service.domain.job import Job
from service.domain.likeness import VOICE_PREFIX
from service.domain.speech import OF_PROVIDERS
from service.programs import Program
from service.runtime import speaker
from service.runtime.speaker import Speaker
from service.speech.elevenlabs import PREFIX
from tests import make
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


class Jam:
    """A voice that begins texts, and ends none before it is released."""

    def __init__(self) -> None:
        self.lock, self.num_begun, self.over = Lock(), 0, Event()

    def talk(self) -> None:
        with self.lock:
            self.num_begun += 1
        self.over.wait(60)


def test_a_key_has_two_texts_of_a_provider_at_once_so_that_others_are_spoken_too(
    stage: Stage,
) -> None:
    jam = Jam()
    mine = [stage.submit(voice="elevenlabs-x") for _ in range(4)]
    stage.key_id = make.key(stage.db)[0]
    theirs = stage.submit(voice="elevenlabs-x")
    with speaking(stage, jam.talk):
        until(lambda: jam.num_begun == 3)
        assert stage.due() == [job.id for job in mine[2:]]
        jam.over.set()
        until(lambda: all(is_spoken(stage, job) for job in [*mine, theirs]))


def test_a_key_leaves_a_process_of_the_offline_voice_to_others(stage: Stage) -> None:
    jam, slots = Jam(), Program("none", "the offline voice", {}).slots
    mine = [stage.submit() for _ in range(4)]
    stage.key_id = make.key(stage.db)[0]
    theirs = stage.submit()

    def talk() -> None:
        with slots:
            jam.talk()

    with speaking(stage, talk):
        until(lambda: jam.num_begun == 2)
        assert stage.due() == [job.id for job in mine[1:]]
        jam.over.set()
        until(lambda: all(is_spoken(stage, job) for job in [*mine, theirs]))


def test_a_provider_that_hangs_does_not_stop_the_voices_of_this_machine(stage: Stage) -> None:
    jam = Jam()
    hanging = []
    for _ in range(3):
        stage.key_id = make.key(stage.db)[0]
        hanging += [stage.submit(voice=voice) for voice in ("elevenlabs-x", "voi_x")]
    with speaking(stage, jam.talk):
        until(lambda: jam.num_begun == 4)
        stage.voice.meanwhile = lambda: None
        offline = [stage.submit(voice=voice) for voice in (None, "hibari-heart")]
        until(lambda: all(is_spoken(stage, job) for job in offline))
        assert not any(is_spoken(stage, job) for job in hanging)
        jam.over.set()
        until(lambda: all(is_spoken(stage, job) for job in hanging))


def test_the_ids_of_voices_tell_who_speaks() -> None:
    assert (PREFIX, f"{VOICE_PREFIX}_") == OF_PROVIDERS


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
