"""A photo and a voice, from the ticket to the stored video."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, FailureKind, Outcome, Stage, speech_keys
from service.domain.avatar import CaptionSettings
from service.domain.media import MediaRef
from service.domain.models.catalog import PUPPET
from service.domain.request import VideoShape
from service.workers.adapters.puppet import Puppet
from service.workers.puppet import articulation, puppet
from service.workers.puppet.lips import LipReader
from service.workers.recipe import make_video
from service.workers.stages.avatar import _at_least_the_minimum
from service.workers.stages.mp4_index import read_index
from service.workers.stages.stills import frame_at
from tests.speech.sound import levels
from tests.workers.avatars import (
    JOB,
    environment,
    heard,
    keep,
    make,
    speak,
    ticket,
    video_of,
    write_wav,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def artifacts(tmp_path: Path) -> Files:
    return Files(tmp_path / "artifacts")


def voice(artifacts: Files, seconds: float, amplitude: float = 0.3) -> MediaRef:
    """Keep a hum of syllables as the input `audio`."""
    times = np.arange(int(seconds * 48_000)) / 48_000
    levels = amplitude * np.sin(2 * np.pi * 180 * times) * np.abs(np.sin(2 * np.pi * 2 * times))
    keep(artifacts, "audio", write_wav(levels, 48_000, artifacts._root.parent / "voice.wav"))
    return MediaRef(source="upload", media_type="audio/wav")


def test_a_text_is_spoken_to_its_end(artifacts: Files) -> None:
    outcome = make(artifacts, text="The quick brown fox jumps over the lazy dog.")

    facts = outcome.facts
    assert facts.has_audio
    assert 25 < facts.num_frames < 150
    index = read_index(video_of(artifacts, outcome))
    sound = index.track("soun")
    assert sound is not None
    assert sound.duration == facts.num_frames * 48_000 // 25


def test_a_text_of_less_than_the_shortest_voice_ends_in_silence(artifacts: Files) -> None:
    assert speak("A").seconds < 0.5

    outcome = make(artifacts, text="A")

    assert outcome.facts.num_frames == 13
    sound = heard(video_of(artifacts, outcome)) / 32768
    assert np.abs(sound[:18_000]).max() > 0.05
    assert np.abs(sound[-2048:]).max() < 0.01


def test_a_voice_that_is_long_enough_is_not_copied() -> None:
    sound = np.zeros((48_000, 2), np.int16)

    assert _at_least_the_minimum(sound) is sound
    assert len(_at_least_the_minimum(sound[:100])) == 24_000


def test_a_shorter_duration_cuts_and_a_longer_one_is_refused(artifacts: Files) -> None:
    audio = voice(artifacts, seconds=2)

    assert make(artifacts, audio=audio, num_frames=25).facts.num_frames == 25
    with pytest.raises(AttemptFailed, match=r"the voice lasts 2\.00 s") as refused:
        make(artifacts, audio=audio, num_frames=51)
    assert refused.value.code == "duration_too_long"


def test_a_photo_without_a_face_is_refused(artifacts: Files) -> None:
    file = artifacts._root.parent / "wall.png"
    Image.new("RGB", (640, 640), (120, 90, 60)).save(file)
    asked = ticket(artifacts, text="Hello.")
    keep(artifacts, "reference_image", file)

    with pytest.raises(AttemptFailed) as refused:
        make_video(
            asked,
            Puppet(PUPPET),
            environment(artifacts),
            f"jobs/{JOB}/2",
            lambda *_: None,
        )

    assert refused.value.code == "face_not_found"


def test_speech_that_is_gone_fails_by_its_code(artifacts: Files) -> None:
    asked = ticket(artifacts, text="Hello.")
    artifacts.delete(speech_keys(JOB)[0])

    with pytest.raises(AttemptFailed) as refused:
        make_video(asked, Puppet(PUPPET), environment(artifacts), f"jobs/{JOB}/2", lambda *_: None)

    assert (refused.value.kind, refused.value.code) == ("internal", "input_gone")


def test_a_lost_worker_goes_on_at_the_last_finished_segment(artifacts: Files) -> None:
    """And the frames are those of an attempt that was never interrupted."""
    audio = voice(artifacts, seconds=2)
    card = PUPPET.model_copy(update={"clip_frames": 20})

    def run(fence: int, dies_at: int | None = None) -> Outcome:
        count = 0

        def on_step(stage: str, *_: int) -> None:
            nonlocal count
            count += stage == "generate"
            if count == dies_at:
                raise KeyboardInterrupt

        asked = ticket(artifacts, audio=audio).model_copy(update={"card": card})
        prefix = f"jobs/{JOB}/{fence}"
        outcome = make_video(asked, Puppet(card), environment(artifacts), prefix, on_step)
        drawn.append(count)
        return outcome

    drawn: list[int] = []
    whole = run(2)
    with pytest.raises(KeyboardInterrupt):
        run(4, dies_at=45)
    rest = run(6)

    assert drawn[1] < drawn[0]
    assert rest.facts.num_frames == whole.facts.num_frames == 50
    assert video_of(artifacts, rest).read_bytes() == video_of(artifacts, whole).read_bytes()


@pytest.mark.parametrize("kind", ["text", "recording"])
def test_the_work_for_a_whole_video_is_done_once_for_all_its_segments(
    artifacts: Files, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        run = getattr(owner, name)

        def counted(*args: Any) -> Any:
            calls[name] += 1
            return run(*args)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in ((puppet, "Rig"), (puppet, "direct"), (LipReader, "read")):
        count(owner, name)
    count(articulation, "pose_curve")
    words = {"text": "The quick brown fox jumps over the lazy dog."}
    if kind == "recording":
        words = {"audio": voice(artifacts, seconds=2)}  # type: ignore[dict-item]
    card = PUPPET.model_copy(update={"clip_frames": 20})
    asked = ticket(artifacts, **words).model_copy(update={"card": card})

    outcome = make_video(
        asked, Puppet(card), environment(artifacts), f"jobs/{JOB}/2", lambda *_: None
    )

    assert outcome.facts.num_frames > 2 * 20
    lips = "pose_curve" if kind == "text" else "read"
    assert calls == {"Rig": 1, "direct": 1, lips: 1}


@pytest.mark.parametrize(
    ("form", "begins"), [("vtt", "WEBVTT"), ("srt", "1\n00:00:00"), ("json", '[{"text": "The')]
)
def test_captions_lie_beside_the_video(artifacts: Files, form: str, begins: str) -> None:
    text = "The quick brown fox jumps over the lazy dog."

    outcome = make(artifacts, text=text, captions=CaptionSettings(format=form, burn_in=True))  # type: ignore[arg-type]

    path = artifacts.path(outcome.facts.artifacts["captions"].key)
    assert path is not None
    assert path.name == f"captions.{form}"
    assert path.read_text().startswith(begins)


@pytest.mark.parametrize("kind", ["text", "recording"])
def test_captions_end_with_a_video_that_is_cut(artifacts: Files, kind: str) -> None:
    text = "The quick brown fox jumps over the lazy dog, and nobody knows why it does so."
    words = {"text": text}
    if kind == "recording":
        words["audio"] = voice(artifacts, seconds=5)  # type: ignore[assignment]

    def captions(form: str) -> str:
        settings = CaptionSettings(format=form, burn_in=True)  # type: ignore[arg-type]
        outcome = make(artifacts, **words, num_frames=25, captions=settings)
        path = artifacts.path(outcome.facts.artifacts["captions"].key)
        assert path is not None
        return path.read_text()

    times = re.findall(r"\d\d:(\d\d:\d\d\.\d{3})", captions("vtt"))
    assert times
    assert max(times) <= "00:01.000"
    found = json.loads(captions("json"))
    assert 0 < len(found) < len(text.split())
    assert max(word["endMs"] for word in found) <= 1000


def test_the_words_of_a_recording_are_where_they_are_heard(artifacts: Files) -> None:
    text = (
        "Once upon a time there was a little girl who lived in a village near the forest. "
        "Whenever she went out, she wore a red riding cloak. One morning she asked her mother if "
        "she could go to visit her grandmother."
    )
    spoken = speak(text)
    pauses = [np.zeros(round(seconds * spoken.rate)) for seconds in (1.5, 2.0)]
    samples = np.concatenate([pauses[0], levels(spoken), pauses[1]])
    keep(artifacts, "audio", write_wav(samples, spoken.rate, artifacts._root.parent / "told.wav"))
    settings = CaptionSettings(format="json", burn_in=False)

    outcome = make(artifacts, audio=MediaRef(source="upload"), text=text, captions=settings)

    path = artifacts.path(outcome.facts.artifacts["captions"].key)
    assert path is not None
    words = json.loads(path.read_text())
    heard_at = np.array([1500 + 1000 * word.start for word in spoken.words])
    away = np.abs([word["startMs"] for word in words] - heard_at)
    assert len(words) == len(spoken.words)
    assert away.mean() < 300
    assert away.max() < 1000
    assert {word["confidence"] for word in words} == {0.6}


@pytest.mark.parametrize(
    ("text", "seconds", "says"),
    [
        ("What is said in this recording is not this at all. " * 8, 4, "and it lasts 4 s"),
        ("Hm.", 12, "and its speech lasts 12 s"),
        ("One two three four.", 4, None),
        ("今日はとても天気が良いです。", 4, None),
    ],
    ids=["long", "short", "fits", "no spaces"],
)
def test_a_text_that_nobody_can_have_spoken_there_is_warned_of(
    artifacts: Files, text: str, seconds: float, says: str | None
) -> None:
    settings = CaptionSettings(format="vtt", burn_in=False)

    outcome = make(artifacts, audio=voice(artifacts, seconds), text=text, captions=settings)

    warnings = [text for text in outcome.facts.warnings if "does not fit" in text]
    assert len(warnings) == (says is not None)
    assert all(says in text for text in warnings if says)


def test_words_that_the_voice_does_not_read_are_named_and_in_no_caption(artifacts: Files) -> None:
    settings = CaptionSettings(format="json", burn_in=False)

    outcome = make(artifacts, text="Hello, Привет, 你好 and goodbye to you.", captions=settings)

    path = artifacts.path(outcome.facts.artifacts["captions"].key)
    assert path is not None
    texts = [caption["text"] for caption in json.loads(path.read_text())]
    assert texts == ["Hello,", " and", " goodbye", " to", " you."]
    (warning,) = [text for text in outcome.facts.warnings if text.startswith("text:")]
    assert "does not read 'Привет', '你好'" in warning


def test_a_script_without_a_font_is_warned_of_in_the_result(artifacts: Files) -> None:
    audio, text = voice(artifacts, seconds=2), "\U00012000\U00012001"
    settings = CaptionSettings(format="vtt", burn_in=True)

    outcome = make(artifacts, audio=audio, text=text, captions=settings)

    (warning,) = [text for text in outcome.facts.warnings if text.startswith("captions:")]
    assert "the letters of Cuneiform" in warning


def test_burnt_in_captions_change_the_lower_part_of_the_frames_alone(artifacts: Files) -> None:
    audio, text = voice(artifacts, seconds=2), "One two three."
    shape = VideoShape(256, 256, 50, 25)

    plain = make(artifacts, audio=audio)
    drawn = make(
        artifacts,
        fence=4,
        audio=audio,
        text=text,
        captions=CaptionSettings(format="vtt", burn_in=True),
    )

    before, after = (
        frame_at(video_of(artifacts, made), 20, shape).astype(int) for made in (plain, drawn)
    )
    difference = np.abs(after - before).max(axis=(1, 2))
    assert difference[:128].max() < 40
    assert difference[200:].max() > 100


def test_the_finished_video_is_measured(artifacts: Files) -> None:
    outcome = make(artifacts, text="The quick brown fox jumps over the lazy dog. Again and again.")

    found = outcome.facts.lip_sync
    assert found is not None
    assert found.method == "envelope"
    assert found.score is not None
    assert found.score > 0.5
    assert found.face_coverage == 1.0
    assert found.offset_ms is not None
    assert abs(found.offset_ms) < 80


def test_a_job_is_canceled_while_its_video_is_measured_and_progress_never_falls(
    artifacts: Files,
) -> None:
    asked = ticket(artifacts, audio=voice(artifacts, seconds=2))
    steps: list[tuple[int, int]] = []

    def on_step(stage: Stage, step: int, total: int) -> None:
        if stage is Stage.ENCODE:
            steps.append((step, total))
        if len(steps) == 20:
            raise AttemptFailed(FailureKind.USER, "canceled", "the job was canceled")

    with pytest.raises(AttemptFailed, match="canceled"):
        make_video(asked, Puppet(PUPPET), environment(artifacts), f"jobs/{JOB}/2", on_step)

    assert len(steps) == 20
    assert max(steps)[0] > 10
    shares = [step / total for step, total in steps]
    assert shares == sorted(shares)
    assert max(shares) < 1
