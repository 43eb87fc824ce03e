"""A thin client of the API: JSON in, JSON out, and one exception for every refusal."""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from service.cli.config import read_address, read_key, read_settings
from service.cli.exits import Exit, Stop
from service.cli.flags import Connection
from service.installation import start_command

Json = dict[str, Any]

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_UPLOAD_TIMEOUT = httpx.Timeout(120.0, connect=5.0)  # of each step, not of the whole
_AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0)  # pauses before a lost answer is asked for again
_EXITS = {401: Exit.KEY, 403: Exit.KEY, 404: Exit.NOT_FOUND, 429: Exit.IN_THE_WAY}


_NO_KEY = "give --api-key, set RUSHES_API_KEY, or run this where the service keeps its data"
_OTHER_KEY = "it was given by --api-key or RUSHES_API_KEY, or else is the one kept here"


class Unreachable(Stop):
    """No answer came. `heard`: the service may have got the request all the same."""

    def __init__(self, url: str, error: httpx.HTTPError) -> None:
        self.heard = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        reason = str(error) or type(error).__name__
        super().__init__(
            Exit.UNREACHABLE,
            f"no service answers at {url} ({reason})",
            f"start one with {start_command()}, or name another with --url or RUSHES_URL",
        )


class Problem(Stop):
    """The service refused, in its own words (RFC 9457)."""

    def __init__(self, status: int, body: Json, hint: str = "") -> None:
        self.status = status
        self.code = str(body.get("code", "http_error"))
        self.detail = str(body.get("detail", f"the service answered {status}"))
        self.errors: list[Json] = body.get("errors") or []
        exit_code = _EXITS.get(status, Exit.REFUSED if status < 500 else Exit.IN_THE_WAY)
        if any(error.get("code") == "unknown_model" for error in self.errors):
            exit_code = Exit.NOT_FOUND
        if "code" not in body:
            exit_code, hint = Exit.UNREACHABLE, hint or "is that a Rushes service?"
        lines = [str(error.get("detail")) for error in self.errors] or [self.detail]
        if status >= 500 and body.get("request_id"):
            lines.append(f"request id: {body['request_id']}")
        super().__init__(exit_code, *lines, *filter(None, [hint]))

    def in_flags(self, flags: Mapping[str, str]) -> Self:
        """The same with the flags that were typed in place of the API's names for them."""
        names = "|".join(map(re.escape, flags))
        self.args = (re.sub(rf"\b({names})\b", lambda found: flags[found[1]], str(self)),)
        return self


class Client:
    """Speaks to one service. A body that has not changed since the last look is not sent again."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # A proxy of the environment is for the world outside, not for this machine.
        local = httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(timeout=_TIMEOUT, trust_env=not local)
        self._seen: dict[str, tuple[str, Json]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    @property
    def has_key(self) -> bool:
        return bool(self._headers)

    def get(self, path: str, **query: Any) -> Json:
        known, body = self._seen.get(path, ("", {}))
        headers = {"If-None-Match": known} if known else {}
        answer = self._send("GET", path, params=query, headers=headers)
        if answer.status_code != 304:
            body = self._json(answer)
            self._seen[path] = (answer.headers.get("ETag", ""), body)
        return body

    def post(self, path: str, body: Json | None = None) -> Json:
        return self._json(self._send("POST", path, json=body))

    def put(self, path: str, body: Json) -> Json:
        return self._json(self._send("PUT", path, json=body))

    def delete(self, path: str) -> Json:
        return self._json(self._send("DELETE", path))

    def submit(self, path: str, body: Json, files: Mapping[str, Path] | None = None) -> Json:
        """Post once, however often an answer gets lost on the way: the key stays the same.

        With `files` it is a form, else JSON."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        heard = False
        for pause in _AGAIN_SECONDS:
            try:
                return self._submit(path, body, files or {}, headers)
            except Unreachable as lost:
                heard = heard or lost.heard
                if not heard:
                    raise
            time.sleep(pause)
        return self._submit(path, body, files or {}, headers)

    def _submit(
        self, path: str, body: Json, files: Mapping[str, Path], headers: dict[str, str]
    ) -> Json:
        if not files:
            return self._json(self._send("POST", path, json=body, headers=headers))
        fields = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}
        with ExitStack() as stack:
            opened = {name: stack.enter_context(file.open("rb")) for name, file in files.items()}
            more = {"data": fields, "files": opened, "timeout": _UPLOAD_TIMEOUT}
            return self._json(self._send("POST", path, headers=headers, **more))

    def download(self, url: str, file: Path) -> str:
        """Write what a signed link leads to into `file`; answers the SHA-256 of what came."""
        digest = hashlib.sha256()
        try:
            # Without our key: the link needs none, and may lead to another host.
            with (
                self._http.stream("GET", url, follow_redirects=True) as answer,
                file.open("wb") as f,
            ):
                if answer.is_error:
                    answer.read()
                    raise self._problem(answer)
                for piece in answer.iter_bytes():
                    digest.update(piece)
                    f.write(piece)
        except httpx.HTTPError as error:
            raise Unreachable(self.url, error) from error
        return digest.hexdigest()

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = self._headers | more.pop("headers", {})
        try:
            answer = self._http.request(method, self.url + path, headers=headers, **more)
        except httpx.HTTPError as error:
            raise Unreachable(self.url, error) from error
        if answer.is_error:
            raise self._problem(answer)
        return answer

    def _problem(self, answer: httpx.Response) -> Problem:
        hint = ""
        if answer.status_code == 401:
            hint = _OTHER_KEY if self._headers else _NO_KEY
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            body = {"detail": f"{self.url} answers {answer.status_code} {answer.reason_phrase}"}
        return Problem(answer.status_code, body, hint)

    def _json(self, answer: httpx.Response) -> Json:
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Stop(Exit.UNREACHABLE, f"what answers at {self.url} is not a Rushes service")
        return body


def connect(connection: Connection) -> Client:
    """Stops the command when settings, address or key cannot be right; nothing is sent yet."""
    read_settings()
    url, key = read_address(connection.url), read_key(connection.api_key)
    if key is not None and not (key.isascii() and key.isprintable()):
        raise Stop(Exit.KEY, "the API key holds characters that no key has")
    try:
        return Client(url, key)
    except httpx.InvalidURL as error:
        raise Stop(Exit.REFUSED, f"the address {url!r} cannot be right: {error}") from None


def job_path(job_id: str, action: str = "") -> str:
    """Whatever was typed stays one piece of the path."""
    return f"/v1/jobs/{quote(job_id, safe='') or '-'}{action}"
