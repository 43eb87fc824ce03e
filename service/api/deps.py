"""What FastAPI hands to a route."""

from typing import Annotated

from fastapi import Depends, Request

from service.domain.errors import Unavailable
from service.runtime.runtime import Parts


# A coroutine, because FastAPI sends plain functions to a thread, which costs more than this does.
async def parts(request: Request) -> Parts:
    return parts_of(request)


def parts_of(request: Request) -> Parts:
    """Raises Unavailable while this process may not touch the database."""
    found: Parts | None = request.app.state.parts
    if found is None:
        raise Unavailable(
            "the database is being taken over from another container", retry_after_seconds=3
        )
    found.db.check_owner()
    return found


PartsDep = Annotated[Parts, Depends(parts)]
