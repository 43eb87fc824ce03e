"""Write the captions of a video, and get them ready to be drawn on its frames."""

import json
from collections.abc import Callable
from pathlib import Path

from service.domain.artifact import CAPTION_RULES, CaptionFormat
from service.domain.avatar import CaptionSettings
from service.media import captions as texts
from service.media.captions import Cue, Transcript
from service.workers.burn_in import BurnIn, missing_scripts

_WRITERS: dict[CaptionFormat, Callable[[Transcript, list[Cue]], str]] = {
    "vtt": lambda _, cues: texts.vtt(cues),
    "srt": lambda _, cues: texts.srt(cues),
    "json": lambda transcript, _: json.dumps(
        texts.remotion_captions(transcript), ensure_ascii=False
    ),
}


def write_captions(transcript: Transcript, wanted: CaptionSettings, scratch: Path) -> list[Cue]:
    """Write the file in the format that was requested, and return the cues."""
    cues = texts.cues(transcript)
    content = _WRITERS[wanted.format](transcript, cues)
    (scratch / CAPTION_RULES[wanted.format].file).write_text(content, encoding="utf-8")
    return cues


def burn_in(
    cues: list[Cue], wanted: CaptionSettings, width: int, height: int
) -> tuple[BurnIn | None, tuple[str, ...]]:
    """Return what draws the cues, if that was requested, and warnings of scripts without a font."""
    if not wanted.burn_in:
        return None, ()
    return BurnIn(cues, width, height), missing_scripts(cues)
