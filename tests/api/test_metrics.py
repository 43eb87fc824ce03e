"""/metrics, read by the official parser."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.app import build
from service.domain.ids import JobId
from service.domain.metrics import series
from service.settings import Settings
from service.store import jobs, moves, outbox, totals
from service.store.transaction import Transaction
from tests.api.world import KEY, World
from tests.contract.write import ROOT

TOKEN = "metrics-token-metrics-token"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"metrics_token": Settings(metrics_token=TOKEN).metrics_token}
    )


@pytest.fixture
def again(settings: Settings, world: World) -> Iterator[World]:
    """The service after a restart."""
    world.client.__exit__(None, None, None)
    with TestClient(build(settings), base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield World(client)


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(world: World) -> Samples:
    answer = world.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, tuple(sorted(labels.items()))))


def fail_one(world: World) -> None:
    ticket, begun = world.begin()
    failure = {"kind": "user", "code": "media_format", "message": "is no image"}
    told = {**failure, "timings_ms": {"load": 20}}
    world.report(ticket, "fail", fence=begun["fence"], failure=told)


def test_jobs_that_ended_are_counted(world: World) -> None:
    for _ in range(3):
        world.submit(width=64, height=64, num_frames=25, fps=25)
    world.finish(load=20)
    fail_one(world)
    world.client.post(f"/v1/jobs/{world.submit()['id']}/cancel")

    samples = scrape(world)

    of_slate = {"kind": "video", "model": "slate"}
    ended = {
        ("succeeded", ""): 1,
        ("failed", "media_format"): 1,
        ("canceled", ""): 1,
    }
    for (status, code), count in ended.items():
        found = value(samples, "rushes_jobs_total", **of_slate, status=status, error_code=code)
        assert found == count
    assert value(samples, "rushes_generated_video_seconds_total", model="slate") == 1
    durations = {"model": "slate", "status": "succeeded"}
    assert value(samples, "rushes_job_duration_seconds_count", **durations) == 1
    assert value(samples, "rushes_job_duration_seconds_bucket", **durations, le="+Inf") == 1
    stage = {"model": "slate", "stage": "queue"}
    assert value(samples, "rushes_job_stage_duration_seconds_count", **stage) == 2
    # A stage in which a job failed was not as long as it takes.
    stage = {"model": "slate", "stage": "load"}
    assert value(samples, "rushes_job_stage_duration_seconds_count", **stage) == 1
    assert value(samples, "rushes_queue_depth", model="slate", priority="normal") == 1
    assert (value(samples, "rushes_queue_oldest_age_seconds", model="slate") or -1) >= 0


def test_a_job_is_counted_at_its_end_and_not_at_a_later_event(world: World) -> None:
    world.submit()
    runtime, job_id = world.runtime, JobId(world.finish())

    def add_event(tx: Transaction) -> None:
        job = jobs.get_for_update(tx, job_id)
        assert job is not None
        outbox.enqueue(tx, "job.progress", job, runtime.clock())

    runtime.db.write(add_event).result()

    labels = {"kind": "video", "model": "slate", "status": "succeeded", "error_code": ""}
    assert value(scrape(world), "rushes_jobs_total", **labels) == 1


def test_what_can_be_counted_begins_at_0(world: World) -> None:
    samples = scrape(world)

    for status in ("succeeded", "canceled", "expired"):
        of_slate = {"kind": "video", "model": "slate", "status": status, "error_code": ""}
        assert value(samples, "rushes_jobs_total", **of_slate) == 0
    for cause in ("oom", "lost", "user", "expired"):
        assert value(samples, "rushes_job_failures_total", model="slate", cause=cause) == 0
    for outcome in ("delivered", "dead", "disabled"):
        assert value(samples, "rushes_webhook_deliveries_total", outcome=outcome) == 0


def test_failures_are_counted_by_who_must_act_also_of_jobs_that_nobody_began(world: World) -> None:
    world.submit()
    fail_one(world)
    job_id, runtime = JobId(world.submit()["id"]), world.runtime

    def expire(tx: Transaction) -> None:
        job = jobs.get_for_update(tx, job_id)
        assert job is not None
        moves.expire(tx, job, now=runtime.clock())

    runtime.db.write(expire).result()

    samples = scrape(world)

    counted = {"user": 1, "expired": 1, "internal": 0}
    for cause, count in counted.items():
        found = value(samples, "rushes_job_failures_total", model="slate", cause=cause)
        assert found == count
    assert value(samples, "rushes_models_paused", model="slate") == 0


def test_a_paused_model_is_a_gauge(world: World) -> None:
    world.client.put("/v1/models/slate/paused").raise_for_status()

    assert value(scrape(world), "rushes_models_paused", model="slate") == 1


def test_jobs_at_work_are_a_gauge(world: World) -> None:
    world.submit()
    world.begin()

    samples = scrape(world)

    assert value(samples, "rushes_jobs_inflight", model="slate", status="running") == 1
    assert value(samples, "rushes_queue_depth", model="slate", priority="normal") is None


def test_no_sum_goes_backwards_over_a_restart_or_a_delete(
    world: World, request: pytest.FixtureRequest
) -> None:
    world.submit()
    job_id = world.finish()
    before = scrape(world)
    world.client.delete(f"/v1/jobs/{job_id}")

    restarted: World = request.getfixturevalue("again")
    restarted.submit()
    restarted.finish()
    after = scrape(restarted)

    sums = {
        series for series in before if series[0].endswith(("_total", "_bucket", "_sum", "_count"))
    }
    assert sums
    assert all(after[series] >= before[series] for series in sums)
    counted = {"kind": "video", "model": "slate", "status": "succeeded", "error_code": ""}
    assert value(after, "rushes_jobs_total", **counted) == 2


def test_no_label_is_an_id_or_a_text_of_a_user(world: World) -> None:
    job = world.submit(prompt="a secret plan", metadata={"scene": "hidden"})
    world.finish()

    answer = world.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text

    assert job["id"] not in answer
    assert "secret" not in answer
    assert "hidden" not in answer


@pytest.mark.parametrize("token", [KEY, "", TOKEN[:-1]])
def test_only_its_own_token_opens_it(world: World, token: str) -> None:
    answer = world.client.get("/metrics", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 401


def test_without_a_token_in_the_settings_there_are_no_metrics(
    settings: Settings, world: World
) -> None:
    world.client.__exit__(None, None, None)
    with TestClient(build(settings.model_copy(update={"metrics_token": None}))) as client:
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})

    assert answer.status_code == 401


def queries() -> list[str]:
    """All queries of the dashboard and of the alert rules."""
    dashboard = json.loads((ROOT / "packaging/grafana.json").read_text())
    rules = yaml.safe_load((ROOT / "packaging/alerts.yml").read_text())
    return [
        *(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]),
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
    ]


def series_of_cases() -> list[str]:
    """All series of the cases that the alert rules are tested with."""
    cases = yaml.safe_load((ROOT / "tests/packaging/alerts_test.yml").read_text())["tests"]
    return [each["series"] for case in cases for each in case["input_series"]]


def test_every_query_of_dashboard_and_alerts_asks_for_what_there_is(world: World) -> None:
    for _ in range(4):
        world.submit(webhook_url="https://hooks.example.com/a")
    world.finish()
    fail_one(world)
    world.begin()
    add = {series("gpu_ms", model="slate", gpu="L40S"): 1}
    world.runtime.db.write(lambda tx: totals.add(tx, add)).result()
    labels: dict[str, set[str]] = {}
    values: set[tuple[str, str]] = set()
    for name, pairs in scrape(world):
        labels.setdefault(name, set()).update(label for label, _ in pairs)
        values.update(pairs)

    for query in [*queries(), *series_of_cases()]:
        names = set(re.findall(r"rushes_\w+", query))
        assert names
        assert names <= labels.keys(), query
        known = set.union(*(labels[name] for name in names))
        grouped = {
            label
            for group in re.findall(r"(?:by|on) \(([\w, ]+)\)", query)
            for label in group.split(", ")
        }
        matchers = re.findall(r'(\w+)(?:=~?|!=)"([^"]*)"', query)
        assert grouped | {label for label, _ in matchers} <= known, query
        asked = {(label, value) for label, choice in matchers for value in choice.split("|")}
        assert {pair for pair in asked if pair[0] != "model"} <= values, query
        assert query.count("(") == query.count(")")


def test_the_documents_list_every_metric(world: World) -> None:
    world.submit()
    world.finish()
    answer = world.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    served = {
        f"{family.name}{'_total' if family.type == 'counter' else ''}"
        for family in text_string_to_metric_families(answer)
    }

    assert set(re.findall(r"`(rushes_\w+)`", (ROOT / "docs/monitoring.md").read_text())) == served
