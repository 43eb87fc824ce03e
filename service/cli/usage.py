"""`rushes usage`: what jobs took, by day, by model or by key."""

from typing import Annotated, Any, Literal

from typer import Option

from service.cli.flags import Connection, spread


@spread
def usage(
    first: Annotated[
        str | None, Option("--from", help="First day, 2026-11-01; else of the month.")
    ] = None,
    last: Annotated[str | None, Option("--to", help="Last day, UTC; else today.")] = None,
    by: Annotated[
        Literal["day", "model", "key"], Option(help="A row for each; keys with an admin key.")
    ] = "day",
    all_keys: Annotated[bool, Option("--all", help="Of all keys; with an admin key.")] = False,
    *,
    connection: Connection,
) -> None:
    """Show what your jobs took: GPU seconds and dollars."""
    from service.cli import output
    from service.cli.client import connect

    days = {name: day for name, day in (("from", first), ("to", last)) if day is not None}
    with connect(connection) as client:
        body = client.get("/v1/usage", group_by=by, all_keys=all_keys, **days)
    if connection.as_json:
        output.as_json(body)
        return
    rows = [_row(each["key_name"] or each[by], each) for each in body["data"]]
    output.table((by, "jobs", "GPU seconds", "USD"), [*rows, _row("total", body["total"])])
    output.aside(_budget(body["budget"]))


def _row(name: str, sums: dict[str, Any]) -> tuple[str, ...]:
    from service.cli import phrases

    seconds = f"{sums['gpu_seconds']:.1f}"
    return phrases.one_line(name), str(sums["jobs"]), seconds, phrases.usd(sums["cost_usd"])


def _budget(budget: dict[str, Any]) -> str:
    from service.cli import phrases

    told = f"this month ${phrases.usd(budget['spent_usd'])} are spent, "
    told += f"${phrases.usd(budget['reserved_usd'])} reserved for open jobs"
    left = budget["left_usd"]
    if left is None:
        return f"{told}; this key has no budget"
    return f"{told}; ${phrases.usd(left)} are left of ${phrases.usd(budget['budget_usd'])}"
