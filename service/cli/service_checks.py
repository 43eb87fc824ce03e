"""Checks of the service and the API key for `rushes doctor`."""

from service.cli.checks import Finding
from service.cli.client import Client, Json, Problem, Unreachable
from service.cli.exits import CliError
from service.installation import start_command


def check_service(client: Client) -> list[Finding]:
    """Check the key, then the service. A service that does not run is only a warning."""
    try:
        health = client.get("/health")
    except Unreachable:
        detail = f"not running at {client.url}; start it with {start_command()}"
        return [_key(client), Finding("service", "warning", detail)]
    except Problem as problem:
        return [_key(client), Finding("service", "fault", f"{client.url}: {problem.detail}")]
    return [_check_key(client), _health(client.url, health)]


def _key(client: Client) -> Finding:
    if client.has_key:
        return Finding("API key", "ok", "present")
    return Finding("API key", "warning", "none yet; the first `rushes up` creates one")


def _check_key(client: Client) -> Finding:
    try:
        client.get("/v1/models")
    except CliError as error:
        return Finding("API key", "fault", "; ".join(str(error).splitlines()))
    return Finding("API key", "ok", f"accepted by {client.url}")


def _health(url: str, health: Json) -> Finding:
    status, model = health.get("status"), health.get("model")
    detail = f"{url} is {status}, version {health.get('version')}, default model {model}"
    if status == "healthy":
        return Finding("service", "ok", detail)
    reasons = ", ".join(health.get("reasons") or [])
    return Finding("service", "warning", f"{detail}: {reasons}")
