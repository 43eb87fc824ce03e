"""The service behind nginx and Caddy, with the files of packaging/."""

import re
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from service.domain.limits import Limits
from service.settings import Settings
from tests.journey.service import KEY, Running, running
from tests.packaging.proxies import CADDY, NGINX, Proxy, programs, proxy

pytestmark = pytest.mark.slow

NAMES = ("nginx", "debian-nginx", "caddy")
MEGABYTE = 1_000_000
BOUNDARY = "a-boundary"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    if request.param not in programs():
        pytest.skip(f"needs {request.param} (Debian, as root: nginx-light)")
    return str(request.param)


def port_of(service: Running) -> int:
    port = urlsplit(str(service.client.base_url)).port
    assert port is not None
    return port


@pytest.fixture(scope="module")
def front(service: Running, name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxy(name, port_of(service), tmp_path_factory.mktemp(name)) as front:
        yield front


@pytest.fixture
def client(front: Proxy) -> Iterator[httpx.Client]:
    with through(front) as client:
        yield client


def through(front: Proxy) -> httpx.Client:
    """A client that names the proxy by the host of its file."""
    headers = {"Authorization": f"Bearer {KEY}", "Host": front.host}
    url = f"http://127.0.0.1:{front.port}"
    return httpx.Client(base_url=url, headers=headers, timeout=100, trust_env=False)


SMALL = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}


def finished(client: httpx.Client, path: str = "/generate-video") -> dict[str, Any]:
    answer = client.post(path, json=SMALL, headers={"Prefer": "wait=55"})
    job: dict[str, Any] = answer.json()
    assert job["status"] == "succeeded", answer.text
    return job


def test_a_submit_is_held_until_the_video_is_there_which_is_fetched_by_ranges(
    client: httpx.Client, front: Proxy
) -> None:
    job = finished(client)

    link = urlsplit(job["result"]["video_url"])
    assert f"{link.scheme}://{link.netloc}" == f"http://{front.host}"
    target = f"{link.path}?{link.query}"
    whole = client.get(target, headers={"Authorization": ""})
    part = client.get(target, headers={"Authorization": "", "Range": "bytes=4-7"})
    head = client.head(target)
    assert len(whole.content) == job["result"]["bytes"] == int(head.headers["content-length"])
    assert (part.status_code, part.content) == (206, whole.content[4:8])
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"
    etag = {"If-None-Match": whole.headers["etag"]}
    assert client.get(target, headers=etag).status_code == 304


def test_no_client_speaks_for_the_proxy(client: httpx.Client, front: Proxy) -> None:
    forged = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "other.test",
        "X-Forwarded-Prefix": "/other",
    }

    job = client.post("/generate-video", json=SMALL, headers=forged).json()

    assert job["urls"]["self"] == f"http://{front.host}/v1/jobs/{job['id']}"


def test_failed_logins_are_counted_by_the_clients_own_address(front: Proxy) -> None:
    def log_in(key: str, local_address: str, **headers: str) -> int:
        transport = httpx.HTTPTransport(local_address=local_address)
        with httpx.Client(transport=transport, headers={"Host": front.host}) as client:
            url = f"http://127.0.0.1:{front.port}/admin/login"
            return client.post(url, data={"key": key}, headers=headers).status_code

    for n in range(11):
        status = log_in("guess", "127.0.0.2", **{"X-Forwarded-For": f"203.0.113.{n}"})

    assert status == 429
    assert log_in(KEY, "127.0.0.3") == 303


def test_a_prefix_is_in_all_links(service: Running, name: str, tmp_path: Path) -> None:
    with (
        proxy(name, port_of(service), tmp_path, prefix="/rushes") as front,
        through(front) as client,
    ):
        base = f"http://{front.host}/rushes"
        job = finished(client, "/rushes/generate-video")

        assert job["urls"]["self"] == f"{base}/v1/jobs/{job['id']}"
        assert job["result"]["video_url"].startswith(base)
        video = client.get(job["result"]["video_url"].removeprefix(f"http://{front.host}"))
        assert len(video.content) == job["result"]["bytes"]
        described = client.get("/rushes/openapi.json").json()
        assert described["servers"] == [{"url": base}]
        page = client.get("/rushes/docs").text
        (script,) = re.findall(r'src="([^"]+)"', page)
        assert client.get(httpx.URL("/rushes/docs").join(script)).status_code == 200


@contextmanager
def begun_upload(front: Proxy, size: int, key: str = KEY) -> Iterator[HTTPConnection]:
    """A form with a video of `size` bytes, of which the head and half a megabyte are sent."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na ball\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="video"; filename="v.mp4"\r\n'
        "Content-Type: video/mp4\r\n\r\n"
    ).encode()
    connection = HTTPConnection("127.0.0.1", front.port, timeout=100)
    connection.putrequest("POST", "/generate-video", skip_host=True)
    connection.putheader("Host", front.host)
    connection.putheader("Authorization", f"Bearer {key}")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(len(head) + size + len(TAIL)))
    connection.endheaders()
    connection.send(head + bytes(MEGABYTE // 2))
    try:
        yield connection
    finally:
        connection.close()


TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


def received(service: Running) -> int:
    """Bytes of the uploads that the service has not answered yet."""
    files = (service.folder / "data" / "incoming").rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def test_an_upload_goes_through_while_it_is_sent(service: Running, front: Proxy) -> None:
    size = 100 * MEGABYTE
    with begun_upload(front, size) as connection:
        deadline = time.monotonic() + 60
        while received(service) == 0:  # the rest is not sent before the service has the first part
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for _ in range(size // MEGABYTE - 1):
            connection.send(bytes(MEGABYTE))
        connection.send(bytes(MEGABYTE // 2) + TAIL)

        problem = connection.getresponse()

        assert problem.status == 422  # zeros are no video
        assert b"video" in problem.read()
    assert all(file.stat().st_size < 1_000 for file in front.folder.glob("temp/**/*"))


def sent_until_answered(connection: HTTPConnection, size: int) -> HTTPResponse:
    """Go on sending for as long as there is no answer, as curl does."""
    with suppress(ConnectionError):  # the answer is read all the same
        for _ in range(size // MEGABYTE):
            if select.select([connection.sock], [], [], 0)[0]:
                break
            connection.send(bytes(MEGABYTE))
    return connection.getresponse()


def test_an_upload_that_is_too_large_or_by_a_stranger_is_refused_in_the_services_words(
    front: Proxy,
) -> None:
    for size, key, status in ((900 * MEGABYTE, KEY, 413), (90 * MEGABYTE, "wrong", 401)):
        with begun_upload(front, size, key) as connection:
            answer = sent_until_answered(connection, size)

            assert answer.status == status
            assert answer.getheader("Content-Type") == "application/problem+json"


def test_connections_to_the_service_are_kept_for_the_next_request(
    client: httpx.Client, service: Running
) -> None:
    def opened() -> set[str]:
        target = f"0100007F:{port_of(service):04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {row[1] for row in rows if row[2] == target and row[3] == "01"}

    client.get("/livez")
    before = opened()
    for _ in range(20):
        client.get("/livez").raise_for_status()

    assert before & opened()


def test_an_event_arrives_while_the_stream_is_open(client: httpx.Client) -> None:
    """It would be open for longer than this client waits for a byte."""
    with client.stream("GET", "/v1/events") as stream:
        lines = stream.iter_lines()
        next(lines)  # from now on
        job = client.post("/generate-video", json=SMALL).json()

        line = next(line for line in lines if job["id"] in line)

    assert line.startswith("data: ")


def test_what_the_proxies_wait_for_is_longer_than_what_the_service_holds() -> None:
    """Times that no test waits for; Caddy has no limit for a response."""
    (read,) = re.findall(r"proxy_read_timeout (\d+)s;", NGINX.read_text())
    kept = re.findall(r"keepalive(?:_timeout)? (\d+)s", NGINX.read_text() + CADDY.read_text())

    assert int(read) > max(Limits().max_wait, Limits().max_stream).total_seconds()
    assert len(kept) == 2
    assert max(map(int, kept)) < Settings(_env_file=None).keep_alive_seconds
