"""FastAPI dependencies of the routes."""

from typing import Annotated

from fastapi import Depends, Path, Request

from service.domain.errors import Unavailable
from service.runtime.runtime import Runtime


# A coroutine: FastAPI would run a plain function in a thread, which costs more.
async def get_runtime(request: Request) -> Runtime:
    return runtime_of(request)


def runtime_of(request: Request) -> Runtime:
    """Return the runtime. Raises Unavailable while this process does not own the database."""
    runtime: Runtime | None = request.app.state.runtime
    if runtime is None:
        raise Unavailable(
            "the database is being taken over from another container", retry_after_seconds=3
        )
    runtime.db.check_owner()
    return runtime


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]
JobPath = Annotated[str, Path(description="A job's id.", examples=["job_06hm3c…"])]
