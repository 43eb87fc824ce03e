"""Usage of jobs: sums by day, model or key."""

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.deps import ContextDep, RequestContext
from service.api.schemas.costs import Budget, Sums, Usage, UsageRow
from service.api.schemas.responses import problem_docs
from service.domain.errors import FieldError, Forbidden, RequestRefused
from service.domain.price import month_of
from service.store import keys
from service.store.keys import Group, Total
from service.store.transaction import Transaction

router = APIRouter(prefix="/v1/usage", tags=["usage"])

_MAX_RANGE = timedelta(days=366)


class UsageQuery(BaseModel):
    """The days, both included, and the grouping of the rows."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    first: date | None = Field(
        default=None, alias="from", description="Default: the first of the month of `to`."
    )
    last: date | None = Field(default=None, alias="to", description="Default: today, UTC.")
    group_by: Group = Field(default="day", description="`key`: all keys; for admin keys only.")
    all_keys: bool = Field(default=False, description="Include all keys; for admin keys only.")

    def days(self, today: date) -> tuple[date, date]:
        """Return the first and last day. Raises RequestRefused for an empty or too long range."""
        last = self.last or today
        first = self.first or last.replace(day=1)
        if not timedelta(0) <= last - first < _MAX_RANGE:
            detail = f"`from` must not be after `to`, nor {_MAX_RANGE.days} days or more before it"
            raise RequestRefused([FieldError("?from", detail, "out_of_range")])
        return first, last


@router.get("", responses=problem_docs(401, 403, 422, 429, 503))
async def show_usage(query: Annotated[UsageQuery, Query()], context: ContextDep) -> Usage:
    """Usage of your jobs; for an admin key also of all keys."""
    first, last = query.days(context.runtime.clock().date())
    is_global = query.all_keys or query.group_by == "key"
    if is_global and not context.key.admin:
        raise Forbidden("the usage of other keys needs an admin key")
    return await run_in_threadpool(
        context.runtime.db.read,
        lambda tx: _usage(tx, context, query.group_by, (first, last), is_global),
    )


def _usage(
    tx: Transaction, context: RequestContext, group: Group, days: tuple[date, date], is_global: bool
) -> Usage:
    key_id = None if is_global else context.key.id
    rows = keys.totals(tx, group, *days, key_id=key_id)
    names = _names(tx) if group == "key" else {}
    balance = keys.balance(tx, context.key.id, month_of(context.runtime.clock()))
    return Usage(
        first=days[0],
        last=days[1],
        group_by=group,
        data=[
            UsageRow(**{group: row.name}, key_name=names.get(row.name), **_sums(row))
            for row in rows
        ],
        total=Sums(**_sums(*rows)),
        budget=Budget.from_domain(balance),
    )


def _names(tx: Transaction) -> dict[str, str]:
    return {key.id: key.name for key in keys.every(tx)}


def _sums(*rows: Total) -> dict[str, float]:
    return {
        "jobs": sum(row.jobs for row in rows),
        "gpu_seconds": sum(row.gpu_ms for row in rows) / 1000,
        "cost_usd": sum(row.microusd for row in rows) / 1e6,
    }
