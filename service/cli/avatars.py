"""`rushes avatars`: list, add and delete faces that stay."""

import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from service.cli.app import App
from service.cli.flags import Connection, flatten_flags

app = App(help="List avatars; add and delete one.", invoke_without_command=True)


@app.callback()
@flatten_flags
def avatars(context: typer.Context, connection: Connection) -> None:
    """List your avatars, newest first. The subcommands add and delete one."""
    if context.invoked_subcommand is None:
        _list(connection)


@app.command()
@flatten_flags
def add(
    name: Annotated[str, Option(help="What you call it.")],
    image: Annotated[Path, Option(help="A photo of one face.", exists=True, dir_okay=False)],
    consent: Annotated[str, Option(help="How the person agreed to it; kept with the date.")],
    consent_by: Annotated[str | None, Option(help="Who says so; else the key's name.")] = None,
    voice: Annotated[str | None, Option(help="Its voice, one of `rushes voices`.")] = None,
    *,
    connection: Connection,
) -> None:
    """Keep a face; its id stands for the photo in `rushes avatar --avatar`."""
    from service.cli import output
    from service.cli.client import connect

    fields = {"name": name, "consent": consent, "consent_by": consent_by, "voice": voice}
    body = {field: text for field, text in fields.items() if text is not None}
    with connect(connection) as client:
        avatar = client.submit("/v1/avatars", body, {"image": image}, str(uuid.uuid4()))
    if connection.as_json:
        output.as_json(avatar)
        return
    for warning in avatar["warnings"]:
        output.notice(warning)
    output.print_line(avatar["id"])


@app.command()
@flatten_flags
def rm(
    avatar_id: Annotated[str, Argument(metavar="ID", help="The avatar's id.")],
    connection: Connection,
) -> None:
    """Delete an avatar and its photo at once."""
    from urllib.parse import quote

    from service.cli import output
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.delete(f"/v1/avatars/{quote(avatar_id, safe='') or '-'}")
    output.as_json(body) if connection.as_json else output.print_line(f"{body['id']} is deleted")


def _list(connection: Connection) -> None:
    from service.cli import output
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.get_all("/v1/avatars", limit=100)
    if connection.as_json:
        output.as_json(body)
    else:
        output.table(("id", "name", "voice", "age", "consent"), map(_row, body["data"]))
        if not body["data"]:
            output.notice("No avatar yet: `rushes avatars add` keeps a face.")


def _row(avatar: dict[str, Any]) -> tuple[str, ...]:
    from service.cli import phrases

    return (
        avatar["id"],
        phrases.one_line(avatar["name"]),
        avatar["voice"] or "",
        phrases.age(avatar["created_at"]),
        phrases.one_line(avatar["consent"]["text"]),
    )
