"""What an admin changes on the other pages: pauses, bulk actions, webhooks, keys; the record."""

import html
import re
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from service.admin.routes import bulk as pages_of_bulk
from service.admin.routes import webhooks as pages_of_webhooks
from service.admin.visit import ALL_JOBS
from service.app import build
from service.domain.bulk import BulkAction, BulkId, BulkState, new_bulk_id
from service.domain.ids import JobId, KeyId
from service.domain.job import JobFilter, JobState
from service.lifecycle import bulk as use
from service.lifecycle.bulk import BulkRunner, Order
from service.runtime.submit import retry_again
from service.settings import Settings
from service.store import audit, bulk, deliveries
from service.store.jobs import insert_pause
from service.store.transaction import Transaction
from tests import make
from tests.admin.pages import sections
from tests.admin.person import Person
from tests.api.test_warm import Counting
from tests.api.test_warm import modal as modal
from tests.api.world import KEY, World
from tests.store.plans import plans


def until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # The ticker begins after one lease.
    return settings.model_copy(update={"running_lease_seconds": 1, "webhooks_allow_loopback": True})


def acts(world: World) -> list[tuple[str, str, int]]:
    entries = world.runtime.db.read(lambda tx: audit.page(tx, size=50))
    return [(each.act, each.target, each.number) for each in entries]


def bulk_state(world: World, bulk_id: str) -> BulkState:
    action = world.runtime.db.read(lambda tx: bulk.get(tx, bulk_id))  # type: ignore[arg-type]
    assert action is not None
    return action.state


def start_bulk(person: Person, act: str, query: str) -> str:
    """Confirm a bulk action as the page offers it, and return its id."""
    return confirm(person, form_of(person, act, query))


def form_of(person: Person, act: str, query: str) -> dict[str, str]:
    """Return what the form of a bulk action sends."""
    page = person.get(f"/admin/bulk/new?act={act}&{query}").text
    fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {name: html.unescape(text) for name, text in fields} | {"csrf": person.csrf}


def confirm(person: Person, form: dict[str, str]) -> str:
    answer = person.post("/admin/bulk", **form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"].rpartition("/")[2])


def test_the_page_says_how_a_paused_model_drains(admin: Person) -> None:
    assert "Pause a model to drain it" in admin.get("/admin/models").text
    jobs = [admin.world.submit(), admin.world.submit()]
    for worker in ("one", "two"):
        assert admin.world.claim(worker=worker).status_code == 200
    admin.post("/admin/models/slate/pause")

    assert "It drains: 2 jobs that run go on to their end." in admin.get("/admin/models").text
    for job, words in zip(
        jobs,
        ("It drains: 1 job that runs goes on to its end.", "It is drained: no job of it runs."),
        strict=True,
    ):
        admin.world.client.post(f"/v1/jobs/{job['id']}/cancel")
        until(lambda job=job: admin.world.job(job["id"])["status"] == "canceled")  # type: ignore[misc]
        assert words in admin.get("/admin/models").text


def test_a_model_is_paused_and_resumed_with_a_badge_on_every_page(admin: Person) -> None:
    admin.world.claim()  # there is a worker for it
    assert admin.post("/admin/models/slate/pause").status_code == 303
    job = admin.world.submit()

    for path in sections():
        assert "Paused: slate" in admin.get(path).text
    page = admin.get(f"/admin/jobs/{job['id']}").text
    assert 'slate is paused (<a href="/admin/models">resume it</a>)' in page
    assert "starts in" not in page
    assert admin.world.claim().status_code == 204

    admin.post("/admin/models/slate/resume")
    assert "Paused: slate" not in admin.get("/admin").text
    assert admin.world.claim().status_code == 200
    assert acts(admin.world)[:2] == [("model.resume", "slate", 1), ("model.pause", "slate", 1)]


def test_a_paused_model_that_is_no_longer_served_can_be_resumed(admin: Person) -> None:
    runtime = admin.world.runtime
    make.do(runtime.db, lambda tx: insert_pause(tx, "puppet", runtime.clock()))
    page = admin.get("/admin/models").text
    assert "Paused: puppet" in page
    assert "not served" in page
    assert "0 queued" in page

    assert admin.post("/admin/models/puppet/resume").status_code == 303
    assert "puppet" not in admin.get("/admin/models").text
    assert admin.post("/admin/models/puppet/resume").status_code == 404


def test_a_model_is_kept_warm(admin: Person, viewer: Person, modal: Counting) -> None:
    assert admin.post("/admin/models/slate/warm", containers="2").status_code == 303

    assert modal.kept == {"slate": 2}
    assert 'name="containers" min="0" max="2" required value="2"' in admin.get("/admin/models").text
    assert acts(admin.world)[0] == ("model.warm", "slate", 1)
    shown = viewer.get("/admin/models").text
    assert "2 kept warm" in shown
    assert "/warm" not in shown
    assert viewer.post("/admin/models/slate/warm", containers="0").status_code == 403
    for number in ("3", "-1", "many", ""):
        assert admin.post("/admin/models/slate/warm", containers=number).status_code == 422
    assert modal.kept == {"slate": 2}


def test_local_workers_are_said_to_be_warm(admin: Person) -> None:
    assert "Local workers keep a model in memory" in admin.get("/admin/models").text
    assert "/warm" not in admin.get("/admin/models").text
    assert admin.post("/admin/models/slate/warm", containers="1").status_code == 409


def test_a_bulk_cancel_acts_on_exactly_the_filter(admin: Person) -> None:
    world = admin.world
    done = world.submit(prompt="old ball")["id"]
    world.finish()
    balls = [world.submit(prompt=f"ball {n}")["id"] for n in range(12)]
    tree = world.submit(prompt="tree")["id"]

    page = admin.get("/admin/bulk/new?act=cancel&text=ball").text
    assert "Cancel 12 jobs?" in page
    bulk_id = start_bulk(admin, "cancel", "text=ball")
    later = world.submit(prompt="a later ball")["id"]
    until(lambda: bulk_state(world, bulk_id) is BulkState.DONE)

    assert {world.job(each)["status"] for each in balls} == {"canceled"}
    assert [world.job(each)["status"] for each in (done, tree, later)] == [
        "succeeded",
        "queued",
        "queued",
    ]
    record = admin.get(f"/admin/bulk/{bulk_id}").text
    assert sorted(re.findall(r"<code>(job_\w+)</code></a></td><td>canceled", record)) == balls
    assert ("bulk.start", bulk_id, 12) in acts(world)
    assert "Cancel 12 jobs" in admin.get("/admin/bulk").text


def test_a_bulk_cancel_acts_on_the_jobs_of_its_list_within_a_second(admin: Person) -> None:
    """Times of the filter are not cut on the way from the list through the form to the action."""
    world = admin.world
    jobs = [world.submit(prompt=f"ball {n}") for n in range(4)]
    ids = [job["id"] for job in jobs]
    times = [datetime.fromisoformat(job["created_at"]) for job in jobs]
    query = urlencode({"created_from": times[1], "created_before": times[3]})
    listed = set(re.findall(r"job_\w{26}", admin.get(f"/admin/jobs?{query}").text))

    bulk_id = start_bulk(admin, "cancel", query)
    until(lambda: bulk_state(world, bulk_id) is BulkState.DONE)

    assert ids[2] in listed
    assert {each for each in ids if world.job(each)["status"] == "canceled"} == listed


def test_a_bulk_retry_makes_one_job_of_each(admin: Person) -> None:
    world = admin.world
    for n in range(3):
        job = world.submit(prompt=f"ball {n}", metadata={"n": str(n)})
        world.client.post(f"/v1/jobs/{job['id']}/cancel")

    bulk_id = start_bulk(admin, "retry", "state=canceled")
    until(lambda: bulk_state(world, bulk_id) is BulkState.DONE)

    queued = world.client.get("/v1/jobs?status=queued").json()["data"]
    assert sorted(job["input"]["prompt"] for job in queued) == ["ball 0", "ball 1", "ball 2"]
    page = admin.get(f"/admin/bulk/{bulk_id}").text
    assert len(re.findall(r'retried as <a href="/admin/jobs/(job_\w+)">\1</a>', page)) == 3


def test_a_bulk_form_that_is_sent_twice_acts_once(admin: Person) -> None:
    world = admin.world
    job = world.submit()
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    form = form_of(admin, "retry", "state=canceled")

    first, second = confirm(admin, form), confirm(admin, form)
    until(lambda: bulk_state(world, first) is BulkState.DONE)

    assert confirm(admin, form) == second == first
    assert len(world.client.get("/v1/jobs?status=queued").json()["data"]) == 1
    assert [act for act, _, _ in acts(world)] == ["bulk.start", "job.cancel"]


def test_a_bulk_delete_deletes_the_final_jobs_of_the_filter(admin: Person) -> None:
    world = admin.world
    world.submit()
    gone = world.finish()
    kept = world.submit()["id"]

    bulk_id = start_bulk(admin, "delete", "model=slate")
    until(lambda: bulk_state(world, bulk_id) is BulkState.DONE)

    assert world.client.get(f"/v1/jobs/{gone}").status_code == 404
    assert world.job(kept)["status"] == "queued"


def test_the_list_of_bulk_actions_reads_as_much_for_many_as_for_one(admin: Person) -> None:
    world, key_id = admin.world, KeyId(admin.world.client.get("/v1/keys").json()["data"][0]["id"])
    job, ids = JobId(world.submit()["id"]), [new_bulk_id() for _ in range(53)]

    def insert(tx: Transaction, id_: BulkId) -> None:
        action = BulkAction(id_, key_id, "cancel", "", 1, BulkState.DONE, world.runtime.clock())
        bulk.insert(tx, action, ALL_JOBS, JobFilter(), [job])

    def statements() -> int:
        """The fewest of several readings: the ticker's statements fall into some."""
        counts = []
        for _ in range(5):
            with plans() as found:
                assert admin.get("/admin/bulk").status_code == 200
            counts.append(len(found))
        return min(counts)

    world.runtime.db.write(lambda tx: insert(tx, ids[0])).result()
    for_one = statements()
    for id_ in ids[1:]:
        world.runtime.db.write(partial(insert, id_=id_)).result()

    assert statements() == for_one
    first = admin.get("/admin/bulk").text
    (older,) = re.findall(r'rel="next" href="(\?after=blk_\w+)"', first)
    second = admin.get(f"/admin/bulk{older}").text
    listed = re.findall(r"/admin/bulk/(blk_\w+)", first + second)
    assert listed == ids[::-1]
    assert "Older" not in second


def test_a_list_that_has_changed_is_shown_again(admin: Person) -> None:
    world = admin.world
    world.submit()
    form = form_of(admin, "cancel", "state=queued")
    assert form["jobs"] == "1"
    world.submit()

    answer = admin.post("/admin/bulk", **form)

    assert answer.status_code == 409
    assert "now there are 2" in answer.text
    assert world.runtime.db.read(lambda tx: bulk.page(tx, size=9)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"act": "explode", "query": "", "jobs": "1"},
        {"act": "cancel", "query": "?state=asleep", "jobs": "1"},
        {"act": "cancel", "query": "?text=nothing", "jobs": "0"},
        {"act": "cancel", "query": "", "jobs": "many"},
    ],
    ids=["act", "filter", "none", "number"],
)
def test_a_bulk_action_that_cannot_be_is_refused(admin: Person, fields: dict[str, str]) -> None:
    admin.world.submit()

    assert admin.post("/admin/bulk", id=new_bulk_id(), **fields).status_code in (409, 422)


def test_a_bulk_action_without_the_id_of_its_form_is_refused(admin: Person) -> None:
    admin.world.submit()
    form = form_of(admin, "cancel", "state=queued") | {"id": "blk_1"}

    answer = admin.post("/admin/bulk", **form)

    assert answer.status_code == 422
    assert "confirm it from the list" in answer.text
    assert acts(admin.world) == []


def test_a_misspelled_filter_does_not_offer_all_jobs(admin: Person) -> None:
    job = admin.world.submit()["id"]

    for answer in (
        admin.get("/admin/bulk/new?act=cancel&stat=failed"),
        admin.post("/admin/bulk", act="cancel", query="?stat=failed", jobs="1"),
    ):
        assert answer.status_code == 422
        assert "stat: no such filter; did you mean state?" in answer.text
    assert admin.world.job(job)["status"] == "queued"


def test_more_jobs_than_an_action_may_have_are_not_offered(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bulk, pages_of_bulk):
        monkeypatch.setattr(module, "MAX_JOBS", 2)
    for _ in range(2):
        admin.world.submit()
    assert "Cancel 2 jobs?" in admin.get("/admin/bulk/new?act=cancel").text
    admin.world.submit()

    page = admin.get("/admin/bulk/new?act=cancel").text

    assert "Too many jobs to cancel" in page
    assert "More than 2 open jobs match the filter, which is empty." in page
    assert 'action="/admin/bulk"' not in page


def test_a_bulk_action_can_be_stopped(world: World, admin: Person) -> None:
    jobs = [world.submit()["id"] for _ in range(4)]
    db, now = world.runtime.db, world.runtime.clock()
    key_id = admin.world.client.get("/v1/keys").json()["data"][0]["id"]
    order = Order("cancel", ALL_JOBS, JobFilter(states=(JobState.QUEUED,)), "?state=queued", 4)
    runner = BulkRunner(db, world.runtime.workers, world.runtime.artifacts, lambda job, name: job)
    action = use.start(db, order, key_id, now)

    assert admin.post(f"/admin/bulk/{action.id}/stop").status_code == 303

    assert bulk_state(world, action.id) is BulkState.STOPPED
    assert runner.tick(now) == 0
    done = [job for job in jobs if world.job(job)["status"] == "canceled"]
    num_left = 4 - len(done)
    assert acts(world)[0] == ("bulk.stop", action.id, num_left)


def test_a_bulk_action_goes_on_after_a_restart_and_retries_nothing_twice(
    settings: Settings, world: World
) -> None:
    """The first service dies after a retry, before it is recorded."""
    parents = []
    for _ in range(3):
        job = world.submit()
        world.client.post(f"/v1/jobs/{job['id']}/cancel")
        parents.append(job["id"])
    runtime, now = world.runtime, world.runtime.clock()
    key_id = world.client.get("/v1/keys").json()["data"][0]["id"]
    order = Order("retry", ALL_JOBS, JobFilter(states=(JobState.CANCELED,)), "?state=canceled", 3)
    # Asked for before the action is known to the ticker, under the name that it will use.
    action = use.start(runtime.db, order, key_id, now)
    first = runtime.job_cache.find(runtime.db, JobId(parents[0]), use._ALL)
    retry_again(runtime, first, f"rushes-bulk:{action.id}:{parents[0]}")

    until(lambda: bulk_state(world, action.id) is BulkState.DONE)

    queued = world.client.get("/v1/jobs?status=queued").json()["data"]
    assert sorted(job["retry_of"] for job in queued) == sorted(parents)
    assert settings.running_lease_seconds == 1


def test_a_delivery_is_replayed_and_a_test_is_sent(admin: Person) -> None:
    world = admin.world
    made = world.client.post("/v1/webhook-endpoints", json={"url": "http://127.0.0.1:9/hook?s=1"})
    endpoint = made.json()["endpoint"]["id"]
    page = admin.get("/admin/webhooks").text
    assert "http://127.0.0.1:9/hook?…" in page
    assert "s=1" not in page

    admin.post(f"/admin/webhooks/endpoints/{endpoint}/test")

    def tried() -> Any:
        rows = world.client.get("/v1/webhook-deliveries").json()["data"]
        return rows[0] if rows and rows[0]["attempts"] else None

    delivery = until(tried)
    assert "Replay" in admin.get("/admin/webhooks").text
    back = admin.post(f"/admin/webhooks/deliveries/{delivery['id']}/replay?state=pending")
    assert back.headers["location"] == "/admin/webhooks?state=pending&notice=replayed"
    assert "The delivery is sent again" in admin.get(back.headers["location"]).text
    of_endpoint = admin.get(f"/admin/webhooks?endpoint={endpoint}").text
    assert f"/deliveries/{delivery['id']}/replay?endpoint={endpoint}" in of_endpoint
    other = f"{endpoint[:-1]}{'0' if endpoint[-1] != '0' else '2'}"
    assert "to this endpoint" in admin.get(f"/admin/webhooks?endpoint={other}").text

    assert acts(world)[:2] == [
        ("webhook.replay", delivery["id"], 1),
        ("webhook.test", endpoint, 1),
    ]
    found = world.runtime.db.read(lambda tx: deliveries.get(tx, delivery["id"], key_id=None))
    assert found is not None


def test_a_list_of_endpoints_that_is_cut_says_so(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_of_webhooks, "_ENDPOINTS", 1)
    for number, is_cut in ((1, False), (2, True)):
        url = f"http://127.0.0.1:9/{number}"
        assert admin.world.client.post("/v1/webhook-endpoints", json={"url": url}).is_success
        page = admin.get("/admin/webhooks").text
        assert ("There are more than 1: those that fail" in page) is is_cut
        assert "127.0.0.1:9/1" in page


def test_keys_are_made_budgeted_and_revoked(admin: Person) -> None:
    world = admin.world

    made = admin.post("/admin/keys", name="studio", role="user", budget_usd="50")
    secret = re.search(r"rsh_\w{8}_[\w-]{43}", made.text)
    assert secret is not None
    assert secret[0] not in admin.get("/admin/keys").text  # shown once
    assert world.client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret[0]}"}).is_success
    (key,) = (k for k in world.client.get("/v1/keys").json()["data"] if k["name"] == "studio")
    assert key["budget"]["budget_usd"] == 50

    admin.post(f"/admin/keys/{key['id']}/budget", budget_usd="12345.67")
    assert 'value="12345.67"' in admin.get("/admin/keys").text

    admin.post(f"/admin/keys/{key['id']}/budget", budget_usd="")
    admin.post(f"/admin/keys/{key['id']}/revoke")

    (key,) = (k for k in world.client.get("/v1/keys").json()["data"] if k["name"] == "studio")
    assert key["budget"]["budget_usd"] is None
    assert key["revoked_at"]
    assert [act for act, target, _ in acts(world) if target == key["id"]] == [
        "key.revoke",
        "key.budget",
        "key.budget",
        "key.create",
    ]


def test_a_form_for_a_key_that_is_sent_twice_makes_one(admin: Person) -> None:
    def send(form_id: str, name: str) -> str:
        page = admin.post("/admin/keys", form_id=form_id, name=name, role="user").text
        found = re.search(r"rsh_\w{8}_[\w-]{43}", page)
        assert found is not None
        return found[0]

    form_id = re.search(r'name="form_id" value="(\w+)"', admin.get("/admin/keys").text)
    assert form_id is not None

    first, second = (send(form_id[1], "studio") for _ in range(2))
    edited, other = send(form_id[1], "farm"), send("another", "studio")

    assert first == second
    assert len({first, edited, other}) == 3
    listed = admin.world.client.get("/v1/keys", headers={"Authorization": f"Bearer {KEY}"})
    names = [key["name"] for key in listed.json()["data"]]
    assert sorted(names) == ["farm", "first key", "studio", "studio"]
    bearer = {"Authorization": f"Bearer {first}"}
    assert admin.world.client.get("/v1/jobs", headers=bearer).is_success


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "", "role": "user"},
        {"name": "x" * 121, "role": "user"},
        {"name": "x", "role": "owner"},
        {"name": "x", "role": "user", "budget_usd": "much"},
        {"name": "x", "role": "user", "budget_usd": "nan"},
        {"name": "x", "role": "user", "budget_usd": "-1"},
        {"name": "x\0", "role": "user"},
    ],
    ids=["no name", "long name", "role", "budget", "nan", "negative", "nul"],
)
def test_a_key_that_cannot_be_is_refused(admin: Person, fields: dict[str, str]) -> None:
    answer = admin.post("/admin/keys", **fields)
    assert answer.status_code == 422
    assert [name for name in fields if f"{name}: " in answer.text] != []
    assert len(admin.world.client.get("/v1/keys").json()["data"]) == 1


def test_what_an_admin_does_by_the_api_is_recorded_too(admin: Person) -> None:
    world = admin.world
    world.client.put("/v1/models/slate/paused")
    world.client.delete("/v1/models/slate/paused")
    key = world.client.post("/v1/keys", json={"name": "n"}).json()["key"]["id"]
    world.client.put(f"/v1/keys/{key}/budget", json={"budget_usd": 1})
    world.client.delete(f"/v1/keys/{key}")

    assert [act for act, _, _ in acts(world)] == [
        *("key.revoke", "key.budget", "key.create", "model.resume", "model.pause"),
    ]
    page = admin.get("/admin/audit").text
    for act in ("key.revoke", "key.budget", "key.create", "model.resume", "model.pause"):
        assert f"<code>{act}</code>" in page


def test_what_an_admin_does_to_a_job_is_recorded(admin: Person) -> None:
    job = admin.world.submit()["id"]

    admin.post(f"/admin/jobs/{job}/cancel")
    admin.post(f"/admin/jobs/{job}/delete")

    assert acts(admin.world) == [("job.delete", job, 1), ("job.cancel", job, 1)]


def test_a_viewer_reads_every_page_and_can_do_nothing(world: World, viewer: Person) -> None:
    job = world.submit()["id"]
    before = acts(world)
    for path in sections():
        page = viewer.get(path)
        assert page.status_code == 200
        assert re.findall(r'<form[^>]*action="([^"]+)"', page.text) == ["/admin/logout"]

    key = world.client.get("/v1/keys").json()["data"][0]["id"]
    for path, fields in (
        ("models/slate/pause", {}),
        ("models/slate/resume", {}),
        ("bulk", {"act": "cancel", "query": "", "jobs": "1"}),
        ("keys", {"name": "x", "role": "admin"}),
        (f"keys/{key}/budget", {"budget_usd": "1"}),
        (f"keys/{key}/revoke", {}),
        ("webhooks/deliveries/msg_06h0cqct31vp78ap2nmi51uars/replay", {}),
        ("webhooks/endpoints/wep_06h0cqct31vp78ap2nmi51uars/test", {}),
        (f"jobs/{job}/cancel", {}),
    ):
        assert viewer.post(f"/admin/{path}", **fields).status_code == 403, path
    assert viewer.get("/admin/bulk/new?act=cancel").status_code == 403
    assert acts(world) == before
    assert world.job(job)["status"] == "queued"


def test_pages_of_a_service_that_has_just_begun_are_whole(settings: Settings) -> None:
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        person = Person(World(client)).log_in("a-key-for-tests-a-key-for-tests")
        for path in sections():
            assert person.get(path).status_code == 200, path
