"""HTTP client of ElevenLabs: one request a call, no retries, and its errors as failures."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, TypeAlias

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from service.domain.attempt import AttemptFailed
from service.speech.base import ProviderBusy, provider_failure, text_failure

BASE_URL = "https://api.elevenlabs.io"
NAME = "ElevenLabs"
_MAX_BYTES = 64 << 20  # of a response: 15 minutes of speech in base64
_MAX_REASON_CHARACTERS = 200
_MAX_RETRY_SECONDS = 3600.0  # a longer Retry-After is not believed
_UNKNOWN_VOICE = frozenset({"voice_not_found", "voice_does_not_exist"})
_BUSY_STATUSES = frozenset({408, 409, 425, 429})

# Each part of a form: its field, and the file's name, content and type.
Files: TypeAlias = Sequence[tuple[str, tuple[str, BinaryIO, str]]]


@dataclass(frozen=True)
class Account:
    """An account with ElevenLabs, and its options. Raises ValueError for values that cannot work.

    `usd_per_character` is the price of a credit, of which most models take one a character.
    """

    api_key: str = field(repr=False)
    usd_per_character: float
    base_url: str = BASE_URL
    model_id: str = "eleven_multilingual_v2"
    max_time: timedelta = timedelta(seconds=120)  # for a whole request

    def __post_init__(self) -> None:
        if not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key.strip()):
            raise ValueError("the API key of ElevenLabs has characters that no key has")
        if not re.match(r"https?://[^/\s]", self.base_url):
            raise ValueError("the base URL of ElevenLabs must begin with https:// or http://")


@dataclass(frozen=True)
class Response:
    """A successful response."""

    content: bytes
    headers: httpx.Headers


class WrongResponse(ProviderBusy):
    """Raised for a 2xx response that cannot be read; a proxy's own may be one."""


class _Detail(BaseModel):
    """The reason in an error; `msg` is that of a field that does not validate."""

    status: str | None = None
    code: str | None = None
    message: str | None = None
    msg: str | None = None


class _Error(BaseModel):
    detail: _Detail | list[_Detail] | str


class Api:
    """Sends requests with the account's key. Thread-safe."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Mapping[str, Any] | None = None,
        data: Mapping[str, str] | None = None,
        files: Files | None = None,
    ) -> Response:
        """Send a request and return its 2xx response. It ends within the account's time, and as
        much more where the server stops within a response.

        Raises AttemptFailed: transient (ProviderBusy) for 408, 409, 425, 429, 5xx, time-outs and
        cut connections; user for the request's own faults; internal for the account's.
        """
        request = {"params": params, "json": json, "data": data, "files": files}
        try:
            return self._exchange(method, path, {k: v for k, v in request.items() if v is not None})
        except httpx.TimeoutException:
            raise ProviderBusy("voice_timeout", f"{NAME} does not respond in time") from None
        except httpx.TransportError as error:
            # Its text may quote the request.
            message = f"the connection to {NAME} broke off ({type(error).__name__})"
            raise ProviderBusy("voice_unreachable", message) from None
        except httpx.DecodingError:
            raise wrong_response("it is not encoded as it says") from None

    def _exchange(self, method: str, path: str, request: dict[str, Any]) -> Response:
        account = self.account
        deadline = time.monotonic() + account.max_time.total_seconds()
        with (
            httpx.Client(
                base_url=account.base_url,
                headers={"xi-api-key": account.api_key, "User-Agent": "Rushes"},
                timeout=account.max_time.total_seconds(),  # nothing is sent until all is spoken
                trust_env=False,
            ) as client,
            client.stream(method, path, **request) as response,
        ):
            content = b"".join(_chunks(response, deadline))
            if not response.is_success:
                raise self._failure(response, content)
            return Response(content, response.headers)

    def _failure(self, response: httpx.Response, content: bytes) -> AttemptFailed:
        code, reason = _reason(content)
        reason = _printable(reason.replace(self.account.api_key, "…"))
        said = f"{NAME} answers {response.status_code}" + (f": {reason}" if reason else "")
        if response.status_code in _BUSY_STATUSES or response.status_code >= 500:
            retry_after = _retry_after(response.headers.get("retry-after", ""))
            if retry_after is not None:
                said += f" (try again in {retry_after:g} s)"
            return ProviderBusy("voice_provider_busy", said, retry_after)
        if response.status_code == 402 or "quota" in code:
            return provider_failure("voice_quota_exceeded", said)
        if response.status_code in (401, 403):
            message = f"the key of this service (ELEVENLABS_API_KEY) is refused: {said}"
            return provider_failure("voice_key_refused", message)
        if response.status_code == 404 or code in _UNKNOWN_VOICE:
            return text_failure("voice_unknown", said)
        if 400 <= response.status_code < 500:
            return text_failure("voice_request_refused", said)
        return provider_failure("voice_response_invalid", said)


def parse(response: Response, kind: type[Any]) -> Any:
    """Parse a response's JSON as `kind`. Raises WrongResponse."""
    try:
        return TypeAdapter(kind).validate_json(response.content)
    except ValidationError:
        raise wrong_response("its JSON has not the expected form") from None


def wrong_response(reason: str) -> WrongResponse:
    message = f"the response of {NAME} cannot be read: {reason}"
    return WrongResponse("voice_response_invalid", message)


def _chunks(response: httpx.Response, deadline: float) -> Iterator[bytes]:
    """Yield the body. Raises ReadTimeout after the deadline, and AttemptFailed if it is too
    large."""
    num_bytes = 0
    for chunk in response.iter_bytes():
        num_bytes += len(chunk)
        if num_bytes > _MAX_BYTES:
            raise wrong_response(f"it has more than {_MAX_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the whole response takes too long", request=response.request)
        yield chunk


def _reason(content: bytes) -> tuple[str, str]:
    """Return the code and the sentence of an error's body, "" each if it has none."""
    try:
        detail = _Error.model_validate(json.loads(content)).detail
    except ValueError:
        return "", ""
    if isinstance(detail, str):
        return "", detail
    details = detail if isinstance(detail, list) else [detail]
    codes = (part.status or part.code or "" for part in details)
    sentences = (part.message or part.msg or "" for part in details)
    return next(codes, ""), "; ".join(filter(None, sentences))


def _printable(text: str) -> str:
    letters = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(letters.split())[:_MAX_REASON_CHARACTERS]


def _retry_after(value: str) -> float | None:
    """Read the header Retry-After, in seconds or as a date."""
    if re.fullmatch(r"\d{1,9}", value):
        seconds = float(value)
    else:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # TypeError: a date without its zone
            return None
    return min(max(0.0, seconds), _MAX_RETRY_SECONDS)
