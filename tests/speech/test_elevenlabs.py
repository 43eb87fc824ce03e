"""Voices of ElevenLabs against a server on loopback: speech, failures, lists, clones."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.speech import SpeechQuota
from service.speech.base import ProviderBusy, UnusableSpeech, UploadedRecording
from service.speech.elevenlabs import ElevenLabs, ElevenLabsVoice
from service.speech.elevenlabs_api import Account
from tests.speech.provider import (
    CLONE,
    KEY,
    VOICE,
    Provider,
    Reply,
    Request,
    problem,
    serve,
    speech,
)
from tests.speech.sound import levels

TEXT = "Hi, it's \n me!"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serve() as provider:
        yield provider


def account(provider: Provider, key: str = KEY, **options: object) -> Account:
    return Account(key, 0.0002, base_url=provider.url, **options)  # type: ignore[arg-type]


def voice(provider: Provider, key: str = KEY, **options: object) -> ElevenLabsVoice:
    return ElevenLabs(account(provider, key, **options)).voice(VOICE)


def failure(voice: ElevenLabsVoice, text: str = TEXT, speed: float = 1.0) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        voice.speak(text, seed=1, speed=speed)
    return caught.value


def test_a_text_is_sent_and_spoken(provider: Provider) -> None:
    spoken = voice(provider).speak(TEXT, seed=(1 << 32) + 7, speed=1.1)

    (request,) = provider.requests
    assert request.method == "POST"
    path = f"/v1/text-to-speech/{VOICE}/with-timestamps?output_format=pcm_24000"
    assert request.path == path
    assert request.json == {
        "text": TEXT,
        "model_id": "eleven_multilingual_v2",
        "seed": 7,
        "voice_settings": {"speed": 1.1},
    }
    assert spoken.rate == 24_000
    assert spoken.seconds == pytest.approx(len(TEXT) * 0.1)
    assert levels(spoken).max() == pytest.approx(9000 / 32768, abs=0.001)
    assert spoken.phones is None


def test_the_quota_of_the_account_is_read(provider: Provider) -> None:
    resets_at = datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert voice(provider).quota() == SpeechQuota(used=1250, limit=100_000, resets_at=resets_at)


def test_a_quota_that_the_key_may_not_read_or_that_says_nothing_is_none(provider: Provider) -> None:
    missing = {"status": "missing_permissions", "message": "user_read is missing"}
    for reply in (problem(401, missing), Reply(body=b"{}"), Reply(body=b"no JSON")):
        provider.subscription = reply
        assert voice(provider).quota() is None


def test_words_have_the_times_of_their_characters(provider: Provider) -> None:
    words = voice(provider).speak(TEXT, seed=1, speed=1.0).words

    assert [word.text for word in words] == ["Hi,", "it's", "me!"]
    assert [word.start for word in words] == pytest.approx([0.0, 0.4, 1.1])
    assert [word.end for word in words] == pytest.approx([0.3, 0.8, 1.4])


def test_the_cost_is_of_the_credits_that_the_response_tells(provider: Provider) -> None:
    spoken = voice(provider).speak("a" * 100, seed=1, speed=1.0)

    assert spoken.characters == 50
    assert spoken.cost_usd == pytest.approx(50 * 0.0002)


def test_without_that_header_the_cost_is_of_the_characters(provider: Provider) -> None:
    provider.respond = lambda request: Reply(body=speech(request).body)

    spoken = voice(provider).speak("a" * 100, seed=1, speed=1.0)

    assert spoken.characters == 100
    assert spoken.cost_usd == pytest.approx(0.02)


def test_a_wrong_key_is_the_operators_fault_and_is_not_told(provider: Provider) -> None:
    refusal = failure(voice(provider, key="sk_wrong"))

    assert (refusal.kind, refusal.code) == (FailureKind.INTERNAL, "voice_key_refused")
    assert refusal.message == (
        "the key of this service (ELEVENLABS_API_KEY) is refused: "
        "ElevenLabs answers 401: Invalid API key"
    )


Detail = dict[str, object] | list[dict[str, object]] | str


@pytest.mark.parametrize(
    ("status", "detail", "kind", "code"),
    [
        (401, {"status": "quota_exceeded", "message": "0 left"}, "internal", "quota_exceeded"),
        (402, {"code": "paid_plan_required", "message": "0 left"}, "internal", "quota_exceeded"),
        (403, {"status": "missing_permissions", "message": "0 left"}, "internal", "key_refused"),
        (400, {"status": "voice_not_found", "message": "0 left"}, "user", "unknown"),
        (404, "0 left", "user", "unknown"),
        (400, {"status": "max_character_limit", "message": "0 left"}, "user", "request_refused"),
        (422, [{"loc": ["body", "x"], "msg": "0 left", "type": "v"}], "user", "request_refused"),
        (429, {"status": "too_many_concurrent_requests", "message": "0 left"}, "transient", "busy"),
        (409, {"status": "conflict", "message": "0 left"}, "transient", "busy"),
        (500, {"status": "x", "message": "0 left"}, "transient", "busy"),
        (503, "0 left", "transient", "busy"),
    ],
)
def test_a_refusal_has_its_kind_and_the_providers_reason(
    provider: Provider, status: int, detail: Detail, kind: str, code: str
) -> None:
    provider.respond = lambda _: problem(status, detail)

    refusal = failure(voice(provider))

    assert refusal.kind == kind
    assert refusal.code in (f"voice_{code}", f"voice_provider_{code}")
    assert f"{status}: 0 left" in refusal.message
    assert len(provider.requests) == 1  # nothing is tried again


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("999999", 3600.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_a_busy_provider_says_when_to_try_again(
    provider: Provider, header: str, seconds: float | None
) -> None:
    provider.respond = lambda _: problem(429, "busy", ("Retry-After", header))

    refusal = failure(voice(provider))

    assert isinstance(refusal, ProviderBusy)
    assert refusal.retry_after == seconds
    assert ("try again" in refusal.message) == (seconds is not None)


def test_a_reason_neither_quotes_the_key_nor_fills_the_message(provider: Provider) -> None:
    detail = {"message": f"key {KEY} of\nyours\x1b[31m " + "x" * 5000}
    provider.respond = lambda _: problem(403, detail)

    refusal = failure(voice(provider))

    assert KEY not in refusal.message
    assert refusal.message.isprintable()
    assert len(refusal.message) < 300


def test_an_error_without_json_is_still_one(provider: Provider) -> None:
    provider.respond = lambda _: Reply(502, b"<html>Bad gateway</html>")

    refusal = failure(voice(provider))

    assert refusal.kind == FailureKind.TRANSIENT
    assert refusal.message == "ElevenLabs answers 502"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"audio": 1}',
        b'{"audio_base64": "%%%"}',
        b'{"audio_base64": ""}',
        b'{"audio_base64": "AAAA", "alignment": {"characters": "x"}}',
    ],
)
def test_speech_of_no_use_is_asked_for_once_more_and_charged(
    provider: Provider, body: bytes
) -> None:
    provider.respond = lambda _: Reply(body=body)

    refusal = failure(voice(provider))

    assert (refusal.kind, refusal.code) == (FailureKind.INTERNAL, "voice_response_invalid")
    assert len(provider.requests) == 2
    assert isinstance(refusal, UnusableSpeech)
    characters = 2 * len(TEXT)
    assert (refusal.usage.provider, refusal.usage.characters) == ("elevenlabs", characters)
    assert refusal.usage.usd == pytest.approx(characters * 0.0002)


def test_speech_that_is_right_the_second_time_costs_both_times(provider: Provider) -> None:
    bad = [Reply(body=b"<html>")]
    provider.respond = lambda request: bad.pop() if bad else speech(request)

    spoken = voice(provider).speak(TEXT, seed=1, speed=1.0)

    assert spoken.characters == len(TEXT) + len(TEXT) // 2  # the header of the second has half
    assert spoken.cost_usd == pytest.approx(spoken.characters * 0.0002)


def test_a_provider_that_is_busy_after_speech_of_no_use_is_paid_and_asked_again(
    provider: Provider,
) -> None:
    replies = [problem(429, "busy", ("retry-after", "7")), Reply(body=b"<html>")]
    provider.respond = lambda _: replies.pop()

    busy = failure(voice(provider))

    assert isinstance(busy, ProviderBusy)
    assert (busy.kind, busy.code) == (FailureKind.TRANSIENT, "voice_provider_busy")
    assert busy.retry_after == 7
    assert busy.usage is not None
    assert (busy.usage.characters, busy.usage.usd) == (len(TEXT), pytest.approx(0.0002 * len(TEXT)))


def test_a_refusal_after_speech_of_no_use_is_final_and_paid(provider: Provider) -> None:
    replies = [problem(401, "no"), Reply(body=b"<html>")]
    provider.respond = lambda _: replies.pop()

    refusal = failure(voice(provider))

    assert isinstance(refusal, UnusableSpeech)
    assert (refusal.kind, refusal.code) == (FailureKind.INTERNAL, "voice_key_refused")
    assert refusal.usage.characters == len(TEXT)


def test_a_list_that_cannot_be_read_may_come_right(provider: Provider) -> None:
    provider.respond = lambda _: Reply(body=b"<html>")

    with pytest.raises(ProviderBusy, match="cannot be read"):
        ElevenLabs(account(provider)).voices()


def test_a_provider_may_speak_for_as_long_as_the_account_allows(provider: Provider) -> None:
    """It sends nothing before all is spoken."""
    (client,) = clients(provider, timedelta(seconds=120))

    assert client.timeout.read == 120


def clients(provider: Provider, max_time: timedelta) -> list[httpx.Client]:
    """Return the clients of a request."""
    found: list[httpx.Client] = []
    stream = httpx.Client.stream

    def spy(client: httpx.Client, *args: Any, **options: Any) -> Any:
        found.append(client)
        return stream(client, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "stream", spy)
        voice(provider, max_time=max_time).speak(TEXT, seed=1, speed=1.0)
    return found


def test_a_redirect_is_not_followed(provider: Provider) -> None:
    provider.respond = lambda _: Reply(302, headers=(("Location", f"{provider.url}/other"),))

    assert failure(voice(provider)).code == "voice_response_invalid"
    assert len(provider.requests) == 1


def shift(body: dict[str, dict[str, list[float]]]) -> None:
    starts = body["alignment"]["character_start_times_seconds"]
    starts[:] = [start + 1e6 for start in starts]


def shorten(body: dict[str, dict[str, list[float]]]) -> None:
    body["alignment"]["character_start_times_seconds"].pop()


def drop(body: dict[str, object]) -> None:
    body["alignment"] = None


@pytest.mark.parametrize(
    ("change", "num_words"), [(shift, 3), (shorten, 0), (drop, 0)], ids=["shift", "shorten", "drop"]
)
def test_words_never_leave_the_sound(
    provider: Provider, change: Callable[[dict[str, object]], None], num_words: int
) -> None:
    def respond(request: Request) -> Reply:
        body = json.loads(speech(request).body)
        change(body)
        return Reply(body=json.dumps(body).encode())

    provider.respond = respond

    spoken = voice(provider).speak(TEXT, seed=1, speed=1.0)

    assert len(spoken.words) == num_words
    assert all(0 <= word.start <= word.end <= spoken.seconds for word in spoken.words)


def test_a_cut_connection_may_come_right(provider: Provider) -> None:
    provider.respond = lambda request: Reply(body=speech(request).body, cut=True)

    refusal = failure(voice(provider))

    assert (refusal.kind, refusal.code) == (FailureKind.TRANSIENT, "voice_unreachable")


def test_a_server_that_is_not_there_may_come_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    refusal = failure(ElevenLabs(Account(KEY, 0.0, base_url=url)).voice(VOICE))

    assert (refusal.kind, refusal.code) == (FailureKind.TRANSIENT, "voice_unreachable")


def test_a_server_that_does_not_respond_is_left(provider: Provider) -> None:
    over = threading.Event()

    def respond(request: Request) -> Reply:
        over.wait(20)
        return speech(request)

    provider.respond = respond

    refusal = failure(voice(provider, max_time=timedelta(seconds=0.3)))
    over.set()

    assert (refusal.kind, refusal.code) == (FailureKind.TRANSIENT, "voice_timeout")


@pytest.mark.parametrize(
    ("text", "speed", "code"),
    [
        ("", 1.0, "text_empty"),
        ("?!", 1.0, "text_without_words"),
        ("x" * 5001, 1.0, "text_too_long"),
        ("Hello", 1.3, "speed_out_of_range"),
    ],
)
def test_a_request_that_must_fail_is_not_sent(
    provider: Provider, text: str, speed: float, code: str
) -> None:
    refusal = failure(voice(provider), text, speed)

    assert (refusal.kind, refusal.code) == (FailureKind.USER, code)
    assert provider.requests == []


@pytest.mark.parametrize("voice_id", ["", "../voices", "21m00Tcm4TlvDq8ikWAM?x=1", "short"])
def test_an_id_that_is_none_reaches_no_path(provider: Provider, voice_id: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        ElevenLabs(account(provider)).voice(voice_id)

    assert caught.value.code == "voice_unknown"


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": ""},
        {"api_key": "sk\r\nHost: x"},
        {"base_url": "api.elevenlabs.io"},
    ],
)
def test_an_account_that_cannot_work_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="of ElevenLabs"):
        Account(**{"api_key": KEY, "usd_per_character": 0.0, **options})  # type: ignore[arg-type]


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(Account(KEY, 0.0))


def item(number: int, **fields: object) -> dict[str, object]:
    return {"voice_id": f"voice{number:015}", "name": f"Voice {number}", **fields}


def test_all_pages_of_voices_are_listed(provider: Provider) -> None:
    first = item(1, category="premade", labels={"language": "en", "gender": "female", "age": None})
    second = item(2, category="cloned", labels={}, verified_languages=[{"language": "de"}])
    third = item(3, category=None, labels=None, fine_tuning={"x": 1})

    def respond(request: Request) -> Reply:
        pages = {
            "/v2/voices?page_size=100": {
                "voices": [first, second],
                "has_more": True,
                "next_page_token": "p2",
            },
            "/v2/voices?page_size=100&next_page_token=p2": {"voices": [third], "has_more": False},
        }
        return Reply(body=json.dumps(pages[request.path]).encode())

    provider.respond = respond

    infos = [voice.info for voice in ElevenLabs(account(provider)).voices()]

    assert [info.id for info in infos] == [f"elevenlabs-voice{n:015}" for n in (1, 2, 3)]
    assert [info.name for info in infos] == ["Voice 1", "Voice 2", "Voice 3"]
    assert [info.language for info in infos] == ["en", "de", ""]
    assert [info.gender for info in infos] == ["female", "", ""]
    assert [info.is_clone for info in infos] == [False, True, False]


def test_a_list_without_end_is_left(provider: Provider) -> None:
    page = {"voices": [item(1)], "has_more": True, "next_page_token": "again"}
    provider.respond = lambda _: Reply(body=json.dumps(page).encode())

    assert len(ElevenLabs(account(provider)).voices()) == 10


def form_parts(request: Request) -> list[Message]:
    """Read a multipart form with another program's parser."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + request.body).get_payload()
    assert isinstance(parts, list)
    return parts  # type: ignore[return-value]


def test_a_voice_is_cloned_from_recordings(provider: Provider, tmp_path: Path) -> None:
    body = {"voice_id": CLONE, "requires_verification": True}
    provider.respond = lambda _: Reply(body=json.dumps(body).encode())
    contents = {"audio/mpeg": b"ID3\x00\xff", "audio/wav": b"RIFF"}
    samples = []
    for number, (media_type, content) in enumerate(contents.items()):
        file = tmp_path / str(number)
        file.write_bytes(content)
        samples.append(UploadedRecording(file, media_type))

    clone = ElevenLabs(account(provider)).clone("Åsa", samples, language="sv", remove_noise=True)

    assert clone.info.id == f"elevenlabs-{CLONE}"
    assert (clone.info.name, clone.info.language) == ("Åsa", "sv")
    assert clone.info.is_clone
    assert clone.requires_verification
    (request,) = provider.requests
    assert (request.method, request.path) == ("POST", "/v1/voices/add")
    found = [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in form_parts(request)
    ]
    assert found == [
        ("name", None, "Åsa".encode()),
        ("remove_background_noise", None, b"true"),
        ("labels", None, b'{"language": "sv"}'),
        ("files", "sample-1.mp3", b"ID3\x00\xff"),
        ("files", "sample-2.wav", b"RIFF"),
    ]


def test_a_voice_is_deleted_once(provider: Provider) -> None:
    replies = [Reply(body=b'{"status": "ok"}'), problem(400, {"status": "voice_does_not_exist"})]
    provider.respond = lambda _: replies.pop(0)
    voices = ElevenLabs(account(provider))

    voices.delete(CLONE)
    voices.delete(CLONE)

    assert [request.method for request in provider.requests] == ["DELETE", "DELETE"]
    assert {request.path for request in provider.requests} == {f"/v1/voices/{CLONE}"}


def test_a_voice_that_cannot_be_deleted_is_told(provider: Provider) -> None:
    provider.respond = lambda _: problem(503, "later")

    with pytest.raises(ProviderBusy):
        ElevenLabs(account(provider)).delete(CLONE)
