"""Keys and their budgets."""

from starlette.datastructures import FormData
from starlette.responses import Response

from service.admin.visit import ActorDep, Visit, VisitDep, page_router
from service.domain.errors import FieldError, RequestRefused
from service.domain.ids import key_id_of
from service.domain.key import KeyRole, new_key, new_secret
from service.domain.price import microusd, month_of
from service.lifecycle.api_keys import create, revoke, set_monthly_budget
from service.store import keys

router = page_router("/keys")

_MAX_USD = 1e9


@router.get("")
async def show_keys(visit: VisitDep) -> Response:
    return await _page(visit)


@router.post("")
async def create_key(visit: ActorDep) -> Response:
    """Create a key. Its secret is on this answer alone."""
    form = await visit.request.form()
    name, role = str(form.get("name", "")).strip(), str(form.get("role", ""))
    if not 0 < len(name) <= 120 or "\x00" in name:
        raise RequestRefused([FieldError("/name", "a name has 1 to 120 characters", "too_long")])
    if role not in list(KeyRole):
        raise RequestRefused([FieldError("/role", f"one of {', '.join(KeyRole)}", "unknown_role")])
    secret, runtime, actor = new_secret(), visit.runtime, visit.key.id
    key = new_key(secret, name=name, now=runtime.clock(), role=KeyRole(role))
    budget = _budget(form)
    await runtime.write(lambda tx: create(tx, key, budget, actor))
    return await _page(visit, made=name, secret=secret)


@router.post("/{key_id}/budget")
async def set_budget(key_id: str, visit: ActorDep) -> Response:
    id_, budget = key_id_of(key_id), _budget(await visit.request.form())
    runtime, actor = visit.runtime, visit.key.id
    await runtime.write(lambda tx: set_monthly_budget(tx, id_, budget, runtime.clock(), actor))
    return visit.redirect("/keys")


@router.post("/{key_id}/revoke")
async def revoke_key(key_id: str, visit: ActorDep) -> Response:
    id_, runtime, actor = key_id_of(key_id), visit.runtime, visit.key.id
    await runtime.write(lambda tx: revoke(tx, id_, runtime.clock(), actor))
    return visit.redirect("/keys")


async def _page(visit: Visit, **values: str) -> Response:
    month = month_of(visit.runtime.clock())
    balances = await visit.read(lambda tx: keys.balances(tx, month))
    every = await visit.read(keys.every)
    rows = [(key, balances[key.id]) for key in every if key.id in balances]
    context = {"made": None, "secret": None, **values}
    return await visit.page("keys.html", rows=rows, roles=list(KeyRole), **context)


def _budget(form: FormData) -> int | None:
    """Return the budget of a form in millionths of a dollar; None for an empty one."""
    text = str(form.get("budget", "")).strip().removeprefix("$")
    if not text:
        return None
    try:
        usd = float(text)
    except ValueError:
        usd = -1.0
    if not 0 <= usd <= _MAX_USD:
        detail = "a budget is an amount in dollars, such as 50, or empty"
        raise RequestRefused([FieldError("/budget", detail, "invalid_budget")])
    return microusd(usd)
