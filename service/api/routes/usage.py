"""What jobs took: sums by day, by model or by key."""

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.auth import ContextDep, RequestContext
from service.api.schemas.costs import Budget, Sums, Usage, UsageRow
from service.api.schemas.problems import documented
from service.domain.errors import FieldError, Forbidden, RequestRefused
from service.domain.price import month_of
from service.store import keys, ledger
from service.store.ledger import Group, Total
from service.store.transaction import Transaction

router = APIRouter(prefix="/v1/usage", tags=["usage"])

_LONGEST = timedelta(days=366)


class UsageQuery(BaseModel):
    """Which days, both included, and what each row is to be the sum of."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    first: date | None = Field(
        default=None, alias="from", description="Default: the first of the month of `to`."
    )
    last: date | None = Field(default=None, alias="to", description="Default: today, UTC.")
    group_by: Group = Field(default="day", description="`key`: all keys; for admin keys only.")
    all_keys: bool = Field(
        default=False, description="Not your own key alone; for admin keys only."
    )

    def days(self, today: date) -> tuple[date, date]:
        """Raises RequestRefused for days that are none, or too many."""
        last = self.last or today
        first = self.first or last.replace(day=1)
        if not timedelta(0) <= last - first < _LONGEST:
            detail = f"`from` must not be after `to`, nor {_LONGEST.days} days or more before it"
            raise RequestRefused([FieldError("?from", detail, "out_of_range")])
        return first, last


@router.get("", responses=documented(401, 403, 422, 429, 503))
async def show_usage(query: Annotated[UsageQuery, Query()], context: ContextDep) -> Usage:
    """What your jobs took; for an admin key also those of all keys."""
    first, last = query.days(context.runtime.clock().date())
    everyone = query.all_keys or query.group_by == "key"
    if everyone and not context.key.admin:
        raise Forbidden("the usage of other keys needs an admin key")
    return await run_in_threadpool(
        context.runtime.db.read,
        lambda tx: _usage(tx, context, query.group_by, (first, last), everyone),
    )


def _usage(
    tx: Transaction, context: RequestContext, group: Group, days: tuple[date, date], everyone: bool
) -> Usage:
    key_id = None if everyone else context.key.id
    rows = ledger.totals(tx, group, *days, key_id=key_id)
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
