"""Every change by an admin is in the audit once: by a page and by the API; and nothing else is."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from httpx import Response

from service.domain.event import EndpointId
from service.settings import Settings
from service.store import audit, deliveries
from service.store.audit import AuditEntry
from tests.admin.person import Person
from tests.admin.test_make import job_of, send
from tests.api.test_warm import Counting
from tests.api.test_warm import modal as modal
from tests.api.world import KEY, World


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhooks_allow_loopback": True})


@dataclass
class Acts:
    """Does the acts by a client of the API: an admin's, or a customer's; and by the pages."""

    admin: Person
    headers: dict[str, str]

    @property
    def world(self) -> World:
        return self.admin.world

    def api(self, method: str, path: str, **options: Any) -> Response:
        answer = self.world.client.request(method, path, headers=self.headers, **options)
        assert answer.is_success, answer.text
        return answer

    def page(self, path: str, **fields: str) -> Response:
        answer = self.admin.post(f"/admin/{path}", **fields)
        assert answer.status_code in (200, 303), answer.text
        return answer

    def form(self, path: str) -> str:
        """Send the form for a job, which must be accepted."""
        return job_of(send(self.admin, f"/admin/{path}", prompt="a tree"))

    def rows(self) -> list[AuditEntry]:
        return self.world.runtime.db.read(lambda tx: audit.page(tx, size=50))

    # What is acted on.

    def queued(self) -> str:
        job = self.api("POST", "/generate-video", json={"prompt": "a ball"}).json()
        return str(job["id"])

    def running(self) -> str:
        job = self.queued()
        self.world.begin()
        return job

    def final(self) -> str:
        job = self.queued()
        self.world.finish()
        return job

    def key(self) -> str:
        made = self.world.client.post("/v1/keys", json={"name": "studio"}).json()
        return str(made["key"]["id"])

    def endpoint(self) -> str:
        body = {"url": "http://127.0.0.1:9/hook"}
        return str(self.api("POST", "/v1/webhook-endpoints", json=body).json()["endpoint"]["id"])

    def paused(self) -> str:
        self.page("models/slate/pause")
        return "slate"

    def disabled(self) -> str:
        db, id_ = self.world.runtime.db, EndpointId(self.endpoint())
        now = datetime.now(UTC)
        db.write(
            lambda tx: deliveries.disable_endpoint(tx, id_, now=now, reason="it fails")
        ).result()
        return id_

    def settled(self) -> str:
        """A delivery that is not pending, unless its sender was at work."""
        endpoint = EndpointId(self.endpoint())
        sent = self.api("POST", f"/v1/webhook-endpoints/{endpoint}/test").json()["id"]
        db = self.world.runtime.db
        db.write(lambda tx: deliveries.disable_pending(tx, endpoint)).result()
        return str(sent)


Prepare = Callable[[Acts], str]
Act = Callable[[Acts, str], object]


@pytest.fixture
def acts(admin: Person) -> Acts:
    return Acts(admin, {"Authorization": f"Bearer {KEY}"})


# What is done, to what, and how. Those of the second list change nothing when they are repeated.
ONCE: list[tuple[str, Prepare, Act]] = [
    ("job.submit", lambda a: "", lambda a, _: a.form("new/video")),
    ("job.retry", Acts.final, lambda a, job: a.form(f"jobs/{job}/retry")),
    ("job.retry", Acts.final, lambda a, job: a.api("POST", f"/v1/jobs/{job}/retry")),
    ("job.delete", Acts.final, lambda a, job: a.page(f"jobs/{job}/delete")),
    ("job.delete", Acts.final, lambda a, job: a.api("DELETE", f"/v1/jobs/{job}")),
    ("webhook.create", lambda a: "", lambda a, _: a.endpoint()),
    (
        "webhook.test",
        Acts.endpoint,
        lambda a, id_: a.page(f"webhooks/endpoints/{id_}/test"),
    ),
    (
        "webhook.test",
        Acts.endpoint,
        lambda a, id_: a.api("POST", f"/v1/webhook-endpoints/{id_}/test"),
    ),
    (
        "webhook.rotate",
        Acts.endpoint,
        lambda a, id_: a.api("POST", f"/v1/webhook-endpoints/{id_}/rotate"),
    ),
    ("webhook.rotate", lambda a: "", lambda a, _: a.api("POST", "/v1/webhook-secret/rotate")),
    (
        "webhook.delete",
        Acts.endpoint,
        lambda a, id_: a.api("DELETE", f"/v1/webhook-endpoints/{id_}"),
    ),
    (
        "webhook.replay",
        Acts.settled,
        lambda a, id_: a.page(f"webhooks/deliveries/{id_}/replay"),
    ),
    (
        "webhook.replay",
        Acts.settled,
        lambda a, id_: a.api("POST", f"/v1/webhook-deliveries/{id_}/replay"),
    ),
    ("key.create", lambda a: "", lambda a, _: a.page("keys", name="x", role="user")),
    ("key.create", lambda a: "", lambda a, _: a.key()),
    ("key.logout", lambda a: "", lambda a, _: a.page("logout", everywhere="1")),
]
REPEATABLE: list[tuple[str, Prepare, Act]] = [
    ("job.cancel", Acts.queued, lambda a, job: a.page(f"jobs/{job}/cancel")),
    ("job.cancel", Acts.queued, lambda a, job: a.api("POST", f"/v1/jobs/{job}/cancel")),
    ("job.cancel", Acts.running, lambda a, job: a.page(f"jobs/{job}/cancel")),
    ("job.cancel", Acts.running, lambda a, job: a.api("POST", f"/v1/jobs/{job}/cancel")),
    (
        "webhook.enable",
        Acts.disabled,
        lambda a, id_: a.page(f"webhooks/endpoints/{id_}/enable"),
    ),
    (
        "webhook.enable",
        Acts.disabled,
        lambda a, id_: a.api("POST", f"/v1/webhook-endpoints/{id_}/enable"),
    ),
    ("key.budget", Acts.key, lambda a, key: a.page(f"keys/{key}/budget", budget_usd="5")),
    (
        "key.budget",
        Acts.key,
        lambda a, key: a.api("PUT", f"/v1/keys/{key}/budget", json={"budget_usd": 5}),
    ),
    ("key.revoke", Acts.key, lambda a, key: a.page(f"keys/{key}/revoke")),
    ("key.revoke", Acts.key, lambda a, key: a.api("DELETE", f"/v1/keys/{key}")),
    ("model.pause", lambda a: "", lambda a, _: a.page("models/slate/pause")),
    ("model.pause", lambda a: "", lambda a, _: a.api("PUT", "/v1/models/slate/paused")),
    ("model.resume", Acts.paused, lambda a, _: a.page("models/slate/resume")),
    ("model.resume", Acts.paused, lambda a, _: a.api("DELETE", "/v1/models/slate/paused")),
]


def names(entries: list[tuple[str, Prepare, Act]]) -> list[str]:
    return [f"{name} {number}" for number, (name, _, _) in enumerate(entries)]


@pytest.mark.parametrize(("name", "prepare", "act"), ONCE, ids=names(ONCE))
def test_an_act_of_an_admin_is_in_the_audit_once(
    acts: Acts, name: str, prepare: Prepare, act: Act
) -> None:
    target, before = prepare(acts), len(acts.rows())

    act(acts, target)

    rows = acts.rows()
    assert [row.act for row in rows[: len(rows) - before]] == [name]


@pytest.mark.parametrize(("name", "prepare", "act"), REPEATABLE, ids=names(REPEATABLE))
def test_an_act_that_changes_nothing_is_not_in_the_audit(
    acts: Acts, name: str, prepare: Prepare, act: Act
) -> None:
    target, before = prepare(acts), len(acts.rows())

    act(acts, target)
    act(acts, target)

    rows = acts.rows()
    assert [row.act for row in rows[: len(rows) - before]] == [name]


@pytest.mark.parametrize("by_page", [True, False], ids=["page", "api"])
def test_a_finished_job_that_is_canceled_is_not_in_the_audit(acts: Acts, by_page: bool) -> None:
    job, before = acts.final(), len(acts.rows())

    if by_page:
        acts.page(f"jobs/{job}/cancel")
    else:
        acts.api("POST", f"/v1/jobs/{job}/cancel")

    assert len(acts.rows()) == before


def test_containers_that_are_kept_already_are_not_in_the_audit(acts: Acts, modal: Counting) -> None:
    before = len(acts.rows())

    acts.page("models/slate/warm", containers="2")
    acts.page("models/slate/warm", containers="2")
    acts.api("PUT", "/v1/models/slate/warm", json={"containers": 2})
    acts.api("PUT", "/v1/models/slate/warm", json={"containers": 1})

    rows = acts.rows()
    details = [(row.act, row.detail) for row in rows[: len(rows) - before]]
    assert details == [("model.warm", "1 container"), ("model.warm", "2 containers")]


def test_the_acts_of_a_customer_are_not_in_the_audit(admin: Person) -> None:
    acts = Acts(admin, {"Authorization": f"Bearer {admin.world.other_key()}"})
    before = len(acts.rows())

    job = acts.final()
    acts.api("POST", f"/v1/jobs/{job}/retry")
    acts.api("POST", f"/v1/jobs/{acts.queued()}/cancel")
    acts.api("DELETE", f"/v1/jobs/{job}")
    acts.api("POST", f"/v1/webhook-deliveries/{acts.settled()}/replay")
    acts.api("POST", "/v1/webhook-secret/rotate")
    for endpoint in acts.api("GET", "/v1/webhook-endpoints").json()["data"]:
        for act in ("rotate", "enable", "test"):
            acts.api("POST", f"/v1/webhook-endpoints/{endpoint['id']}/{act}")
        acts.api("DELETE", f"/v1/webhook-endpoints/{endpoint['id']}")

    assert len(acts.rows()) == before


def test_an_endpoint_has_no_other_act(acts: Acts) -> None:
    endpoint, before = acts.endpoint(), len(acts.rows())

    answer = acts.admin.post(f"/admin/webhooks/endpoints/{endpoint}/explode")

    assert answer.status_code == 404
    assert "There is no page" in answer.text
    assert len(acts.rows()) == before
