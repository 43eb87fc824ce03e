"""Containers that are born one after another and killed: each line read is a life, its pid comes
first, then what it found, then a line for each submit that was acknowledged.

Run as `python -m tests.offsite.lives FOLDER MIGRATED`. A life is a fork of this process, which has
no threads, so that it costs no start of Python; its disk is empty and its clock much later.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from service.domain.ids import KeyId
from service.store import keys
from tests import make
from tests.offsite.world import LASTS, Node, World

_CLIENTS = 3


def main(folder: Path, migrated: Path) -> None:
    for number, _ in enumerate(sys.stdin):
        pid = os.fork()
        if pid == 0:
            live(World(folder, migrated), number)
        tell(pid=pid)
        os.waitpid(pid, 0)
        tell(ended=number)


def live(world: World, number: int) -> None:
    clock = make.FakeClock(make.START + number * 3 * LASTS + timedelta(seconds=1))
    node = world.must_take(f"life-{number}", clock)
    key_id = the_key(node)
    tell(found=sorted(node.jobs()))
    with ThreadPoolExecutor(_CLIENTS) as pool:
        for client in range(_CLIENTS):
            pool.submit(submit_on, node, key_id, f"{number}-{client}")


def the_key(node: Node) -> KeyId:
    known = node.db.read(keys.every)
    return known[0].id if known else make.key(node.db)[0]


def submit_on(node: Node, key_id: KeyId, name: str) -> None:
    """As fast as they are answered, until the kill."""
    number = 0
    while True:
        tell(acknowledged=node.submit(key_id, f"{name}-{number}"))
        number += 1


def tell(**fact: Any) -> None:
    os.write(1, json.dumps(fact).encode() + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
