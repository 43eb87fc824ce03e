"""`rushes keys`: create, list and revoke API keys and set budgets; needs an admin key."""

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from service.cli.app import App
from service.cli.flags import Connection, flatten_flags

if TYPE_CHECKING:
    from service.cli.client import Client

app = App(help="Create, list, revoke and set budgets of API keys.")


@app.command()
@flatten_flags
def create(
    name: Annotated[str, Argument(metavar="NAME", help="Who or what the key is for.")],
    role: Annotated[
        str,
        Option(metavar="user|viewer|admin", help="viewer: sees all in /admin and changes nothing."),
    ] = "user",
    admin: Annotated[bool, Option("--admin", help="Short for --role admin.")] = False,
    budget: Annotated[
        str, Option(metavar="USD|none", help="Budget for its jobs per month.")
    ] = "none",
    *,
    connection: Connection,
) -> None:
    """Create a key. Its secret is shown only once."""
    from service.cli import output
    from service.cli.client import connect

    values = {"name": name, "role": "admin" if admin else role, "budget_usd": _usd(budget)}
    with connect(connection) as client:
        body = client.post("/v1/keys", values)
    if connection.as_json:
        output.as_json(body)
    else:
        output.notice(f"{body['key']['id']}, shown only once:")
        output.print_line(body["secret"])


@app.command("list")
@flatten_flags
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
        ("id", "name", "prefix", "role", "this month", "age", "revoked"),
        [
            (
                key["id"],
                phrases.one_line(key["name"]),
                key["prefix"],
                key["role"],
                _spent(key["budget"]),
                phrases.age(key["created_at"]),
                phrases.when(key["revoked_at"]),
            )
            for key in body["data"]
        ],
    )


@app.command()
@flatten_flags
def budget(
    key: Annotated[str, Argument(metavar="NAME|ID", help="The key's name or id.")],
    usd: Annotated[str, Argument(metavar="USD|none", help="Budget for its jobs per month.")],
    connection: Connection,
) -> None:
    """Set a key's budget per month; a job that may exceed it is refused."""
    from service.cli import output, phrases
    from service.cli.client import connect

    budget_usd = _usd(usd)
    with connect(connection) as client:
        key_id = _find(client, key)
        body = client.put(f"/v1/keys/{key_id}/budget", {"budget_usd": budget_usd})
    if connection.as_json:
        output.as_json(body)
    else:
        limit = "no budget" if budget_usd is None else f"${phrases.usd(budget_usd)} a month"
        output.print_line(f"{body['id']} has {limit}; {_spent(body['budget'])} this month")


@app.command()
@flatten_flags
def revoke(
    key: Annotated[str, Argument(metavar="NAME|ID", help="The key's name or id.")],
    connection: Connection,
) -> None:
    """Revoke a key; it stops working at once."""
    from service.cli import output
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.delete(f"/v1/keys/{_find(client, key)}")
    output.as_json(body) if connection.as_json else output.print_line(f"{body['id']} is revoked")


def _spent(budget: dict[str, Any]) -> str:
    from service.cli import phrases

    limit = budget["budget_usd"]
    return f"${phrases.usd(budget['spent_usd'])}" + (
        "" if limit is None else f" of {phrases.usd(limit)}"
    )


def _usd(text: str) -> float | None:
    from service.cli.exits import CliError, Exit

    if text == "none":
        return None
    try:
        amount = float(text.removeprefix("$"))
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= 1e9:  # False for NaN too
        raise CliError(Exit.INVALID, f"{text!r} is not an amount, such as 50, or none")
    return amount


def _find(client: "Client", name_or_id: str) -> str:
    """Return the id of the key with this id, or of the only active key with this name."""
    from service.cli.exits import CliError, Exit

    rows = client.get("/v1/keys")["data"]
    ids = [key["id"] for key in rows if key["id"] == name_or_id]
    ids = ids or [k["id"] for k in rows if k["name"] == name_or_id and not k["revoked_at"]]
    if not ids:
        raise CliError(Exit.NOT_FOUND, f"no key {name_or_id}")
    if len(ids) > 1:
        raise CliError(Exit.INVALID, f"{len(ids)} keys are called {name_or_id}: {', '.join(ids)}")
    return str(ids[0])
