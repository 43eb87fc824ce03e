"""A thin HTTP client of the API: JSON in, JSON out, a `Problem` for every other response."""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from service.cli.config import read_address, read_key, read_settings
from service.cli.exits import CliError, Exit
from service.cli.flags import Connection
from service.installation import start_command

Json = dict[str, Any]

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_UPLOAD_TIMEOUT = httpx.Timeout(120.0, connect=5.0)  # of each step, not of the whole
_RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0)  # pauses before a submit without a response is retried
_EXITS = {401: Exit.UNAUTHORIZED, 403: Exit.UNAUTHORIZED, 404: Exit.NOT_FOUND, 429: Exit.FAILURE}


_NO_KEY = "give --api-key, set RUSHES_API_KEY, or run this in the folder of the service"
_OTHER_KEY = "the key comes from --api-key, RUSHES_API_KEY or else the data directory"


class Unreachable(CliError):
    """No response. `may_have_arrived`: the service may have received the request all the same."""

    def __init__(self, url: str, error: httpx.HTTPError) -> None:
        self.may_have_arrived = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        reason = str(error) or type(error).__name__
        super().__init__(
            Exit.UNREACHABLE,
            f"no service responds at {url} ({reason})",
            f"start one with {start_command()}, or name another with --url or RUSHES_URL",
        )


class Problem(CliError):
    """An error response of the service (RFC 9457 problem details), or one of another server.
    `may_have_arrived`: as of Unreachable."""

    def __init__(self, status: int, body: Json, hint: str = "") -> None:
        self.status = status
        self.may_have_arrived = status >= 500
        self.code = str(body.get("code", "http_error"))
        self.detail = str(body.get("detail", f"the service responded with {status}"))
        self.errors: list[Json] = body.get("errors") or []
        exit_code = _EXITS.get(status, Exit.INVALID if status < 500 else Exit.FAILURE)
        if any(error.get("code") == "unknown_model" for error in self.errors):
            exit_code = Exit.NOT_FOUND
        if "code" not in body:
            exit_code, hint = Exit.UNREACHABLE, hint or "is that a Rushes service?"
        request_id = body.get("request_id") if status >= 500 else None
        self._notes = list(filter(None, [request_id and f"request id: {request_id}", hint]))
        lines = [str(error.get("detail")) for error in self.errors] or [self.detail]
        super().__init__(exit_code, *lines, *self._notes)

    def in_flags(self, flags: Mapping[str, str]) -> Self:
        """Name the command's flags in the message, in place of the API's fields."""
        lines = [_in_flags(error, flags) for error in self.errors] or [self.detail]
        self.args = ("\n".join([*lines, *self._notes]),)
        return self


def _in_flags(error: Json, flags: Mapping[str, str]) -> str:
    """Write an error of a field as `--seconds: must be at most 3600`."""
    # `/metadata/scene` is of the flag --metadata, `?from` of --from, `Name:` of a header.
    detail, pointer = str(error.get("detail")), str(error.get("pointer", "")).rstrip(":")
    name, *_, last = [*pointer.lstrip("/?").split("/"), pointer.lstrip("?").rpartition("/")[2]]
    for start in (f"{last}: ", f"{pointer} ", "the request: "):
        detail = detail.removeprefix(start)
    bare = "|".join(re.escape(name) for name in flags if "_" in name) or "$^"
    detail = re.sub(rf"`(\w+)`|\b({bare})\b", lambda m: _flag(m[1] or m[2], flags), detail)
    flag = flags.get(name)
    return detail if flag is None or flag in detail.split() else f"{flag}: {detail}"


def _flag(name: str, flags: Mapping[str, str]) -> str:
    return flags.get(name, name)


@contextmanager
def named_by(flags: Mapping[str, str]) -> Iterator[None]:
    """Name these flags in problems, in place of the API's fields."""
    try:
        yield
    except Problem as problem:
        raise problem.in_flags(flags) from None


class Client:
    """A client of one service; repeated GETs send the last ETag."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # The environment's proxy settings do not apply to this machine.
        local = httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(timeout=_TIMEOUT, trust_env=not local)
        self._etags: dict[str, tuple[str, Json]] = {}

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
        etag, body = self._etags.get(path, ("", {}))
        headers = {"If-None-Match": etag} if etag else {}
        response = self._send("GET", path, params=query, headers=headers)
        if response.status_code != 304:
            body = self._json(response)
            self._etags[path] = (response.headers.get("ETag", ""), body)
        return body

    def get_all(self, path: str, **query: Any) -> Json:
        """Get all pages of a list as one."""
        body = page = self.get(path, **query)
        while page["has_more"]:
            page = self.get(path, after=page["last_id"], **query)
            body = {**page, "first_id": body["first_id"], "data": [*body["data"], *page["data"]]}
        return body

    def post(self, path: str, body: Json | None = None) -> Json:
        return self._json(self._send("POST", path, json=body))

    def put(self, path: str, body: Json) -> Json:
        return self._json(self._send("PUT", path, json=body))

    def delete(self, path: str) -> Json:
        return self._json(self._send("DELETE", path))

    def submit(
        self,
        path: str,
        body: Json,
        files: Mapping[str, Path],
        idempotency_key: str,
    ) -> Json:
        """Post as JSON, or as a form if there are `files`. Lost responses are retried under the
        Idempotency-Key, so that the job is created once."""
        headers = {"Idempotency-Key": idempotency_key}
        may_have_arrived = False
        pauses = iter(_RETRY_SECONDS)
        while True:
            try:
                return self._submit(path, body, files, headers)
            except (Unreachable, Problem) as error:
                error.may_have_arrived |= may_have_arrived  # of any try
                may_have_arrived = error.may_have_arrived
                pause = next(pauses, None)
                if isinstance(error, Problem) or pause is None or not may_have_arrived:
                    raise
            time.sleep(pause)

    def _submit(
        self, path: str, body: Json, files: Mapping[str, Path], headers: dict[str, str]
    ) -> Json:
        if not files:
            return self._json(self._send("POST", path, json=body, headers=headers))
        fields = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}
        with ExitStack() as stack:
            streams = {name: stack.enter_context(file.open("rb")) for name, file in files.items()}
            options = {"data": fields, "files": streams, "timeout": _UPLOAD_TIMEOUT}
            return self._json(self._send("POST", path, headers=headers, **options))

    def download(self, url: str, file: Path) -> str:
        """Save the content of a signed URL to `file` and return its SHA-256."""
        digest = hashlib.sha256()
        try:
            # No API key: signed URLs need none, and may lead to another host.
            with (
                self._http.stream("GET", url, follow_redirects=True) as response,
                file.open("wb") as f,
            ):
                if response.is_error:
                    response.read()
                    raise self._problem(response)
                for chunk in response.iter_bytes():
                    digest.update(chunk)
                    f.write(chunk)
        except httpx.HTTPError as error:
            raise Unreachable(self.url, error) from error
        return digest.hexdigest()

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = self._headers | options.pop("headers", {})
        try:
            response = self._http.request(method, self.url + path, headers=headers, **options)
        except httpx.HTTPError as error:
            raise Unreachable(self.url, error) from error
        if response.is_error:
            raise self._problem(response)
        return response

    def _problem(self, response: httpx.Response) -> Problem:
        hint = ""
        if response.status_code == 401:
            hint = _OTHER_KEY if self._headers else _NO_KEY
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            status = f"{response.status_code} {response.reason_phrase}"
            body = {"detail": f"{self.url} responds with {status}"}
        return Problem(response.status_code, body, hint)

    def _json(self, response: httpx.Response) -> Json:
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            detail = "the response is not that of a Rushes service"
            hint = f"is {self.url} its address? --url or RUSHES_URL names another"
            raise Problem(response.status_code, {"detail": detail}, hint)
        return body


def connect(connection: Connection) -> Client:
    """Build the client without sending anything.

    Raises CliError for invalid settings, address or key.
    """
    read_settings()
    url = read_address(connection.url)
    key = read_key(connection.api_key, url)
    if key is not None and not (key.isascii() and key.isprintable()):
        raise CliError(Exit.UNAUTHORIZED, "the API key has characters that no key can have")
    try:
        return Client(url, key)
    except httpx.InvalidURL as error:
        raise CliError(Exit.INVALID, f"invalid address {url!r}: {error}") from None


def job_path(job_id: str, action: str = "") -> str:
    """Quote the id, so that any input stays one segment of the path."""
    return f"/v1/jobs/{quote(job_id, safe='') or '-'}{action}"
