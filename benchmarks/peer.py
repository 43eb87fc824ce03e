"""The peer: Procrastinate behind FastAPI, set up as in its documentation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from procrastinate import App, PsycopgConnector

from service.domain.request import VideoParams

# About the fields of this service's job.
_BY_ID = """
    SELECT id, status, task_name, queue_name, priority, args, scheduled_at, attempts
    FROM procrastinate_jobs WHERE id = %(job_id)s
"""


def procrastinate(url: str) -> FastAPI:
    """Build an app that defers jobs and returns their rows, through the library's connections."""
    queue = App(connector=PsycopgConnector(conninfo=url, min_size=10, max_size=10))

    @queue.task(name="generate")
    async def generate(**params: object) -> None:
        raise NotImplementedError("no worker is measured here")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with queue.open_async():
            await queue.schema_manager.apply_schema_async()
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/generate-video", status_code=202)
    async def submit(params: VideoParams) -> dict[str, object]:
        args = params.model_dump(mode="json", exclude_none=True)
        return {"id": await generate.defer_async(**args), "status": "todo", "args": args}

    @app.get("/v1/jobs/{job_id}")
    async def get(job_id: int) -> dict[str, object]:
        return await queue.connector.execute_query_one_async(_BY_ID, job_id=job_id)

    return app
