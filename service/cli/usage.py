"""`rushes usage`: GPU seconds and costs by day, model or key."""

from typing import Annotated, Any, Literal

from typer import Option

from service.cli.flags import Connection, flatten_flags

_FLAGS = {"from": "--from", "to": "--to", "group_by": "--by", "all_keys": "--all"}


@flatten_flags
def usage(
    first: Annotated[
        str | None,
        Option("--from", help="First day, UTC, such as 2026-11-01; default: the 1st."),
    ] = None,
    last: Annotated[str | None, Option("--to", help="Last day, UTC; default: today.")] = None,
    by: Annotated[
        Literal["day", "model", "key"], Option(help="A row for each; key needs an admin key.")
    ] = "day",
    all_keys: Annotated[bool, Option("--all", help="For all keys; needs an admin key.")] = False,
    *,
    connection: Connection,
) -> None:
    """Show the GPU seconds and costs of your jobs."""
    from service.cli import output
    from service.cli.client import connect, named_by

    days = {name: day for name, day in (("from", first), ("to", last)) if day is not None}
    with connect(connection) as client, named_by(_FLAGS):
        body = client.get("/v1/usage", group_by=by, all_keys=all_keys, **days)
    if connection.as_json:
        output.as_json(body)
        return
    rows = [_row(row["key_name"] or row[by], row) for row in body["data"]]
    output.table((by, "jobs", "GPU seconds", "USD"), [*rows, _row("total", body["total"])])
    output.notice(_budget(body["budget"]))


def _row(name: str, sums: dict[str, Any]) -> tuple[str, ...]:
    from service.cli import phrases

    seconds = f"{sums['gpu_seconds']:.1f}"
    return phrases.one_line(name), str(sums["jobs"]), seconds, phrases.usd(sums["cost_usd"])


def _budget(budget: dict[str, Any]) -> str:
    from service.cli import phrases

    text = f"this month: ${phrases.usd(budget['spent_usd'])} spent, "
    text += f"${phrases.usd(budget['reserved_usd'])} reserved for open jobs"
    remaining = budget["left_usd"]
    if remaining is None:
        return f"{text}; this key has no budget"
    return f"{text}; ${phrases.usd(remaining)} left of ${phrases.usd(budget['budget_usd'])}"
