"""The service on a real Postgres that stands in its way."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from httpx import Response

from service.settings import Settings
from tests.api.world import KEY, WORKER_TOKEN, World
from tests.conftest import connected


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str) -> Settings:
    return Settings(
        _env_file=None,
        data_dir=tmp_path,
        database_url=postgres_url,
        bootstrap_key=KEY,
        worker_token=WORKER_TOKEN,
        models=["slate"],
    )


@contextmanager
def only_read(url: str) -> Iterator[None]:
    """Each session of the service ends, and a new one only reads until the end of this block and,
    as after a failover, for as long as it is kept."""
    name = sa.make_url(url).database
    with connected(url) as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        try:
            yield
        finally:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
            connection.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")


def is_unavailable(answer: Response) -> bool:
    said = answer.json()
    return (
        answer.status_code == 503
        and (said["code"], said["retryable"]) == ("unavailable", True)
        and int(answer.headers["Retry-After"]) > 0
    )


def ask(world: World, **headers: str) -> Response:
    return world.client.post("/generate-video", json={"prompt": "a red ball"}, headers=headers)


def test_a_server_that_only_reads_is_told_and_is_no_longer_used_when_another_writes(
    world: World, settings: Settings
) -> None:
    job = world.submit()

    with only_read(settings.database_url):
        refused, refused_again = ask(world), ask(world)
        ready, health = world.client.get("/readyz"), world.client.get("/health")
        seen = world.client.get(f"/v1/jobs/{job['id']}")
    accepted = ask(world)

    assert is_unavailable(refused)
    assert is_unavailable(refused_again)
    assert is_unavailable(ready)
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    assert (seen.status_code, seen.json()["status"]) == (200, "queued")
    assert accepted.status_code == 202
    assert world.client.get("/readyz").status_code == 200
    assert world.client.get("/health").status_code == 200


def test_a_table_that_somebody_locks_is_told_in_time(world: World, settings: Settings) -> None:
    job = world.submit()
    engine = sa.create_engine(settings.database_url, poolclass=sa.NullPool)

    with engine.connect() as holder:
        holder.exec_driver_sql("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        answers = [
            world.client.get(f"/v1/jobs/{job['id']}"),
            world.client.get("/v1/jobs"),
            ask(world),
        ]
        holder.rollback()

    assert all(map(is_unavailable, answers))
    assert world.client.get(f"/v1/jobs/{job['id']}").status_code == 200
    assert ask(world).status_code == 202


def test_a_lock_on_one_keys_row_costs_that_key_only(world: World, settings: Settings) -> None:
    other = {"Authorization": f"Bearer {world.other_key()}"}
    engine = sa.create_engine(settings.database_url, poolclass=sa.NullPool)

    with engine.connect() as holder:
        holder.exec_driver_sql("SELECT * FROM keys WHERE role = 'admin' FOR UPDATE")
        refused = ask(world)
        accepted = ask(world, **other)
        given = world.claim()
        nothing = world.claim()
        holder.rollback()

    assert is_unavailable(refused)
    assert accepted.status_code == 202
    assert given.json()["job_id"] == accepted.json()["id"]
    assert nothing.status_code == 204
    assert ask(world).status_code == 202
