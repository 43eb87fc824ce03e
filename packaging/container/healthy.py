"""The health checks of docker-compose.yml: `healthy.py api` and `healthy.py worker`."""

import json
import socket
import sys
from http.client import HTTPConnection  # urllib would use the environment's proxy
from typing import Any


def api() -> bool:
    """Tell whether the service of this container can read and write the database."""
    return _get("127.0.0.1", "/readyz")[0] == 200


def worker() -> bool:
    """Tell whether the API hears of workers, and of no fault in the machine of this one, whose name
    is the container's."""
    _, health = _get("api", "/health")
    is_unfit = socket.gethostname() in [worker["name"] for worker in health["unfit_workers"]]
    return any(model["workers"] for model in health["models"]) and not is_unfit


def _get(host: str, path: str) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(host, 8787, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, json.load(answer)


if __name__ == "__main__":
    raise SystemExit(not {"api": api, "worker": worker}[sys.argv[1]]())
