"""Create, list, budget and revoke API keys; for admin keys only."""

import logging
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.api.deps import AdminDep
from service.api.schemas.keys import KeyList, KeyOut, NewKeyOut
from service.api.schemas.responses import problem_docs
from service.domain.ids import key_id_of
from service.domain.key import KeyRole, new_key, new_secret
from service.domain.price import Balance, microusd, month_of
from service.domain.text import Text
from service.lifecycle.api_keys import create, revoke, set_monthly_budget
from service.store import keys
from service.store.transaction import Transaction

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/keys", tags=["keys"])


# The maximum fits a 64-bit integer in millionths.
_BudgetUsd = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class BudgetBody(BaseModel):
    """The monthly budget of a key; null: no limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    budget_usd: _BudgetUsd | None = Field(description="US dollars a calendar month, UTC.")


class KeyBody(BaseModel):
    """A new key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[Text, Field(min_length=1, max_length=120)]
    role: KeyRole | None = Field(
        default=None,
        strict=False,
        description="`viewer` may see everything in /admin, and change nothing. Default: `user`.",
    )
    admin: bool = Field(default=False, description="The same as the role `admin`.")
    budget_usd: _BudgetUsd | None = Field(
        default=None, description="US dollars that its jobs may cost in a month. Default: no limit."
    )

    @model_validator(mode="after")
    def _check_role(self) -> Self:
        if self.admin and self.role not in (None, KeyRole.ADMIN):
            raise ValueError("give role or admin, not both")
        return self


@router.post("", status_code=201, responses=problem_docs(400, 401, 403, 413, 415, 422, 429, 503))
async def create_key(body: KeyBody, context: AdminDep) -> NewKeyOut:
    """Create a key. Its secret is returned only once."""
    secret = new_secret()
    role = KeyRole.ADMIN if body.admin else body.role or KeyRole.USER
    key = new_key(secret, name=body.name, now=context.runtime.clock(), role=role)
    budget = _microusd(body.budget_usd)

    actor = context.key.id

    def insert(tx: Transaction) -> None:
        create(tx, key, budget, actor)

    await context.runtime.write(insert)
    log.info("key created", extra={"key": key.id, "role": key.role, "budget_usd": body.budget_usd})
    return NewKeyOut(key=KeyOut.from_domain(key, Balance(budget)), secret=secret)


@router.get("", responses=problem_docs(401, 403, 429))
async def list_keys(context: AdminDep) -> KeyList:
    """All keys, without their secrets."""
    month = month_of(context.runtime.clock())
    all_keys, balances = await context.runtime.read(
        lambda tx: (keys.every(tx), keys.balances(tx, month))
    )
    # Another process may create a key between the two reads.
    return KeyList(
        data=[KeyOut.from_domain(k, balances[k.id]) for k in all_keys if k.id in balances]
    )


@router.put("/{key_id}/budget", responses=problem_docs(400, 401, 403, 404, 413, 415, 422, 429, 503))
async def set_budget(key_id: str, body: BudgetBody, context: AdminDep) -> KeyOut:
    """Set the monthly budget of a key. Accepted jobs are not affected."""
    id_ = key_id_of(key_id)
    budget, now, actor = _microusd(body.budget_usd), context.runtime.clock(), context.key.id
    key, balance = await context.runtime.write(
        lambda tx: set_monthly_budget(tx, id_, budget, now, actor)
    )
    log.info("budget set", extra={"key": key.id, "budget_usd": body.budget_usd})
    return KeyOut.from_domain(key, balance)


@router.delete("/{key_id}", responses=problem_docs(401, 403, 404, "last_admin_key", 429, 503))
async def revoke_key(key_id: str, context: AdminDep) -> KeyOut:
    """Revoke a key: its next request is refused. Its jobs are kept."""
    id_, now, actor = key_id_of(key_id), context.runtime.clock(), context.key.id
    key, balance = await context.runtime.write(
        lambda tx: (revoke(tx, id_, now, actor), keys.balance(tx, id_, month_of(now)))
    )
    log.info("key revoked", extra={"key": key.id})
    return KeyOut.from_domain(key, balance)


def _microusd(usd: float | None) -> int | None:
    return None if usd is None else microusd(usd)
