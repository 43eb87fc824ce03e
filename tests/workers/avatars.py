"""Avatars made by the whole recipe, without a service around it."""

import os
import wave
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from service.artifacts.files import Files
from service.domain.attempt import Outcome, Ticket, input_key
from service.domain.avatar import AvatarRequest
from service.domain.ids import JobId
from service.domain.media import MediaRef
from service.domain.models.catalog import PUPPET
from service.domain.speech import SpeechUsage
from service.speech.base import Spoken
from service.speech.catalog import machine_catalog
from service.speech.recording import store_speech
from service.workers.adapters.puppet import Puppet
from service.workers.recipe import WorkerEnvironment, make_video
from service.workers.stages.inputs.media import decode_speech

PRESENTER = Path(__file__).parent / "puppet" / "data" / "presenter.png"
# Drawn by scripts/draw_faces.py.
FACES = {
    name: Path(__file__).parents[2] / "scripts" / "faces" / f"{name}.jpg"
    for name in ("anna", "marc", "zuri")
}
JOB = JobId("job_06h0d9vq1dp9l4uu8vk1jbtr78")
VOICES = machine_catalog(dict(os.environ))


def environment(artifacts: Files) -> WorkerEnvironment:
    scratch = artifacts._root.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return WorkerEnvironment(artifacts, scratch)


def keep(artifacts: Files, role: str, file: Path) -> None:
    """Keep a copy as an input: what is put is moved."""
    copy = artifacts._root.parent / f"{role}.part"
    copy.write_bytes(file.read_bytes())
    artifacts.put(input_key(JOB, role), copy, "application/octet-stream")


def keep_speech(artifacts: Files, text: str, seed: int) -> None:
    """Keep what the service speaks before the job is given to a worker."""
    usage = SpeechUsage(provider="hibari", characters=0, usd=0.0)
    store_speech(artifacts, JOB, speak(text, seed), usage, artifacts._root.parent)


def ticket(artifacts: Files, face: Path = PRESENTER, **changes: Any) -> Ticket:
    keep(artifacts, "reference_image", face)
    request = AvatarRequest(
        model="puppet",
        prompt="",
        width=256,
        height=256,
        num_frames=None,
        fps=25,
        seed=3,
        reference_image=MediaRef(source="upload", media_type="image/png"),
    ).model_copy(update=changes)
    if request.needs_speech:
        keep_speech(artifacts, request.text or "", request.seed)
    return Ticket(
        job_id=JOB,
        attempt=1,
        fence=2,
        token="t" * 40,
        request=request,
        card=PUPPET,
        api_url="http://rushes.test",
    )


def make(artifacts: Files, fence: int = 2, face: Path = PRESENTER, **changes: Any) -> Outcome:
    return make_video(
        ticket(artifacts, face, **changes),
        Puppet(PUPPET),
        environment(artifacts),
        f"jobs/{JOB}/{fence}",
        lambda *_: None,
    )


def video_of(artifacts: Files, outcome: Outcome) -> Path:
    path = artifacts.path(outcome.facts.video.key)
    assert path is not None
    return path


def write_wav(samples: np.ndarray, rate: int, file: Path) -> Path:
    """Write samples of -1 to 1: (samples,) or (samples, channels)."""
    levels = np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2")
    channels = 1 if levels.ndim == 1 else levels.shape[1]
    with wave.open(str(file), "wb") as target:
        target.setparams((channels, 2, rate, 0, "NONE", ""))
        target.writeframes(levels.tobytes())
    return file


@cache
def speak(text: str, seed: int = 3) -> Spoken:
    """The offline voice, as a job of this seed hears it. Each text is spoken once: the program that
    speaks takes seconds to start."""
    return VOICES.find(None).speak(text, seed=seed, speed=1.0)


def heard(file: Path) -> np.ndarray:
    """The sound of a file: int16, (samples, 2), 48,000 a second."""
    return decode_speech(file, max_bytes=10**9, max_seconds=600.0)
