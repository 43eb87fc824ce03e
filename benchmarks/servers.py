"""The servers that benchmarks/api.py loads.

`python -m benchmarks.servers NAME PORT FOLDER [DATABASE_URL]`
"""

import sys
import uuid
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from sqlalchemy import event
from sqlmodel import Field, Session, SQLModel, create_engine

from service.cli.processes.serve import serve
from service.domain.request import VideoParams
from service.settings import Settings
from service.store.schema import migrate

KEY = "benchmark-key-benchmark-key"


def ceiling() -> FastAPI:
    """Build a FastAPI app with a dictionary: an upper bound for every durable service."""
    app, jobs = FastAPI(), {}

    @app.post("/generate-video", status_code=202)
    async def submit(params: VideoParams) -> dict[str, object]:
        job = {"id": uuid.uuid4().hex, "status": "queued", **params.model_dump(exclude_none=True)}
        jobs[job["id"]] = job
        return job

    @app.get("/v1/jobs/{job_id}")
    async def get(job_id: str) -> dict[str, object]:
        return jobs[job_id]

    return app


class NaiveJob(SQLModel, table=True):
    """A job with about as many columns and indexes as this service's."""

    id: str = Field(primary_key=True)
    key_id: str = Field(index=True)
    status: str = Field(index=True)
    model: str = "slate"
    prompt: str
    width: int = 768
    height: int = 512
    num_frames: int = 120
    fps: int = 24
    seed: int = 1
    priority: int = Field(default=1, index=True)
    progress: float = 0.0
    attempt: int = 0
    created_at: float = Field(default=0.0, index=True)
    finished_at: float | None = None
    error: str | None = None
    result: str | None = None


def naive(folder: Path) -> FastAPI:
    """Build an app with one SQLModel session per request, on the same SQLite settings."""
    engine = create_engine(f"sqlite:///{folder / 'naive.db'}")

    @event.listens_for(engine, "connect")
    def _pragmas(connection: object, _record: object) -> None:
        connection.executescript(  # type: ignore[attr-defined]
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000;"
        )

    SQLModel.metadata.create_all(engine, tables=[NaiveJob.__table__])  # type: ignore[attr-defined]
    app = FastAPI()

    @app.post("/generate-video", status_code=202)
    def submit(params: VideoParams) -> NaiveJob:
        with Session(engine) as session:
            job = NaiveJob(id=uuid.uuid4().hex, key_id="k", status="queued", prompt=params.prompt)
            session.add(job)
            session.commit()
            session.refresh(job)
            return job

    @app.get("/v1/jobs/{job_id}")
    def get(job_id: str) -> NaiveJob:
        with Session(engine) as session:
            return session.get_one(NaiveJob, job_id)

    return app


def ours(folder: Path, port: int, database_url: str) -> None:
    """Run the whole service as `rushes up` does: API keys, limits, locks and group commit."""
    settings = Settings(
        _env_file=None,
        port=port,
        data_dir=folder,
        database_url=database_url,
        bootstrap_key=KEY,
        max_queued_per_key=10_000_000,
        max_requests_per_second=0,
        max_submits_per_second=0,
        models=["slate"],
        log_level="warning",
    )
    migrate(settings.database_url)
    serve(settings)


SERVERS = ("ceiling", "naive", "procrastinate", "ours-sqlite", "ours-postgres")
ON_POSTGRES = ("procrastinate", "ours-postgres")


def main(name: str, port: int, folder: Path, database_url: str = "") -> None:
    if name.startswith("ours"):
        ours(folder, port, database_url)
        return
    if name == "procrastinate":
        from benchmarks.peer import procrastinate

        app = procrastinate(database_url)
    else:
        app = ceiling() if name == "ceiling" else naive(folder)
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    name, port, folder, *database_url = sys.argv[1:]
    main(name, int(port), Path(folder), *database_url)
