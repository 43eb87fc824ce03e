"""Keys and their budgets."""

from typing import TypeVar

from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from service.admin.visit import FORM_ID_FIELD, ActorDep, Visit, VisitDep, page_router
from service.api.body.parse import invalid_body
from service.api.schemas.keys import BudgetBody, KeyBody
from service.domain.ids import key_id_of
from service.domain.key import KeyRole, new_secret
from service.domain.price import month_of
from service.lifecycle.api_keys import create_once, revoke, set_monthly_budget
from service.store import keys

router = page_router("/keys")

B = TypeVar("B", bound=BudgetBody)


@router.get("")
async def show_keys(visit: VisitDep) -> Response:
    return await _page(visit)


@router.post("")
async def create_key(visit: ActorDep) -> Response:
    """Create a key. Its secret is on this answer alone, and on that to the same form sent again."""
    form = await visit.request.form()
    body = _validate(KeyBody, form, "name", "role", "budget_usd")
    secret = new_secret(visit.random_of(str(form.get(FORM_ID_FIELD, "")), body.model_dump_json()))
    key, runtime, actor = body.key(secret, visit.runtime.clock()), visit.runtime, visit.key.id
    await runtime.write(lambda tx: create_once(tx, key, body.budget, actor))
    return await _page(visit, made=body.name, secret=secret)


@router.post("/{key_id}/budget")
async def set_budget(key_id: str, visit: ActorDep) -> Response:
    body = _validate(BudgetBody, await visit.request.form(), "budget_usd")
    id_, budget = key_id_of(key_id), body.budget
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


def _validate(model: type[B], form: FormData, *names: str) -> B:
    """Validate the fields of a form; an empty one is null, and dollars may have their sign."""
    texts = {name: str(form.get(name, "")).strip() for name in names}
    texts["budget_usd"] = texts["budget_usd"].removeprefix("$")
    try:
        return model.model_validate({n: text or None for n, text in texts.items()}, strict=False)
    except ValidationError as error:
        raise invalid_body(error.errors(include_url=False)) from None
