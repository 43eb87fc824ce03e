"""What FastAPI hands to a route."""

from typing import Annotated

from fastapi import Depends, Request

from service.domain.errors import Unavailable
from service.runtime.runtime import Runtime


# A coroutine, because FastAPI sends plain functions to a thread, which costs more than this does.
async def runtime(request: Request) -> Runtime:
    return runtime_of(request)


def runtime_of(request: Request) -> Runtime:
    """Raises Unavailable while this process may not touch the database."""
    found: Runtime | None = request.app.state.runtime
    if found is None:
        raise Unavailable(
            "the database is being taken over from another container", retry_after_seconds=3
        )
    found.db.check_owner()
    return found


RuntimeDep = Annotated[Runtime, Depends(runtime)]
