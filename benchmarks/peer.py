"""The peer: Procrastinate, set up as its documentation says, behind FastAPI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from procrastinate import App, PsycopgConnector

from service.domain.request import VideoParams

# About what our own answer tells of a job.
_BY_ID = """
    SELECT id, status, task_name, queue_name, priority, args, scheduled_at, attempts
    FROM procrastinate_jobs WHERE id = %(job_id)s
"""


def procrastinate(url: str) -> FastAPI:
    """Defers what it is asked for and answers its row, through the library's own connections."""
    queue = App(connector=PsycopgConnector(conninfo=url, min_size=10, max_size=10))

    @queue.task(name="generate")
    async def generate(**ask: object) -> None:
        raise NotImplementedError("no worker is measured here")

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        async with queue.open_async():
            await queue.schema_manager.apply_schema_async()
            yield

    app = FastAPI(lifespan=life)

    @app.post("/generate-video", status_code=202)
    async def submit(ask: VideoParams) -> dict[str, object]:
        args = ask.model_dump(mode="json", exclude_none=True)
        return {"id": await generate.defer_async(**args), "status": "todo", "args": args}

    @app.get("/v1/jobs/{job_id}")
    async def get(job_id: int) -> dict[str, object]:
        return await queue.connector.execute_query_one_async(_BY_ID, job_id=job_id)

    return app
