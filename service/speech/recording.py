"""Speech of a job in the artifact store, beside the job's inputs."""

import wave
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from service.domain.attempt import ArtifactStore, speech_keys
from service.domain.ids import JobId
from service.domain.speech import Phone, SpeechUsage, Word
from service.speech.base import Spoken


class SpeechFacts(BaseModel):
    """The times of words and sounds, and the words left out, as in Spoken; what the speech took."""

    model_config = ConfigDict(frozen=True)

    usage: SpeechUsage
    words: tuple[Word, ...] = ()
    phones: tuple[Phone, ...] | None = None
    unspoken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """Stored speech: a WAV file, which must not be modified, and its facts."""

    file: Path
    facts: SpeechFacts

    @property
    def size_bytes(self) -> int:
        return self.file.stat().st_size


def store_speech(
    artifacts: ArtifactStore, job_id: JobId, speech: Spoken, usage: SpeechUsage, scratch: Path
) -> Recording:
    """Store speech durably: its facts last, so that where they are the sound is, too."""
    sound_key, _ = speech_keys(job_id)
    file = scratch / "speech.wav"
    write_wav(speech, file)
    artifacts.put(sound_key, file, "audio/wav")
    facts = SpeechFacts(
        usage=usage, words=speech.words, phones=speech.phones, unspoken=speech.unspoken
    )
    return store_facts(artifacts, job_id, facts, scratch)


def store_facts(
    artifacts: ArtifactStore, job_id: JobId, facts: SpeechFacts, scratch: Path
) -> Recording:
    """Store the facts of speech whose sound is stored."""
    _, facts_key = speech_keys(job_id)
    file = scratch / "speech.json"
    file.write_text(facts.model_dump_json())
    artifacts.put(facts_key, file, "application/json")
    recording = find_speech(artifacts, job_id)
    assert recording is not None, "stored just now"
    return recording


def find_speech(artifacts: ArtifactStore, job_id: JobId) -> Recording | None:
    """Return what was spoken for a job; None if nothing was, or it was deleted."""
    sound, facts = map(artifacts.path, speech_keys(job_id))
    if sound is None or facts is None:
        return None
    return Recording(sound, SpeechFacts.model_validate_json(facts.read_bytes()))


def write_wav(speech: Spoken, file: Path) -> None:
    with wave.open(str(file), "wb") as target:
        target.setparams((1, 2, speech.rate, 0, "NONE", ""))
        target.writeframes(speech.samples)
