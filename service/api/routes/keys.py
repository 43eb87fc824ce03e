"""Create, list, budget and revoke API keys; for admin keys only."""

import logging

from fastapi import APIRouter

from service.api.deps import AdminDep
from service.api.schemas.keys import BudgetBody, KeyBody, KeyList, KeyOut, NewKeyOut
from service.api.schemas.responses import problem_docs
from service.domain.ids import key_id_of
from service.domain.key import new_secret
from service.domain.price import Balance, month_of
from service.lifecycle.api_keys import create, revoke, set_monthly_budget
from service.store import keys
from service.store.transaction import Transaction

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post("", status_code=201, responses=problem_docs(400, 401, 403, 413, 415, 422, 429, 503))
async def create_key(body: KeyBody, context: AdminDep) -> NewKeyOut:
    """Create a key. Its secret is returned only once."""
    secret = new_secret()
    key = body.key(secret, context.runtime.clock())
    budget = body.budget

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
    budget, now, actor = body.budget, context.runtime.clock(), context.key.id
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
