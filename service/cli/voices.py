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
    from service.cli import output, phrases
    from service.cli.client import connect

    with connect(connection) as client:
        query = {} if language is None else {"language": language}
        body = client.get_all("/v1/voices", **query)
    if connection.as_json:
        output.as_json(body)
        return
    output.table(("id", "name", "language", "provider"), map(_row, body["data"]))
    for problem in body["problems"]:
        output.notice(problem)
    if not body["data"]:
        speaks = "speaks" if language is None else f"speaks {phrases.one_line(language)}"
        output.notice(
            f"No voice of this service {speaks}. Its operator can run `make avatar` (English), "
            "install espeak-ng (many languages) or set ELEVENLABS_API_KEY, and restart it."
        )


def _row(voice: dict[str, Any]) -> tuple[str, ...]:
    from service.cli import phrases

    name = phrases.one_line(voice["name"])
    return (
        voice["id"],
        f"{name} (your clone)" if voice["consent"] else name,
        voice["language"] or "any",
        voice["provider"],
    )
