"""`rushes models`: the models of the service, their limits and their workers."""

from typing import Annotated, Any, Literal

import typer

from service.cli.app import App
from service.cli.flags import Connection, flatten_flags

app = App(help="List the models; pause, resume and keep one warm.", invoke_without_command=True)


@app.callback()
@flatten_flags
def models(context: typer.Context, connection: Connection) -> None:
    """List the models: sizes, lengths, GPU, licence, workers. The subcommands change one."""
    if context.invoked_subcommand is None:
        _list(connection)


_Model = Annotated[str, typer.Argument(metavar="MODEL", help="A name from `rushes models`.")]


@app.command()
@flatten_flags
def pause(model: _Model, connection: Connection) -> None:
    """Start no more jobs of a model until it is resumed; its jobs wait, and none is lost."""
    _set_paused(model, "put", connection)


@app.command()
@flatten_flags
def resume(model: _Model, connection: Connection) -> None:
    """Start jobs of a paused model again."""
    _set_paused(model, "delete", connection)


@app.command()
@flatten_flags
def warm(
    model: _Model,
    containers: Annotated[
        int | None,
        typer.Argument(metavar="CONTAINERS", min=0, help="How many to keep; without it: show it."),
    ] = None,
    *,
    connection: Connection,
) -> None:
    """Keep containers of a model warm on Modal, over deploys too; idle ones are billed."""
    from service.cli import output
    from service.cli.client import connect

    path = _path(model, "warm")
    with connect(connection) as client:
        if containers is None:
            body = client.get(path)
        else:
            body = client.put(path, {"containers": containers})
    if connection.as_json:
        output.as_json(body)
    else:
        output.print_line(f"{body['model']}: {body['containers']} kept warm")


def _path(model: str, what: str) -> str:
    from urllib.parse import quote

    return f"/v1/models/{quote(model, safe='') or '-'}/{what}"


def _set_paused(model: str, method: Literal["put", "delete"], connection: Connection) -> None:
    from service.cli import output
    from service.cli.client import connect

    path = _path(model, "paused")
    with connect(connection) as client:
        body = client.put(path, {}) if method == "put" else client.delete(path)
    if connection.as_json:
        output.as_json(body)
    else:
        output.print_line(f"{body['model']} is {'paused' if body['paused_at'] else 'resumed'}")


def _list(connection: Connection) -> None:
    from service.cli import output
    from service.cli.client import connect

    with connect(connection) as client:
        body = client.get("/v1/models")
    if connection.as_json:
        output.as_json(body)
        return
    columns = ("model", "size", "frames", "fps", "max length", "GPU", "workers", "licence")
    output.table(columns, map(_row, body["data"]))


def _row(card: dict[str, Any]) -> tuple[str, ...]:
    memory = f" (needs {card['gpu_memory_gb']:g} GB)" if card["gpu_memory_gb"] else ""
    notes = [word for word in ("default", "sandbox") if card[word]]
    notes += ["paused"] if card["paused_at"] else []
    return (
        card["id"] + (f" ({', '.join(notes)})" if notes else ""),
        f"{_range(card['side'])}, at most {card['max_pixels'] / 1e6:.1f} MP",
        _range(card["frames"]),
        _range(card["fps"]),
        f"{card['max_seconds']:.4g} s",
        f"{card['gpus'][0]}{memory}" if card["gpus"] else "none",
        str(card["workers"]) if card["workers"] else "none",
        card["licence"]["name"] + (" (limited)" if card["licence"]["limits"] else ""),
    )


def _range(numbers: dict[str, int]) -> str:
    """Format as `64-1280 by 32`, or as `9-257, 8n+1` where low is no multiple of the step."""
    low, high, step = numbers["low"], numbers["high"], numbers["step"]
    if step == 1:
        return f"{low}-{high}" if low < high else f"{low}"
    return f"{low}-{high} by {step}" if low % step == 0 else f"{low}-{high}, {step}n+{low % step}"
