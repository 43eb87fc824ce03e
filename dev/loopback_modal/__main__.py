"""`python -m dev.loopback_modal --state DIR`: run the emulator until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from dev.loopback_modal.server import Options, serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.loopback_modal", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="folder for Volumes and logs")
    parser.add_argument("--port", type=int, default=0, help="HTTP port; any free one if left out")
    parser.add_argument("--grpc-port", type=int, default=0, help="port for Modal's clients")
    parser.add_argument("--cron", action="store_true", help="run schedules every minute")
    parser.add_argument(
        "--lifeline", action="store_true", help="stop when standard input closes or is written to"
    )
    options = parser.parse_args()
    options.state.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("grpclib").setLevel(logging.ERROR)
    asyncio.run(serve(Options(**vars(options))))


if __name__ == "__main__":
    main()
