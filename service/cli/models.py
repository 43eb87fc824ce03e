"""`rushes models`: the models of the service, their limits and their workers."""

from typing import Any

from service.cli.flags import Connection, flatten_flags


@flatten_flags
def models(connection: Connection) -> None:
    """List the models: sizes, lengths, GPU, licence, workers."""
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
        return f"{low}-{high}"
    return f"{low}-{high} by {step}" if low % step == 0 else f"{low}-{high}, {step}n+{low % step}"
