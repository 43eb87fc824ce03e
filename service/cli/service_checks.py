"""What `rushes doctor` can tell of the service and of the key that opens it."""

from service.cli.checks import Finding
from service.cli.client import Client, Json, Problem, Unreachable
from service.cli.exits import Stop
from service.installation import start_command


def check_service(client: Client) -> list[Finding]:
    """The key, then the service. One that does not run is no fault: it may be about to."""
    try:
        health = client.get("/health")
    except Unreachable:
        detail = f"not running at {client.url}; start it with {start_command()}"
        return [_key(client), Finding("service", "warning", detail)]
    except Problem as problem:
        return [_key(client), Finding("service", "fault", f"{client.url}: {problem.detail}")]
    except Stop as stop:
        return [_key(client), Finding("service", "fault", str(stop))]
    return [_accepted(client), _health(client.url, health)]


def _key(client: Client) -> Finding:
    if client.has_key:
        return Finding("API key", "ok", "present")
    return Finding("API key", "warning", "none yet; the first `rushes up` makes one")


def _accepted(client: Client) -> Finding:
    try:
        client.get("/v1/models")
    except Stop as stop:
        return Finding("API key", "fault", "; ".join(str(stop).splitlines()))
    return Finding("API key", "ok", f"known at {client.url}")


def _health(url: str, health: Json) -> Finding:
    status, model = health.get("status"), health.get("model")
    told = f"{url} is {status}, version {health.get('version')}, default model {model}"
    if status == "healthy":
        return Finding("service", "ok", told)
    return Finding("service", "warning", f"{told}: no worker for it is there")
