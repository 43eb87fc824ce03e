"""The state of the control plane, in memory and in its state folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from grpclib import GRPCError, Status

from dev.loopback_modal.records import App, Container, Input, Pool

T = TypeVar("T")


class Cloud:
    def __init__(self, state: Path) -> None:
        self.state = state
        self.grpc_url = self.http_url = ""
        self.apps: dict[str, App] = {}
        self.pools: dict[str, Pool] = {}
        self.inputs: dict[str, Input] = {}
        self.calls: dict[str, Input] = {}
        self.containers: dict[str, Container] = {}
        self.balance: Callable[[Pool], None] = lambda _: None
        self.cut_off: set[str] = set()  # paths whose web requests are aborted
        self._ids: Counter[str] = Counter()

    def new_id(self, prefix: str) -> str:
        self._ids[prefix] += 1
        return f"{prefix}-{self._ids[prefix]}"

    def folder(self, *parts: str) -> Path:
        path = self.state.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def changed(self, pool: Pool) -> None:
        """Wake containers that wait for work, and rebalance the pool."""
        pool.notifier.notify()
        self.balance(pool)

    def deployed(self, name: str) -> App | None:
        """Return the App deployed under this name."""
        candidates = (a for a in self.apps.values() if a.name == name and not a.stopped)
        return next((a for a in candidates if not a.ephemeral and a.version), None)

    def pools_of(self, app: App) -> list[Pool]:
        return [pool for pool in self.pools.values() if pool.app is app]

    def containers_of(self, app: App) -> list[Container]:
        return [c for c in self.containers.values() if c.pool.app is app]

    def live(self) -> Iterator[Pool]:
        """Iterate over pools that can run: published, in an App that is not stopped."""
        pools = (p for p in self.pools.values() if not p.app.stopped)
        return (p for p in pools if (p.base or p).live)

    def app(self, app_id: str) -> App:
        return lookup(self.apps, app_id, "App")

    def pool(self, function_id: str) -> Pool:
        return lookup(self.pools, function_id, "Function")

    def call(self, call_id: str) -> Input:
        return lookup(self.calls, call_id, "FunctionCall")

    def container(self, task_id: str) -> Container:
        return lookup(self.containers, task_id, "Container")


def lookup(objects: dict[str, T], key: str, kind: str) -> T:
    """Return the object, or raise NOT_FOUND for the client."""
    if key not in objects:
        raise GRPCError(Status.NOT_FOUND, f"{kind} '{key}' not found")
    return objects[key]
