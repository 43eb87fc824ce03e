"""`rushes video` whose answer is lost: no job is paid twice."""

import re
import shlex
import signal
import time
from collections.abc import Iterator

import pytest

from tests.cli.conftest import TINY, Rushes
from tests.clients.faulty_proxy import Fault, FaultyProxy, Kind, faulty_proxy

pytestmark = pytest.mark.slow

TRIES = 5


@pytest.fixture
def proxy(rushes: Rushes) -> Iterator[FaultyProxy]:
    with faulty_proxy(rushes.settings["url"]) as found:
        yield found


def repeat(told: str) -> list[str]:
    line = re.search(r"this creates no second job: `rushes (.*)`", told)
    assert line is not None, told
    return shlex.split(line[1])


def keys_of(proxy: FaultyProxy) -> set[str]:
    return {seen.headers["idempotency-key"] for seen in proxy.requests("^POST")}


@pytest.mark.parametrize("kind", ["lost", "200", "404", "429", "503"])
def test_a_submit_without_an_answer_says_how_it_is_repeated(
    rushes: Rushes, proxy: FaultyProxy, kind: Kind
) -> None:
    command = ("video", "A cat's boat", *TINY, "-o", "clip.mp4", "--url", proxy.url)
    last = Fault("^POST", kind, times=TRIES - 1 if kind == "lost" else 1)
    proxy.faults = [Fault("^POST", "lost"), last]
    before = _ids(rushes)

    lost = rushes(*command)
    again = rushes(*repeat(lost.stderr))

    assert lost.returncode == 6
    assert (again.returncode, again.stdout[:14]) == (0, "saved clip.mp4"), again.stderr
    assert len(keys_of(proxy)) == 1
    assert len(_ids(rushes) - before) == 1


def _ids(rushes: Rushes) -> set[str]:
    return set(re.findall(r"job_[0-9a-v]{26}", rushes("jobs", "--limit", "100", "--json").stdout))


def test_ctrl_c_before_the_answer_says_so_and_never_shows_the_api_key(
    rushes: Rushes, proxy: FaultyProxy
) -> None:
    proxy.faults = [Fault("^POST", "lost", times=TRIES)]
    words = ["--url", proxy.url, "--api-key=secret", "--idempotency-key", "scene-12"]

    with rushes.start("video", "A cat", *words) as video:
        while not proxy.seen:
            time.sleep(0.01)
        video.send_signal(signal.SIGINT)
        _, told = video.communicate(timeout=20)

    assert video.returncode == 130
    assert keys_of(proxy) == {"scene-12"}
    assert repeat(told)[2:] == [
        "--url",
        proxy.url,
        "--api-key=KEY",
        "--idempotency-key",
        "scene-12",
    ]


@pytest.mark.parametrize("key", ["a b", " ", "", "ключ"])
def test_a_key_that_is_none_is_refused_by_its_flag(rushes: Rushes, key: str) -> None:
    refused = rushes("video", "A cat", "--idempotency-key", key)

    assert refused.returncode == 2
    assert refused.stderr == "--idempotency-key: must be 1 to 255 visible ASCII characters\n"


def test_the_same_key_is_the_same_job(rushes: Rushes) -> None:
    command = ("video", "A cat", *TINY, "--no-wait", "--idempotency-key", "scene-1")

    assert rushes(*command).stdout == rushes(*command).stdout != ""
