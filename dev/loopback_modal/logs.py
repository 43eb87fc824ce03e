"""Stream the containers' output to `modal run`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.records import App

LOOK_EVERY_S = 0.1


class Follower:
    """Follows every container's log from the offsets in the last entry id."""

    def __init__(self, cloud: Cloud, app: App, last_entry_id: str) -> None:
        self.cloud = cloud
        self.app = app
        self.read: dict[str, int] = json.loads(last_entry_id) if last_entry_id else {}

    async def follow(self, timeout_s: float) -> AsyncIterator[pb.TaskLogsBatch]:
        """End after the timeout, or with `app_done` once the App has stopped and all is read."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            has_stopped = self.app.stopped and not self.cloud.containers_of(self.app)
            for batch in self.batches():
                yield batch
            if has_stopped:
                yield pb.TaskLogsBatch(app_done=True)
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def batches(self) -> list[pb.TaskLogsBatch]:
        logs = sorted(self.cloud.folder("tasks").glob("*/log.txt"))
        mine = [log for log in logs if (log.parent / "app").read_text() == self.app.id]
        return [self.batch(log.parent.name, text) for log in mine if (text := self.tail(log))]

    def tail(self, log: Path) -> str:
        """Return whole lines only: the last character may be incomplete."""
        with log.open("rb") as file:
            file.seek(self.read.get(log.parent.name, 0))
            data = file.read()
        lines = data[: data.rfind(b"\n") + 1]
        self.read[log.parent.name] = self.read.get(log.parent.name, 0) + len(lines)
        return lines.decode(errors="replace")

    def batch(self, task_id: str, text: str) -> pb.TaskLogsBatch:
        entry = pb.TaskLogs(
            data=text, timestamp=time.time(), file_descriptor=pb.FILE_DESCRIPTOR_STDOUT
        )
        return pb.TaskLogsBatch(task_id=task_id, items=[entry], entry_id=json.dumps(self.read))
