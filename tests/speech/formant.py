"""A voice that is none of the service's: espeak-ng, which computes its sound from formants.

It comes as a library in a package of the tests alone (GPL-3), and tells the time of each sound.
"""

import ctypes
from functools import cache
from itertools import pairwise
from typing import Any

import espeakng_loader

from service.domain.speech import Phone
from service.speech.base import Spoken
from service.speech.hibari_script import PRIMARY_STRESS
from service.speech.phones import split_phone

_SYNCHRONOUS, _TELL_PHONES, _IN_IPA = 2, 1, 2
_BY_CHARACTER, _UTF_8 = 1, 1
_PHONE = 7  # the kind of an event


class _Event(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("id", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@cache
def _library() -> tuple[Any, int]:
    """The library, and the samples a second."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    folder = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, folder, _TELL_PHONES | _IN_IPA)
    assert rate > 0
    return library, rate


@cache
def speak(text: str) -> Spoken:
    library, rate = _library()
    parts: list[bytes] = []
    heard: list[tuple[float, str]] = []

    @_CALLBACK
    def receive(samples: Any, count: int, events: Any) -> int:
        number = 0
        while events[number].kind:
            event = events[number]
            if event.kind == _PHONE:
                heard.append((event.milliseconds / 1000, event.name.decode(errors="replace")))
            number += 1
        if count > 0:
            parts.append(ctypes.string_at(samples, 2 * count))
        return 0

    library.espeak_SetSynthCallback(receive)
    assert library.espeak_SetVoiceByName(b"en-us") == 0
    content = text.encode()
    size = len(content) + 1
    assert library.espeak_Synth(content, size, 0, _BY_CHARACTER, 0, _UTF_8, None, None) == 0
    phones: list[Phone] = []
    for (start, name), (end, _) in pairwise(heard):
        phones += split_phone(name, start, end, PRIMARY_STRESS in name)
    return Spoken(b"".join(parts), rate, phones=tuple(phones))
