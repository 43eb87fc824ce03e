"""`rushes keys`: make, list and revoke API keys; with an admin key only."""

from typing import Annotated

import typer
from typer import Argument, Option

from service.cli.flags import Connection, spread

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
@spread
def create(
    name: Annotated[str, Argument(help="Whose it is, or what it is for.")],
    admin: Annotated[bool, Option("--admin", help="It may make and revoke keys.")] = False,
    *,
    connection: Connection,
) -> None:
    """Make a key. It is shown this once."""
    from service.cli import show
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.post("/v1/keys", {"name": name, "admin": admin})
    if connection.as_json:
        show.as_json(body)
    else:
        show.aside(f"{body['key']['id']}, shown this once:")
        show.line(body["secret"])


@app.command("list")
@spread
def list_keys(connection: Connection) -> None:
    """List the keys, without their secrets."""
    from service.cli import show, words
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.get("/v1/keys")
    if connection.as_json:
        show.as_json(body)
        return
    show.table(
        ("id", "name", "prefix", "admin", "age", "revoked"),
        [
            (
                key["id"],
                words.one_line(key["name"]),
                key["prefix"],
                "yes" if key["admin"] else "",
                words.age(key["created_at"]),
                words.when(key["revoked_at"]),
            )
            for key in body["data"]
        ],
    )


@app.command()
@spread
def revoke(
    key_id: Annotated[str, Argument(metavar="ID", help="The key's id.")], connection: Connection
) -> None:
    """Revoke a key: the next request with it is refused."""
    from urllib.parse import quote

    from service.cli import show
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.delete(f"/v1/keys/{quote(key_id, safe='') or '-'}")
    show.as_json(body) if connection.as_json else show.line(f"{body['id']} is revoked")
