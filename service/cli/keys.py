"""`rushes keys`: make, list, give a budget and revoke API keys; with an admin key only."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from service.cli.flags import Connection, spread

if TYPE_CHECKING:
    from service.cli.client import Client

app = typer.Typer(help="Make, list, give a budget and revoke API keys.", no_args_is_help=True)


@app.command()
@spread
def create(
    name: Annotated[str, Argument(help="Whose it is, or what it is for.")],
    admin: Annotated[bool, Option("--admin", help="It may make and revoke keys.")] = False,
    budget: Annotated[
        str, Option(metavar="USD|none", help="What its jobs may cost in a month.")
    ] = "none",
    *,
    connection: Connection,
) -> None:
    """Make a key. It is shown this once."""
    from service.cli import output
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.post("/v1/keys", {"name": name, "admin": admin, "budget_usd": _usd(budget)})
    if connection.as_json:
        output.as_json(body)
    else:
        output.aside(f"{body['key']['id']}, shown this once:")
        output.line(body["secret"])


@app.command("list")
@spread
def list_keys(connection: Connection) -> None:
    """List the keys, without their secrets."""
    from service.cli import output, phrases
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.get("/v1/keys")
    if connection.as_json:
        output.as_json(body)
        return
    output.table(
        ("id", "name", "prefix", "admin", "this month", "age", "revoked"),
        [
            (
                key["id"],
                phrases.one_line(key["name"]),
                key["prefix"],
                "yes" if key["admin"] else "",
                _spent(key["budget"]),
                phrases.age(key["created_at"]),
                phrases.when(key["revoked_at"]),
            )
            for key in body["data"]
        ],
    )


@app.command()
@spread
def budget(
    key: Annotated[str, Argument(metavar="NAME|ID", help="The key's name or id.")],
    usd: Annotated[str, Argument(metavar="USD|none", help="What its jobs may cost in a month.")],
    connection: Connection,
) -> None:
    """Set what a key's jobs may cost in a month; a job that may cost more is refused."""
    from service.cli import output, phrases
    from service.cli.client import connect

    wanted = _usd(usd)
    with connect(connection) as client:
        key_id = _find(client, key)
        body = client.put(f"/v1/keys/{key_id}/budget", {"budget_usd": wanted})
    if connection.as_json:
        output.as_json(body)
    else:
        bound = "no budget" if wanted is None else f"${phrases.usd(wanted)} a month"
        output.line(f"{body['id']} has {bound}; {_spent(body['budget'])} this month")


@app.command()
@spread
def revoke(
    key_id: Annotated[str, Argument(metavar="ID", help="The key's id.")], connection: Connection
) -> None:
    """Revoke a key: the next request with it is refused."""
    from urllib.parse import quote

    from service.cli import output
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.delete(f"/v1/keys/{quote(key_id, safe='') or '-'}")
    output.as_json(body) if connection.as_json else output.line(f"{body['id']} is revoked")


def _spent(budget: dict[str, Any]) -> str:
    from service.cli import phrases

    bound = budget["budget_usd"]
    return f"${phrases.usd(budget['spent_usd'])}" + (
        "" if bound is None else f" of {phrases.usd(bound)}"
    )


def _usd(text: str) -> float | None:
    from service.cli.exits import Exit, Stop

    if text == "none":
        return None
    try:
        amount = float(text.removeprefix("$"))
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= 1e9:  # nor what is no number
        raise Stop(Exit.REFUSED, f"{text!r} is no amount; say 50, or none")
    return amount


def _find(client: "Client", wanted: str) -> str:
    """The id of the one key that has this id, or this name and is not revoked."""
    from service.cli.exits import Exit, Stop

    every = client.get("/v1/keys")["data"]
    found = [key["id"] for key in every if key["id"] == wanted]
    found = found or [k["id"] for k in every if k["name"] == wanted and not k["revoked_at"]]
    if not found:
        raise Stop(Exit.NOT_FOUND, f"no key {wanted}")
    if len(found) > 1:
        raise Stop(Exit.REFUSED, f"{len(found)} keys are called {wanted}: {', '.join(found)}")
    return str(found[0])
