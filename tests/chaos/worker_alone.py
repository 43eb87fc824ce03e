"""A worker without its supervisor: it stays dead once it has died."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.api_alone import ApiAlone

TOKEN = "a-worker-token-a-worker-token"  # for the `worker_token` of the API that it is to know


@contextmanager
def worker_alone(api: ApiAlone, failpoint: str = "") -> Iterator["subprocess.Popen[bytes]"]:
    """Works for `api`, in its data directory, until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli.main", "worker", "--url", api.url, "--child"],
        env={**api.environment, "RUSHES_FAILPOINT": failpoint},
        stdin=subprocess.PIPE,
        stderr=api.log,
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
