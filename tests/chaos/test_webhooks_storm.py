"""Webhooks to a receiver that fails and dies, from a service that dies: each event arrives."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.api.webhook_body import WebhookBodies
from service.domain.event import Delivery, DeliveryFilter, DeliveryState
from service.domain.ids import KeyId
from service.domain.job import OWN_API, Scope
from service.domain.limits import Limits
from service.egress.client import Egress, Rules
from service.lifecycle.jobs import request_cancel
from service.store import deliveries
from service.store.database import Database
from service.webhooks.deliver import Sender
from tests import make
from tests.chaos.api_alone import ApiAlone, api_alone
from tests.chaos.patient import NO_LIMITS, Patient
from tests.chaos.scale import rounds, tell
from tests.chaos.sqlite_file import change, let_leases_end, rows
from tests.chaos.worker_alone import TOKEN, worker_alone
from tests.egress.parts import PUBLIC, TRUSTS_NOBODY, Dialer, Names, canary
from tests.egress.test_names import NOT_PUBLIC
from tests.egress.test_target import HOSTS
from tests.make import submit
from tests.webhooks.receiver import Receiver, body_of, receiving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_CLIENTS = 4
_ONE_IN = 10  # jobs is made by a worker; the others are canceled, which ends them sooner
_SECONDS = 900.0  # until every event must have arrived


def test_every_event_arrives_under_one_id_with_the_same_bytes(tmp_path: Path) -> None:
    with storm(tmp_path) as here:
        ids = here.order_all(rounds(60, 1000))
        jobs = here.wait_for_jobs()
        replays = here.deliver_the_rest()

        owed = here.deliveries()
        got = here.receivers.got()
        secret = Webhook(here.client.get("/v1/webhook-secret")["secret"])

    events = _events(got)
    tries = [one for delivery in owed for one in delivery["tries"]]
    tell(
        "webhook storm",
        jobs=len(jobs),
        succeeded=sum(job["status"] == "succeeded" for job in jobs),
        events=len(events),
        requests=len(got),
        duplicates=len(got) - len(events),
        tries=len(tries),
        failed_tries=sum(one["status"] != 200 for one in tries),
        replays=replays,
        receivers_killed=here.receivers.killed,
        cut_off=here.client.cut_off,
    )
    assert {job["id"] for job in jobs} == ids
    assert {"succeeded", "canceled"} <= {job["status"] for job in jobs}
    assert {delivery["status"] for delivery in owed} == {"delivered"}
    assert Counter(delivery["job_id"] for delivery in owed) == Counter(ids)
    assert set(events) == {(job["id"], f"job.{job['status']}") for job in jobs}
    assert {one["status"] for one in tries} > {200, 500}
    for requests in events.values():
        assert len({one["headers"]["webhook-id"] for one in requests}) == 1
        assert len({one["body"] for one in requests}) == 1
    assert all(_is_signed(one, secret) for one in got)


def _events(got: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What came, by job and event."""
    events = defaultdict(list)
    for one in got:
        body = json.loads(body_of(one))
        events[body["data"]["id"], body["type"]].append(one)
    return dict(events)


def _is_signed(one: dict[str, Any], secret: Webhook) -> bool:
    """By the independent library; its `verify` would refuse what came five minutes ago."""
    headers = one["headers"]
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    expected = secret.sign(headers["webhook-id"], at, body_of(one).decode())
    return expected in headers["webhook-signature"].split(" ")


@dataclass
class Receivers:
    """One receiver after another, on one port and with one log."""

    log: Path
    stack: ExitStack
    killed: int = -1

    def __post_init__(self) -> None:
        self._start(0)

    def url(self) -> str:
        return self._now.url("flaky")

    def got(self) -> list[dict[str, Any]]:
        return self._now.got("flaky")

    def kill(self) -> None:
        """`kill -9`; for a moment nobody listens."""
        self._now.process.kill()
        self._now.process.wait()
        time.sleep(0.3)
        self._start(self._now.port)

    def _start(self, port: int) -> None:
        self._now: Receiver = self.stack.enter_context(receiving(self.log, port))
        self.killed += 1


@dataclass
class Storm:
    folder: Path
    api: ApiAlone
    client: Patient
    receivers: Receivers

    def order_all(self, number: int) -> set[str]:
        """Submit and end jobs; the receiver dies, the API dies, and the receiver once more."""
        kills: list[Callable[[], None]] = [
            self.receivers.kill, self.kill_api, self.receivers.kill, lambda: None
        ]  # fmt: skip
        names = [range(start, number, len(kills)) for start in range(len(kills))]
        ids: set[str] = set()
        with ThreadPoolExecutor(_CLIENTS) as pool:
            for some, kill in zip(names, kills, strict=True):
                ordering = [pool.submit(self._order, name) for name in some]
                ordering[len(ordering) // 2].result()
                kill()
                ids |= {ordered.result() for ordered in ordering}
        return ids

    def _order(self, number: int) -> str:
        ask = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}
        answer = self.client.send(
            "POST",
            "/generate-video",
            json={**ask, "webhook_url": self.receivers.url()},
            headers={"Idempotency-Key": f"job-{number}"},
        )
        assert answer.status_code == 202, answer.text
        job_id = str(answer.json()["id"])
        if number % _ONE_IN:
            answer = self.client.send("POST", f"/v1/jobs/{job_id}/cancel")
            assert answer.status_code in (200, 202), answer.text
        return job_id

    def kill_api(self) -> None:
        """`kill -9`. What it was sending is tried again a minute later, unless told otherwise."""
        self.api.end()
        let_leases_end(self.folder, "deliveries", "turns")
        self.api.start()

    def wait_for_jobs(self) -> list[dict[str, Any]]:
        """All of them, once all are final."""
        deadline = time.monotonic() + _SECONDS
        while True:
            jobs = self.client.jobs()
            if all(job["finished_at"] for job in jobs):
                return jobs
            assert time.monotonic() < deadline, "some jobs do not end"
            time.sleep(0.2)

    def deliver_the_rest(self) -> int:
        """What failed is due in five seconds, then in five minutes: here it is due at once.

        The database is told so while the service runs, as the clock would tell it; a delivery
        that is being tried is left alone. One of which every try failed is replayed. Answers how
        many these were.
        """
        deadline = time.monotonic() + _SECONDS
        replayed = 0
        while left := rows(
            self.folder, "SELECT id, state FROM deliveries WHERE state <> 'delivered'"
        ):
            assert time.monotonic() < deadline, f"{len(left)} events have not arrived"
            change(
                self.folder,
                "UPDATE deliveries SET next_at = 0 WHERE state = 'pending' AND lease_until IS NULL",
            )
            for dead in (delivery_id for delivery_id, state in left if state == "dead"):
                self.client.send("POST", f"/v1/webhook-deliveries/{dead}/replay")
                replayed += 1
            time.sleep(0.5)
        return replayed

    def deliveries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {"has_more": True, "last_id": None}
        while page["has_more"]:
            after = f"&after={page['last_id']}" if page["last_id"] else ""
            page = self.client.get(f"/v1/webhook-deliveries?limit=100{after}")
            found += page["data"]
        return found


@contextmanager
def storm(folder: Path) -> Iterator[Storm]:
    settings = {**NO_LIMITS, "worker_token": TOKEN, "webhooks_allow_loopback": True}
    with (
        ExitStack() as stack,
        api_alone(folder, **settings) as api,
        worker_alone(api),
        closing(Patient(api.url)) as client,
    ):
        yield Storm(folder, api, client, Receivers(folder / "received", stack))


def test_a_refused_address_is_refused_at_the_door(tmp_path: Path) -> None:
    with canary() as listening:
        urls = [
            url
            for host in HOSTS
            for url in (f"https://{host}/", f"https://{host}:{listening.port}/latest/meta-data")
        ]
        with (
            api_alone(tmp_path, egress_ports=[443, listening.port]) as api,
            closing(Patient(api.url)) as client,
        ):
            answers = []
            for url in urls:
                ask = {"prompt": "a red ball", "webhook_url": url}
                answers.append(client.send("POST", "/generate-video", json=ask))
                answers.append(client.send("POST", "/v1/webhook-endpoints", json={"url": url}))

            jobs = client.jobs()
            endpoints = client.get("/v1/webhook-endpoints")["data"]
            owed = client.get("/v1/webhook-deliveries")["data"]
        sang = listening.sang()
    tell("refused at the door", hosts=len(HOSTS), urls=len(urls), refusals=len(answers))
    assert len(HOSTS) >= 25
    assert {(answer.status_code, answer.json()["errors"][0]["code"]) for answer in answers} == {
        (422, "refused_url")
    }
    assert (jobs, endpoints, owed) == ([], [], [])
    assert not sang


def test_nothing_is_sent_to_a_refused_address(
    db: Database, key_id: KeyId, clock: make.FakeClock
) -> None:
    """A name is not known by its text: what it leads to is judged at each try."""
    answers = {}
    for number, address in enumerate(NOT_PUBLIC):
        answers[f"a{number}.example.com"] = [[address]]
        answers[f"b{number}.example.com"] = [[PUBLIC, address]]
        answers[f"c{number}.example.com"] = [[address, PUBLIC], [address]]
    names, dialer = Names(answers), Dialer()
    egress = Egress(Rules(), resolve=names, connect=dialer, ssl_context=TRUSTS_NOBODY)
    bodies = WebhookBodies(b"secret", "https://video.example.com")
    sender = Sender(db, egress, {OWN_API: bodies.render}, clock)
    literal = [f"[{address}]" if ":" in address else address for address in NOT_PUBLIC]
    hosts = [*answers, *(host for host in literal if "%" not in host)]
    for host in hosts:
        _end_a_job(db, key_id, f"https://{host}/hook", clock)

    tries = []
    for _ in range(2):
        tries += [sender.send(delivery.id) for delivery in _owed(db, key_id)]
        clock.advance(60)

    tell("refused when sent", hosts=len(hosts), tries=len(tries), sockets=len(dialer.dialled))
    assert {one.error for one in tries if one is not None} == {"address_refused"}
    assert None not in tries
    assert dialer.dialled == []
    assert sorted(names.asked) == sorted(2 * list(answers))
    assert {one.state for one in _owed(db, key_id)} == {DeliveryState.PENDING}


def _end_a_job(db: Database, key_id: KeyId, url: str, clock: make.FakeClock) -> None:
    asked = make.submission(key_id, webhook_url=url)
    job = make.do(db, lambda tx: submit(tx, asked, Limits(), clock())).job
    make.do(db, lambda tx: request_cancel(tx, job.id, Scope(key_id), clock()))


def _owed(db: Database, key_id: KeyId) -> list[Delivery]:
    return db.read(lambda tx: deliveries.page(tx, key_id, size=1000, filters=DeliveryFilter()))
