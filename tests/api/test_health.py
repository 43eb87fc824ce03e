from datetime import timedelta

from sqlalchemy.exc import OperationalError

from service.store.readers import unavailable
from tests.api.world import WORKER_TOKEN, World


def test_health_tells_queue_and_workers(world: World) -> None:
    before = world.client.get("/health").json()
    world.submit()
    world.submit()
    world.claim(warm="slate", gpu="Test GPU")

    after = world.client.get("/health").json()

    assert (before["status"], before["reasons"], before["warm"]) == (
        "degraded", ["no_worker"], False
    )  # fmt: skip
    assert (after["status"], after["reasons"]) == ("healthy", [])
    assert (after["model"], after["gpu"], after["warm"]) == ("slate", "Test GPU", True)
    assert after["queue"] == {"queued": 1, "running": 1}


def test_health_says_when_the_database_is_away(world: World) -> None:
    world.runtime.db.read(lambda tx: tx.connection.exec_driver_sql("SELECT 1").scalar())
    broken = world.runtime.db._readers
    object.__setattr__(world.runtime.db, "_readers", _Gone())

    health, ready = world.client.get("/health"), world.client.get("/readyz")
    object.__setattr__(world.runtime.db, "_readers", broken)

    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    assert health.json()["reasons"][0] == "database_unavailable"
    assert (ready.status_code, ready.json()["code"]) == (503, "unavailable")
    assert world.client.get("/readyz").status_code == 200
    assert world.client.get("/livez").json() == {"status": "ok"}


def test_health_names_a_worker_whose_machine_is_at_fault_and_why(world: World) -> None:
    world.claim()
    report = {"worker": "w2", "models": ["slate"], "reason": "scratch: No space left on device"}
    token = {"Authorization": f"Bearer {WORKER_TOKEN}"}

    answer = world.client.post("/internal/unfit", json=report, headers=token)
    degraded = world.client.get("/health").json()
    world.claim(worker="w2")
    healthy = world.client.get("/health").json()

    assert answer.status_code == 204
    assert (degraded["status"], degraded["models"][0]["workers"]) == ("degraded", 1)
    assert degraded["reasons"] == ["unfit_workers"]
    assert degraded["unfit_workers"] == [
        {"name": "w2", "reason": "scratch: No space left on device"}
    ]
    assert (healthy["status"], healthy["models"][0]["workers"]) == ("healthy", 2)
    assert healthy["unfit_workers"] == []


def test_a_set_clock_forgets_no_worker(world: World) -> None:
    world.claim()
    report = {"worker": "w2", "models": ["slate"], "reason": "x"}
    token = {"Authorization": f"Bearer {WORKER_TOKEN}"}
    world.runtime.clock.move(timedelta(hours=1))
    world.client.post("/internal/unfit", json=report, headers=token)

    seen = [world.client.get("/health").json() for _ in range(2)]

    assert [health["models"][0]["workers"] for health in seen] == [1, 1]
    assert [len(health["unfit_workers"]) for health in seen] == [1, 1]


def test_nobody_but_a_worker_calls_one_unfit(world: World) -> None:
    report = {"worker": "w1", "models": ["slate"], "reason": "x"}

    assert world.client.post("/internal/unfit", json=report).status_code == 401
    assert world.client.get("/health").json()["unfit_workers"] == []


class _Gone:
    def read(self, run: object) -> None:
        raise unavailable(OperationalError("SELECT 1", {}, Exception("gone")))


def test_models_are_listed_with_the_default_first(world: World) -> None:
    world.claim()

    cards = world.client.get("/v1/models").json()["data"]

    assert [card["id"] for card in cards] == ["slate", "ltx-2b"]
    assert (cards[0]["default"], cards[0]["sandbox"], cards[0]["workers"]) == (True, True, 1)
    assert cards[1]["frames"] == {"low": 9, "high": 7201, "step": 8}
    assert (cards[1]["sandbox"], cards[1]["workers"]) == (False, 0)
