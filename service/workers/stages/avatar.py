"""Get a face and a voice ready: what is spoken, how long it is, and who speaks it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.domain.attempt import ArtifactStore, AttemptFailed, FailureKind, Stage, Ticket
from service.domain.avatar import MAX_AUDIO_SECONDS, MIN_AUDIO_SECONDS, SPEECH_RATE, AvatarRequest
from service.domain.ids import JobId
from service.domain.media import MediaRef, Role
from service.domain.speech import speaking_seconds
from service.media.captions import Transcript, cut_transcript
from service.media.word_times import Stretch, place_words
from service.speech.recording import Recording, SpeechFacts, find_speech
from service.workers.adapters.base import (
    AUDIO_RATE,
    Audio,
    Conditions,
    OnStep,
    Speech,
    audio_samples,
)
from service.workers.stages.captions import burn_in, write_captions
from service.workers.stages.fetch import Sources, fetch, stored_input
from service.workers.stages.inputs.media import decode_speech
from service.workers.stages.portrait import read_face
from service.workers.stages.voice_activity import check_speech_heard, speech_stretches

if TYPE_CHECKING:
    from service.workers.burn_in import BurnIn

_BLOCK = 10 * AUDIO_RATE
_STEPS = 3
# Of a usual pace: about 8 words a second, and 0.3.
_MAX_PACE, _MIN_PACE = 3.0, 0.12
_MAX_NAMES, _MAX_LETTERS = 5, 40  # of words that a warning names


def prepare_avatar(
    ticket: Ticket,
    artifacts: ArtifactStore,
    sources: Sources,
    scratch: Path,
    on_step: OnStep,
) -> tuple[AvatarRequest, Conditions]:
    """Check the face, decode the voice, and return the request with its number of frames.

    A text has been spoken before. Raises AttemptFailed (user) for audio that is too long or
    `check_speech_heard` refuses, a duration beyond its end, and a photo that the model cannot use;
    and as `fetch` does.
    """
    request = ticket.request
    assert isinstance(request, AvatarRequest), "a ticket of an avatar"
    files = _Files(JobId(ticket.job_id), artifacts, sources, scratch)
    step = partial(on_step, Stage.PREPROCESS)
    step(0, _STEPS)
    face = Conditions()
    if request.reference_image is not None:
        file = files.get("reference_image", request.reference_image, partial(step, 0, _STEPS))
        face = read_face(file, ticket.card, request.width, request.height, sources.max_image_bytes)
    step(1, _STEPS)
    file, facts = _voice(request, files, partial(step, 1, _STEPS))
    sound = decode_speech(
        file, max_bytes=_max_bytes(sources, request), max_seconds=MAX_AUDIO_SECONDS
    )
    if request.needs_speech:
        sound = _at_least_the_minimum(sound)
    check_speech_heard(sound)
    step(2, _STEPS)
    num_frames = _num_frames(request, sound)
    audio = Audio(_fit_sound(sound, audio_samples(num_frames, request.fps)))
    overlay, warnings = _captions(request, facts, sound, num_frames / request.fps, scratch)
    step(3, _STEPS)
    conditions = replace(
        face,
        speech=Speech(_to_speech_rate(audio), None if facts is None else facts.phones),
        audio=audio,
        captions=overlay,
        warnings=(*face.warnings, *_unspoken_warnings(facts), *warnings),
    )
    return request.model_copy(update={"num_frames": num_frames}), conditions


class _Files:
    """The inputs of a job as files."""

    def __init__(
        self, job_id: JobId, artifacts: ArtifactStore, sources: Sources, scratch: Path
    ) -> None:
        self._job_id = job_id
        self._artifacts = artifacts
        self._sources = sources
        self.scratch = scratch

    def get(self, role: Role, ref: MediaRef, check_cancel: Callable[[], None]) -> Path:
        if ref.url is None:
            return stored_input(role, self._job_id, self._artifacts)
        into = self.scratch / f"input-{role}"
        fetch(ref.url, role, self._sources, into, check_cancel)
        return into

    def speech(self) -> Recording:
        """Return what the service has spoken for this job. Raises AttemptFailed (`input_gone`)."""
        recording = find_speech(self._artifacts, self._job_id)
        if recording is None:
            message = "what was spoken for this job no longer exists"
            raise AttemptFailed(FailureKind.INTERNAL, "input_gone", message, of_model=False)
        return recording


def _voice(
    request: AvatarRequest, files: _Files, check_cancel: Callable[[], None]
) -> tuple[Path, SpeechFacts | None]:
    """Return the file of the voice, and the facts of a text that was spoken."""
    if request.audio is not None:
        return files.get("audio", request.audio, check_cancel), None
    recording = files.speech()
    return recording.file, recording.facts


def _unspoken_warnings(facts: SpeechFacts | None) -> tuple[str, ...]:
    """Name the words that the voice did not read, if there are such."""
    words = () if facts is None else tuple(dict.fromkeys(facts.unspoken))
    if not words:
        return ()
    names = ", ".join(repr(word[:_MAX_LETTERS]) for word in words[:_MAX_NAMES])
    rest = f" and {len(words) - _MAX_NAMES} more" if len(words) > _MAX_NAMES else ""
    return (f"text: the voice does not read {names}{rest}: not spoken, nor in the captions",)


def _captions(
    request: AvatarRequest,
    facts: SpeechFacts | None,
    sound: NDArray[np.int16],
    video_seconds: float,
    scratch: Path,
) -> tuple["BurnIn | None", tuple[str, ...]]:
    """Write the captions up to the end of the video; return what draws them, and warnings."""
    if request.captions is None or request.text is None:
        return None, ()
    seconds = len(sound) / AUDIO_RATE
    misfit: tuple[str, ...] = ()
    if facts is not None and facts.words:
        transcript = Transcript(facts.words, seconds)
    else:
        silent = () if facts is None else facts.unspoken
        text = " ".join(word for word in request.text.split() if word not in silent)
        stretches = speech_stretches(sound)
        transcript = place_words(text, stretches, seconds)
        if request.audio is not None:
            misfit = _misfit_warnings(text, stretches, seconds)
    transcript = cut_transcript(transcript, video_seconds)
    cues = write_captions(transcript, request.captions, scratch)
    overlay, warnings = burn_in(cues, request.captions, request.width, request.height)
    return overlay, (*misfit, *warnings)


def _misfit_warnings(text: str, stretches: Sequence[Stretch], seconds: float) -> tuple[str, ...]:
    """Warn of a text that nobody can have spoken in a recording."""
    needed = speaking_seconds(text)
    spoken = sum(end - start for start, end in stretches)
    if needed <= seconds * _MAX_PACE and needed >= spoken * _MIN_PACE:
        return ()
    room = f"it lasts {seconds:.0f} s" if needed > seconds else f"its speech lasts {spoken:.0f} s"
    return (
        "captions: the text does not fit the recording: to speak it takes about "
        f"{needed:.0f} s, and {room}; send as `text` what is said in it",
    )


def _at_least_the_minimum(sound: NDArray[np.int16]) -> NDArray[np.int16]:
    """Add silence to what was spoken of a text of a letter or two."""
    missing = math.ceil(MIN_AUDIO_SECONDS * AUDIO_RATE) - len(sound)
    # np.pad copies in any case, and ten minutes are 115 MB.
    return np.pad(sound, ((0, missing), (0, 0))) if missing > 0 else sound


def _max_bytes(sources: Sources, request: AvatarRequest) -> int:
    """Return the limit of an uploaded voice; one that was spoken has its own length."""
    return sources.max_video_bytes if request.audio is not None else 1 << 30


def _num_frames(request: AvatarRequest, sound: NDArray[np.int16]) -> int:
    seconds = len(sound) / AUDIO_RATE
    available = max(1, math.ceil(seconds * request.fps - 1e-6))
    wanted = request.num_frames
    if wanted is not None and wanted > available:
        message = f"the voice lasts {seconds:.2f} s: send duration_seconds up to that, or none"
        raise AttemptFailed(FailureKind.USER, "duration_too_long", message)
    return wanted or available


def _fit_sound(sound: NDArray[np.int16], samples: int) -> NDArray[np.int16]:
    """Cut the sound, or fill its last frame with silence."""
    whole = np.zeros((samples, 2), np.int16)
    whole[: len(sound)] = sound[:samples]
    return whole


def _to_speech_rate(audio: Audio) -> NDArray[np.float32]:
    """Mix down to mono at a third of the rate; the mean of three samples is filter enough for what
    lips need. Block by block: as floats, ten minutes have 230 MB."""
    factor = AUDIO_RATE // SPEECH_RATE
    blocks = [np.zeros(0, np.float32)]
    for start in range(0, len(audio.samples), _BLOCK):
        block = audio.samples[start : start + _BLOCK]
        mono = block.astype(np.float32).mean(axis=1) / 32768
        mono = np.pad(mono, (0, -len(mono) % factor))
        blocks.append(mono.reshape(-1, factor).mean(axis=1, dtype=np.float32))
    return np.concatenate(blocks)
