from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import build
from service.domain.clock import ServiceClock
from service.settings import Settings
from tests import make
from tests.api.world import KEY, World

L40S = 0.000542


@pytest.fixture
def clock() -> make.FakeClock:
    return make.FakeClock()


@pytest.fixture
def billed(settings: Settings, clock: make.FakeClock) -> Iterator[World]:
    """A service whose owner says what its GPUs cost."""
    priced = settings.model_copy(update={"gpu_rates": {"A10": 0.0001, "L40S": L40S}})
    app = build(priced, ServiceClock(clock, clock.steady))
    with TestClient(app, base_url="http://rushes.test") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        yield World(client)


def ask(**more: Any) -> dict[str, Any]:
    """On ltx-2b by default: 0.5 s, and 0.03 s for each of its 47.6 megapixel-frames."""
    return {"prompt": "a red ball", "model": "ltx-2b", **more}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def new_key(world: World, **more: Any) -> tuple[str, str]:
    made = world.client.post("/v1/keys", json={"name": "other", **more}).json()
    return made["key"]["id"], made["secret"]


def end(world: World, act: str = "fail", **spent: Any) -> dict[str, Any]:
    """Take the next job and end its attempt with a failure of the request's own."""
    ticket = world.claim(models=["ltx-2b"]).json()
    begun = world.report(ticket, "begin", call_id=ticket["token"]).json()
    failure = {"kind": "user", "code": "x", "message": "y", **spent}
    answer = world.report(ticket, act, fence=begun["fence"], failure=failure)
    assert answer.status_code == 200, answer.text
    return dict(ticket)


def test_an_estimate_says_by_which_gpu_and_which_rate(billed: World) -> None:
    body = billed.client.post("/v1/estimate", json=ask()).json()

    expected = body["expected_seconds"]
    assert body["cost"]["estimated_usd"] == pytest.approx(expected * L40S, rel=0.01)
    assert body["cost"]["gpu"] == "L40S"
    assert body["cost"]["usd_per_second"] == L40S
    assert body["cost"]["rate_source"] == "L40S by RUSHES_GPU_RATES"


def test_on_own_hardware_nothing_is_billed(world: World) -> None:
    body = world.client.post("/v1/estimate", json=ask()).json()

    assert body["cost"]["estimated_usd"] == 0
    assert body["cost"]["rate_source"] == "own hardware: not billed"


def test_a_model_tells_its_rate(billed: World) -> None:
    models = {m["id"]: m["rate"] for m in billed.client.get("/v1/models").json()["data"]}

    assert models["ltx-2b"] == {
        "gpu": "L40S",
        "usd_per_second": L40S,
        "source": "L40S by RUSHES_GPU_RATES",
    }
    assert models["slate"] == {"gpu": None, "usd_per_second": 0, "source": "needs no GPU"}


def test_a_job_shows_what_it_did_cost(billed: World) -> None:
    job = billed.submit(model="ltx-2b")
    assert job["cost"]["actual_usd"] is None

    end(billed, gpu="NVIDIA L40S", gpu_seconds=10)

    cost = billed.job(job["id"])["cost"]
    assert (cost["actual_usd"], cost["gpu_seconds"], cost["gpu"]) == (0.00542, 10, "L40S")
    assert cost["estimated_usd"] == job["cost"]["estimated_usd"] > 0


def test_a_submit_above_the_budget_is_402_and_says_why(billed: World) -> None:
    once = billed.client.post("/v1/estimate", json=ask()).json()["cost"]["estimated_usd"]
    budget = round(1.5 * once, 6)
    _, secret = new_key(billed, budget_usd=budget)
    first = billed.client.post("/generate-video", json=ask(), headers=bearer(secret)).json()

    answer = billed.client.post("/generate-video", json=ask(), headers=bearer(secret))

    problem = answer.json()
    estimated = first["cost"]["estimated_usd"]
    assert answer.status_code == 402
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["retryable"]) == ("budget_exceeded", False)
    assert problem["shortfall"] == {
        "budget_usd": budget,
        "spent_usd": 0,
        "reserved_usd": estimated,
        "estimated_usd": estimated,
    }
    listed = billed.client.get("/v1/jobs", headers=bearer(secret)).json()["data"]
    assert [job["id"] for job in listed] == [first["id"]]


def test_only_a_402_has_a_shortfall(billed: World) -> None:
    assert "shortfall" not in billed.client.get("/v1/jobs/none").json()


def test_an_estimate_warns_of_what_would_be_refused(billed: World) -> None:
    _, secret = new_key(billed, budget_usd=0.001)

    body = billed.client.post("/v1/estimate", json=ask(), headers=bearer(secret)).json()

    assert body["warnings"][-1] == (
        "$0.001000 are left of this month's budget: the job would be refused"
    )


def test_a_replay_is_answered_though_the_budget_is_gone(billed: World) -> None:
    key_id, secret = new_key(billed)
    headers = bearer(secret) | {"Idempotency-Key": "order-1"}
    first = billed.client.post("/generate-video", json=ask(), headers=headers).json()
    billed.client.put(f"/v1/keys/{key_id}/budget", json={"budget_usd": 0})

    again = billed.client.post("/generate-video", json=ask(), headers=headers)

    assert (again.status_code, again.json()["id"]) == (202, first["id"])


def test_a_retry_is_refused_as_a_new_job(billed: World) -> None:
    key_id, secret = new_key(billed)
    job = billed.client.post("/generate-video", json=ask(), headers=bearer(secret)).json()
    end(billed)
    billed.client.put(f"/v1/keys/{key_id}/budget", json={"budget_usd": 0})

    answer = billed.client.post(f"/v1/jobs/{job['id']}/retry", headers=bearer(secret))

    assert answer.status_code == 402


def test_a_budget_is_set_shown_and_taken_away(billed: World) -> None:
    key_id, secret = new_key(billed, budget_usd=50)

    def budget() -> Any:
        listed = billed.client.get("/v1/keys").json()["data"]
        return next(key["budget"] for key in listed if key["id"] == key_id)

    assert budget() == {"budget_usd": 50, "spent_usd": 0, "reserved_usd": 0, "left_usd": 50}
    billed.client.post("/generate-video", json=ask(), headers=bearer(secret))
    end(billed, gpu="NVIDIA L40S", gpu_seconds=10)
    put = billed.client.put(f"/v1/keys/{key_id}/budget", json={"budget_usd": 1})
    assert put.json()["budget"] == budget()
    assert (budget()["spent_usd"], budget()["left_usd"]) == (0.00542, 0.99458)
    assert billed.client.delete(f"/v1/keys/{key_id}").json()["budget"] == budget()

    put = billed.client.put(f"/v1/keys/{key_id}/budget", json={"budget_usd": None})

    assert put.json()["budget"]["budget_usd"] is None


@pytest.mark.parametrize("usd", [-1, 1e300, "50", True])
def test_what_is_no_budget_is_refused(billed: World, usd: Any) -> None:
    key_id, _ = new_key(billed)

    answer = billed.client.put(f"/v1/keys/{key_id}/budget", json={"budget_usd": usd})

    assert answer.status_code == 422


def test_a_budget_of_a_key_that_is_not_there_is_404(billed: World) -> None:
    for key_id in ("nonsense", "key_" + "0" * 26):
        answer = billed.client.put(f"/v1/keys/{key_id}/budget", json={"budget_usd": 1})
        assert answer.status_code == 404


def test_only_an_admin_sets_budgets(billed: World) -> None:
    key_id, secret = new_key(billed)

    answer = billed.client.put(
        f"/v1/keys/{key_id}/budget", json={"budget_usd": 1}, headers=bearer(secret)
    )

    assert answer.status_code == 403


def test_usage_is_summed_by_day(billed: World, clock: make.FakeClock) -> None:
    for seconds in (1, 2):
        billed.submit(model="ltx-2b")
        end(billed, gpu="NVIDIA L40S", gpu_seconds=seconds)
        clock.advance(86_400)

    body = billed.client.get("/v1/usage").json()

    assert (body["from"], body["to"], body["group_by"]) == ("2026-11-01", "2026-11-25", "day")
    assert [(row["day"], row["jobs"], row["gpu_seconds"]) for row in body["data"]] == [
        ("2026-11-23", 1, 1),
        ("2026-11-24", 1, 2),
    ]
    assert body["total"] == {"jobs": 2, "gpu_seconds": 3, "cost_usd": 0.001626}
    assert body["budget"]["spent_usd"] == 0.001626


def test_usage_is_summed_by_model_within_its_days(billed: World, clock: make.FakeClock) -> None:
    billed.submit(model="ltx-2b")
    end(billed, gpu="NVIDIA L40S", gpu_seconds=1)
    clock.advance(86_400)
    billed.submit(model="slate")
    billed.finish()

    def models(**days: str) -> list[tuple[str, int]]:
        query = {"group_by": "model", **days}
        rows = billed.client.get("/v1/usage", params=query).json()["data"]
        return [(row["model"], row["jobs"]) for row in rows]

    assert models() == [("ltx-2b", 1), ("slate", 1)]
    assert models(to="2026-11-23") == [("ltx-2b", 1)]
    assert models(**{"from": "2026-11-24", "to": "2026-11-24"}) == [("slate", 1)]


def test_a_key_sees_its_own_usage_and_an_admin_that_of_all(billed: World) -> None:
    key_id, secret = new_key(billed)
    billed.client.post("/generate-video", json=ask(), headers=bearer(secret))
    end(billed, gpu="NVIDIA L40S", gpu_seconds=1)

    own = billed.client.get("/v1/usage", headers=bearer(secret)).json()
    admins_own = billed.client.get("/v1/usage").json()
    every = billed.client.get("/v1/usage?all_keys=true").json()
    by_key = billed.client.get("/v1/usage?group_by=key").json()["data"]

    assert own["total"]["jobs"] == every["total"]["jobs"] == 1
    assert admins_own["total"]["jobs"] == 0
    assert [(row["key"], row["key_name"], row["jobs"]) for row in by_key] == [(key_id, "other", 1)]
    for query in ("group_by=key", "all_keys=true"):
        answer = billed.client.get(f"/v1/usage?{query}", headers=bearer(secret))
        assert answer.status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-12-01&to=2026-11-01",
        "from=2020-01-01",
        "from=yesterday",
        "group_by=hour",
        "since=2026-11-01",
    ],
)
def test_a_usage_that_cannot_be_is_refused(billed: World, query: str) -> None:
    assert billed.client.get(f"/v1/usage?{query}").status_code == 422


def test_what_is_reserved_is_that_of_the_dearest_model_and_each_pays_for_its_own(
    billed: World,
) -> None:
    dearest = billed.client.post("/v1/estimate", json=ask()).json()["cost"]["estimated_usd"]
    job = billed.submit(models=["slate", "ltx-2b"])
    assert job["cost"]["estimated_usd"] == dearest
    assert (job["cost"]["gpu"], job["cost"]["usd_per_second"]) == (None, 0.0)
    ticket, begun = billed.begin()
    failure = {"kind": "internal", "code": "x", "message": "y"}
    billed.report(ticket, "fail", fence=begun["fence"], failure=failure)
    now = billed.job(job["id"])
    assert (now["cost"]["gpu"], now["cost"]["usd_per_second"]) == ("L40S", L40S)

    end(billed, gpu="NVIDIA L40S", gpu_seconds=10)

    done = billed.job(job["id"])
    assert done["status"] == "failed"
    assert done["cost"]["actual_usd"] == pytest.approx(10 * L40S)
    rows = billed.client.get("/v1/usage?group_by=model").json()["data"]
    assert {row["model"]: (row["jobs"], row["gpu_seconds"]) for row in rows} == {
        "ltx-2b": (1, 10.0)
    }
    (admin,) = billed.client.get("/v1/keys").json()["data"]
    assert admin["budget"]["reserved_usd"] == 0
