"""What a job begins with is brought to a file, or the job fails by whose fault it is."""

import hashlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from service.artifacts.files import Files
from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.ids import JobId
from service.egress.client import Egress, Rules
from service.workers.stages.fetch import Sources, fetch, stored_input
from tests.egress.parts import LOOPBACK, PUBLIC, Dialer, Handler, Names, Server, answers, serve
from tests.workers.inputs.pictures import gradient, saved

JOB = JobId("job_06h0cqct31vp78ap2nmi51uars")
KEY = f"inputs/{JOB}/image"
PICTURE = saved(gradient(), "PNG")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(PICTURE)


def resolve_media(folder: Path, url: str | None, sources: Sources) -> Path:
    if url is None:
        return stored_input("image", JOB, Files(folder / "artifacts"))
    fetch(url, "image", sources, folder / "input", check_cancel=lambda: None)
    return folder / "input"


def failure(folder: Path, url: str, sources: Sources) -> tuple[str, str]:
    with pytest.raises(AttemptFailed) as caught:
        resolve_media(folder, url, sources)
    assert not (folder / "input").exists()
    return caught.value.kind.value, caught.value.code


def test_what_was_kept_is_read_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PICTURE)
    Files(tmp_path / "artifacts").put(KEY, tmp_path / "a", "image/png")

    path = resolve_media(tmp_path, None, Sources())

    assert path.read_bytes() == PICTURE
    assert not (tmp_path / "input").exists()


def test_what_is_no_longer_there_is_our_fault(tmp_path: Path) -> None:
    with pytest.raises(AttemptFailed, match="no longer exists") as caught:
        resolve_media(tmp_path, None, Sources())

    assert caught.value.kind is FailureKind.INTERNAL


def test_a_url_is_fetched_into_a_file(tmp_path: Path) -> None:
    with serve(answers(OK + PICTURE)) as server:
        path = resolve_media(tmp_path, server.url, Sources(Egress(LOOPBACK)))

    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(PICTURE).digest()
    assert len(server.requests) == 1


def quick(egress: Egress, **bounds: int) -> Sources:
    """Sources that wait for nothing."""
    return Sources(egress, sleep=lambda _: None, **bounds)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", ("user", "url_failed")),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", ("user", "url_failed")),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n",
            ("user", "url_refused"),
        ),
        (b"secret of another protocol\r\n\r\n", ("user", "url_failed")),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100_001), ("user", "url_too_large")),
    ],
    ids=["404", "403", "redirect", "no HTTP", "too large"],
)
def test_what_will_not_pass_is_the_senders_and_is_tried_once(
    tmp_path: Path, answer: bytes, found: tuple[str, str]
) -> None:
    with serve(answers(answer)) as server:
        sources = quick(Egress(LOOPBACK), max_image_bytes=100_000)

        assert failure(tmp_path, server.url, sources) == found
        assert len(server.requests) == 1


def reset(server: Server, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


PASSING: dict[str, Handler] = {
    "503": answers(b"HTTP/1.1 503 Unavailable\r\n\r\n"),
    "429": answers(b"HTTP/1.1 429 Too Many Requests\r\n\r\n"),
    "cut off": answers(OK + PICTURE[:40]),
    "empty": answers(b""),
    "reset": reset,
}


@pytest.mark.parametrize("trouble", PASSING)
def test_what_may_pass_is_waited_for(tmp_path: Path, trouble: str) -> None:
    pauses: list[float] = []

    def twice(server: Server, connection: socket.socket) -> None:
        good = len(server.requests) > 2
        (answers(OK + PICTURE) if good else PASSING[trouble])(server, connection)

    with serve(twice) as server:
        sources = Sources(Egress(LOOPBACK), sleep=pauses.append)
        path = resolve_media(tmp_path, server.url, sources)

    assert path.read_bytes() == PICTURE
    assert len(server.requests) == 3
    assert sum(pauses) == 0.5 + 2.0


@pytest.mark.parametrize("trouble", PASSING)
def test_what_does_not_pass_is_tried_again_by_another_attempt(tmp_path: Path, trouble: str) -> None:
    pauses: list[float] = []
    with serve(PASSING[trouble]) as server:
        sources = Sources(Egress(LOOPBACK), sleep=pauses.append)

        assert failure(tmp_path, server.url, sources) == ("transient", "url_unavailable")
        assert len(server.requests) == 4

    assert sum(pauses) == 0.5 + 2.0 + 5.0


class SlowHost:
    """A host that refuses a connection after `seconds` of a clock that only this moves."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self.timeouts: list[float] = []
        self._seconds = seconds

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        self.timeouts.append(timeout)
        self.wait(self._seconds)
        raise ConnectionRefusedError("nobody listens")

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def sources(self) -> Sources:
        egress = Egress(Rules(), resolve=Names({"a.example": [[PUBLIC]]}), connect=self.connect)
        return Sources(egress, sleep=self.wait, clock=lambda: self.now)


@pytest.mark.parametrize(
    ("seconds", "often"), [(1, "4 times"), (25, "3 times"), (40, "2 times"), (60, "once")]
)
def test_all_tries_together_have_one_minute_and_are_counted(
    tmp_path: Path, seconds: float, often: str
) -> None:
    host = SlowHost(seconds)

    with pytest.raises(AttemptFailed, match=f"it was tried {often}$"):
        resolve_media(tmp_path, "https://a.example/a.png", host.sources())

    pauses = (0.5, 2.0, 5.0)
    begins = [n * seconds + sum(pauses[:n]) for n in range(len(host.timeouts))]
    assert all(timeout <= 60 - begin for timeout, begin in zip(host.timeouts, begins, strict=True))


def test_a_cancel_ends_the_pause_before_the_next_try(tmp_path: Path) -> None:
    host = SlowHost(1)

    def cancel() -> None:
        if len(host.timeouts) == 3 and host.now >= 3 + 0.5 + 2 + 1:
            raise AttemptFailed(FailureKind.CANCELED, "canceled", "the job was canceled")

    with pytest.raises(AttemptFailed, match="canceled"):
        fetch("https://a.example/a.png", "image", host.sources(), tmp_path / "input", cancel)

    assert host.now == 3 + 0.5 + 2 + 1  # of the last pause's five seconds, one


def test_the_words_hold_nothing_of_what_was_answered(tmp_path: Path) -> None:
    with (
        serve(answers(b"HTTP/1.1 404 canary-phrase\r\n\r\ncanary-body")) as server,
        pytest.raises(AttemptFailed) as caught,
    ):
        resolve_media(tmp_path, server.url, Sources(Egress(LOOPBACK)))

    assert "404" in caught.value.message
    assert "canary" not in caught.value.message


REFUSED = [
    "https://127.0.0.1/a.png",
    "https://localhost/a.png",
    "https://0.0.0.0/a.png",
    "https://2130706433/a.png",
    "https://0x7f.1/a.png",
    "https://[::1]/a.png",
    "https://[::ffff:169.254.169.254]/a.png",
    "https://169.254.169.254/latest/meta-data/",
    "https://192.0.0.192/a.png",
    "https://168.63.129.16/a.png",
    "https://metadata.google.internal/a.png",
    "http://93.184.216.34/a.png",
    "https://93.184.216.34:22/a.png",
    "https://private.example/a.png",
    "https://half.example/a.png",
    "ftp://example.com/a.png",
]


@pytest.mark.parametrize("url", REFUSED)
def test_nothing_private_is_ever_dialled(tmp_path: Path, url: str) -> None:
    names = Names({"private.example": [["10.0.0.7"]], "half.example": [[PUBLIC, "::1"]]})
    dialer = Dialer()
    sources = Sources(Egress(Rules(), resolve=names, connect=dialer))

    assert failure(tmp_path, url, sources) == ("user", "url_refused")
    assert dialer.dialled == []


def test_a_name_that_changes_its_mind_leads_nowhere_else(tmp_path: Path) -> None:
    """Nobody listens at first; the name is judged anew when it is tried again."""
    names = Names({"rebind.example": [[PUBLIC], ["127.0.0.1"]]})
    dialer = Dialer()
    sources = quick(Egress(Rules(), resolve=names, connect=dialer))

    found = failure(tmp_path, "https://rebind.example/a.png", sources)

    assert found == ("user", "url_refused")
    assert {address for address, _ in dialer.dialled} == {PUBLIC}


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("dns", ("user", "url_failed")),
        ("connect", ("transient", "url_unavailable")),
        ("tls", ("user", "url_failed")),
    ],
)
def test_a_host_that_cannot_be_reached_fails_by_whether_that_may_pass(
    tmp_path: Path, broken: str, found: tuple[str, str]
) -> None:
    names: dict[str, list[list[str]]] = {} if broken == "dns" else {"a.example": [[PUBLIC]]}
    make: dict[str, Callable[[int], Dialer]] = {
        "dns": lambda _: Dialer(),
        "connect": lambda _: Dialer(),
        "tls": Dialer,
    }
    with serve(answers(b"no tls")) as server:
        egress = Egress(Rules(), resolve=Names(names), connect=make[broken](server.port))

        assert failure(tmp_path, "https://a.example/a.png", quick(egress)) == found


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), ("transient", "url_unavailable")),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable"), ("transient", "url_unavailable")),
        (socket.gaierror(socket.EAI_SYSTEM, "System error"), ("transient", "url_unavailable")),
        (OSError(24, "Too many open files"), ("transient", "url_unavailable")),
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), ("user", "url_failed")),
        (socket.gaierror(socket.EAI_NODATA, "No address"), ("user", "url_failed")),
        (UnicodeError("label too long"), ("user", "url_failed")),
    ],
    ids=["again", "fail", "system", "ours", "no name", "no address", "no text"],
)
def test_a_resolver_that_is_away_is_not_the_senders_fault(
    tmp_path: Path, error: Exception, found: tuple[str, str]
) -> None:
    def resolve(host: str) -> list[str]:
        raise error

    dialer = Dialer()
    sources = quick(Egress(Rules(), resolve=resolve, connect=dialer))

    assert failure(tmp_path, "https://a.example/a.png", sources) == found
    assert dialer.dialled == []
