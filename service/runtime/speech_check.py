"""Check at the submit that a voice can speak a text, and what that will cost."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from anyio import to_thread

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.avatar import AvatarRequest
from service.domain.errors import FieldError, RequestRefused
from service.domain.ids import KeyId
from service.domain.request import JobRequest
from service.runtime.runtime import Runtime
from service.speech.base import check_speed, check_text

log = logging.getLogger(__name__)

T = TypeVar("T")

_POINTERS = {"voice": "/voice", "speed": "/speed", "text": "/text"}  # by the start of a code


async def check_speech(runtime: Runtime, key_id: KeyId, request: JobRequest) -> float:
    """Return about how many US dollars the speech of a request will cost.

    Raises RequestRefused naming the field that its voice cannot speak by. Where voices cannot be
    searched now, the request passes, and waits for its voice.
    """
    if not isinstance(request, AvatarRequest) or not request.needs_speech:
        return 0.0
    return await _refusing(runtime, partial(_check, runtime, key_id, request)) or 0.0


async def check_voice(runtime: Runtime, key_id: KeyId, voice_id: str) -> None:
    """Raise RequestRefused for a voice that this key cannot use."""
    await _refusing(runtime, partial(runtime.voices.find, voice_id, key_id))


async def _refusing(runtime: Runtime, check: Callable[[], T]) -> T | None:
    """Run a check in a thread, and name the field that it refuses; None where it cannot be done
    now."""
    try:
        return await to_thread.run_sync(check, limiter=runtime.voice_threads)
    except AttemptFailed as failure:
        if failure.kind is not FailureKind.USER:
            log.warning(
                "voice cannot be checked", extra={"code": failure.code, "kind": failure.kind}
            )
            return None
        pointer = _POINTERS[failure.code.partition("_")[0]]
        raise RequestRefused([FieldError(pointer, failure.message, failure.code)]) from None


def _check(runtime: Runtime, key_id: KeyId, request: AvatarRequest) -> float:
    voice, text = runtime.voices.find(request.voice, key_id), request.text or ""
    check_text(text)
    check_speed(request.speed, voice.info.min_speed, voice.info.max_speed)
    return voice.expected_usd(text)
