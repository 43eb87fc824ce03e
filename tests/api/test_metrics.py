"""/metrics, read by the official parser."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.app import build
from service.domain.metrics import Series
from service.settings import Settings
from service.store import totals
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
    world.report(ticket, "fail", fence=begun["fence"], failure=failure)


def test_jobs_that_ended_are_counted(world: World) -> None:
    for _ in range(3):
        world.submit(width=64, height=64, num_frames=25, fps=25)
    world.finish()
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
    assert value(samples, "rushes_queue_depth", model="slate", priority="normal") == 1
    assert (value(samples, "rushes_queue_oldest_age_seconds", model="slate") or -1) >= 0


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


def test_every_query_of_dashboard_and_alerts_asks_for_what_there_is(world: World) -> None:
    for _ in range(4):
        world.submit(webhook_url="https://hooks.example.com/a")
    world.finish()
    fail_one(world)
    world.begin()
    add = {Series("webhook_deliveries", ("dead",)): 1, Series("cost_microusd", ("slate",)): 1}
    add[Series("gpu_ms", ("slate", "L40S"))] = 1
    world.runtime.db.write(lambda tx: totals.add(tx, add)).result()
    labels: dict[str, set[str]] = {}
    for name, pairs in scrape(world):
        labels.setdefault(name, set()).update(label for label, _ in pairs)

    for query in queries():
        names = set(re.findall(r"rushes_\w+", query))
        assert names
        assert names <= labels.keys(), query
        known = set.union(*(labels[name] for name in names))
        grouped = {
            label
            for group in re.findall(r"(?:by|on) \(([\w, ]+)\)", query)
            for label in group.split(", ")
        }
        assert grouped | set(re.findall(r"(\w+)=~?\"", query)) <= known, query
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
