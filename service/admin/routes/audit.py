"""The record of what admins changed."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from service.admin.visit import VisitDep, page_router
from service.store import audit

router = page_router("/audit")

_PAGE = 100


@router.get("")
async def show_audit(
    visit: VisitDep, before: Annotated[int | None, Query(ge=1, lt=1 << 63)] = None
) -> Response:
    rows = await visit.read(lambda tx: audit.page(tx, size=_PAGE + 1, before=before))
    return await visit.page(
        "audit.html",
        entries=rows[:_PAGE],
        next=rows[_PAGE - 1].id if len(rows) > _PAGE else None,
        key_names=await visit.key_names(),
    )
