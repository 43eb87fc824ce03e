"""`rushes voices`: the voices of the service."""

from typing import Annotated, Any

from typer import Option

from service.cli.flags import Connection, flatten_flags


@flatten_flags
def voices(
    language: Annotated[
        str | None, Option(help="Only those that speak it, such as en or pt-BR.")
    ] = None,
    *,
    connection: Connection,
) -> None:
    """List the voices that can speak a text."""
    from service.cli import output
    from service.cli.client import connect

    with connect(connection) as client:
        body = _all(lambda **query: client.get("/v1/voices", **query), language)
    if connection.as_json:
        output.as_json(body)
        return
    output.table(("id", "name", "language", "provider"), map(_row, body["data"]))
    for problem in body["problems"]:
        output.notice(problem)


def _all(get: Any, language: str | None) -> dict[str, Any]:
    """Return all pages as one."""
    query = {} if language is None else {"language": language}
    body: dict[str, Any] = get(**query)
    page = body
    while page["has_more"]:
        page = get(after=page["last_id"], **query)
        body = {**page, "first_id": body["first_id"], "data": [*body["data"], *page["data"]]}
    return body


def _row(voice: dict[str, Any]) -> tuple[str, ...]:
    from service.cli import phrases

    name = phrases.one_line(voice["name"])
    return (
        voice["id"],
        f"{name} (your clone)" if voice["consent"] else name,
        voice["language"] or "any",
        voice["provider"],
    )
