import asyncio
import threading
import time

import pytest
from anyio import to_thread

from service.domain.errors import Unavailable
from service.runtime import runtime


def test_a_database_that_hangs_is_unavailable_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "_TIMEOUT_SECONDS", 0.05)
    released = threading.Event()

    async def look() -> None:
        try:
            await runtime._with_timeout(
                to_thread.run_sync(lambda: released.wait(20), abandon_on_cancel=True)
            )
        finally:
            released.set()

    began = time.monotonic()
    with pytest.raises(Unavailable, match="in time"):
        asyncio.run(look())
    assert time.monotonic() - began < 10
