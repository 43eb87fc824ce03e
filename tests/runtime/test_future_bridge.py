import asyncio
from concurrent.futures import Future
from threading import Thread

import pytest

from service.runtime.future_bridge import FutureBridge


def answered(*answers: object) -> list[object]:
    """What callers see when a thread gives them these answers, one by one."""

    async def run() -> list[object]:
        landing = FutureBridge()
        futures: list[Future[object]] = [Future() for _ in answers]
        waits = [asyncio.ensure_future(landing.wait(future)) for future in futures]
        await asyncio.sleep(0)

        def work() -> None:
            for future, answer in zip(futures, answers, strict=True):
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

        thread = Thread(target=work)
        thread.start()
        found = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 10)
        thread.join()
        return list(found)

    return asyncio.run(run())


def test_each_caller_has_its_own_answer() -> None:
    fault = KeyError("as planned")

    assert answered(1, fault, "three") == [1, fault, "three"]


def test_no_answer_of_many_is_left_lying() -> None:
    """A thread answers while the loop looks: none may fall between two looks."""
    for _ in range(20):
        assert answered(*range(500)) == list(range(500))


def test_an_answer_that_is_there_already_is_found() -> None:
    async def run() -> int:
        future: Future[int] = Future()
        future.set_result(7)
        return await asyncio.wait_for(FutureBridge().wait(future), 10)

    assert asyncio.run(run()) == 7


def test_who_stops_waiting_cancels_what_has_not_begun() -> None:
    async def run(*, begun: bool) -> Future[int]:
        future: Future[int] = Future()
        if begun:
            future.set_running_or_notify_cancel()
        wait = asyncio.ensure_future(FutureBridge().wait(future))
        await asyncio.sleep(0)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        return future

    assert asyncio.run(run(begun=False)).cancelled()
    assert not asyncio.run(run(begun=True)).cancelled()
