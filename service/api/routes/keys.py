"""API keys: make, list, give a budget, revoke. For admin keys only."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.api.auth import AdminDep
from service.api.schemas.keys import KeyList, KeyOut, NewKeyOut
from service.api.schemas.problems import documented
from service.domain import ids
from service.domain.errors import NotFound
from service.domain.ids import KeyId
from service.domain.key import new_key, new_secret
from service.domain.price import Balance, microusd, month_of
from service.domain.text import Text
from service.lifecycle.api_keys import allow, revoke
from service.log import Log
from service.store import keys
from service.store.transaction import Transaction

log = Log(__name__)
router = APIRouter(prefix="/v1/keys", tags=["keys"])


# So much that nobody has it, and so little that every database holds it in millionths.
_MostUsd = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class BudgetBody(BaseModel):
    """What the jobs of a key may cost in a month; null: no bound."""

    model_config = ConfigDict(extra="forbid", strict=True)

    budget_usd: _MostUsd | None = Field(description="US dollars a calendar month, UTC.")


class KeyBody(BaseModel):
    """A new key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[Text, Field(min_length=1, max_length=120)]
    admin: bool = False
    budget_usd: _MostUsd | None = Field(
        default=None, description="US dollars that its jobs may cost in a month. Default: no bound."
    )


@router.post("", status_code=201, responses=documented(400, 401, 403, 413, 415, 422, 429, 503))
async def create_key(ask: KeyBody, context: AdminDep) -> NewKeyOut:
    """Make a key. Its secret is in this answer and nowhere else."""
    secret = new_secret()
    key = new_key(secret, name=ask.name, admin=ask.admin, now=context.runtime.clock())
    budget = _micro(ask.budget_usd)

    def insert(tx: Transaction) -> None:
        keys.insert(tx, key)
        keys.set_budget(tx, key.id, budget)

    await context.runtime.write(insert)
    log.info("key made", key=key.id, admin=key.admin, budget_usd=ask.budget_usd)
    return NewKeyOut(key=KeyOut.from_domain(key, Balance(budget)), secret=secret)


@router.get("", responses=documented(401, 403, 429))
async def list_keys(context: AdminDep) -> KeyList:
    """All keys, without their secrets."""
    month = month_of(context.runtime.clock())
    found, balances = await context.runtime.read(
        lambda tx: (keys.every(tx), keys.balances(tx, month))
    )
    # Between the two a key may have been made, by a process beside this one.
    return KeyList(data=[KeyOut.from_domain(k, balances[k.id]) for k in found if k.id in balances])


@router.put("/{key_id}/budget", responses=documented(400, 401, 403, 404, 413, 415, 422, 429, 503))
async def set_budget(key_id: str, ask: BudgetBody, context: AdminDep) -> KeyOut:
    """What a key's jobs may cost in a month. Jobs that were accepted are not touched."""
    known = _key_id(key_id)
    budget, month = _micro(ask.budget_usd), month_of(context.runtime.clock())
    key, balance = await context.runtime.write(lambda tx: allow(tx, known, budget, month))
    log.info("budget set", key=key.id, budget_usd=ask.budget_usd)
    return KeyOut.from_domain(key, balance)


@router.delete("/{key_id}", responses=documented(401, 403, 404, "last_admin_key", 429, 503))
async def revoke_key(key_id: str, context: AdminDep) -> KeyOut:
    """Revoke a key: the next request with it is refused. Its jobs stay."""
    known, now = _key_id(key_id), context.runtime.clock()
    key, balance = await context.runtime.write(
        lambda tx: (revoke(tx, known, now), keys.balance(tx, known, month_of(now)))
    )
    log.info("key revoked", key=key.id)
    return KeyOut.from_domain(key, balance)


def _key_id(text: str) -> KeyId:
    if not ids.is_id("key", text):
        raise NotFound(f"no key {text[:64]}")
    return KeyId(text)


def _micro(usd: float | None) -> int | None:
    return None if usd is None else microusd(usd)
