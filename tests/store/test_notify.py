from queue import Queue

import pytest

from service.domain.errors import NotFound
from service.store.database import Database
from service.store.transaction import Transaction


def test_a_commit_is_heard_by_the_other_processes_and_an_undone_one_is_not(
    postgres_url: str,
) -> None:
    heard: Queue[str] = Queue()

    def hear(topics: object) -> None:
        for topic in topics:  # type: ignore[attr-defined]
            heard.put(topic)

    def refuse(tx: Transaction) -> None:
        tx.notify("never")
        raise NotFound("as planned")

    other = Database(postgres_url, hear)
    database = Database(postgres_url, lambda topics: None)
    try:
        assert other._notify is not None
        assert other._notify.listening.wait(10)
        with pytest.raises(NotFound):
            database.write(refuse).result()
        topics = [f"job_{number:026}" for number in range(400)]  # more than one notice holds
        database.write(lambda tx: [tx.notify(topic) for topic in topics]).result()

        assert [heard.get(timeout=10) for _ in topics] == topics
        assert heard.empty()
    finally:
        database.close()
        other.close()


def test_a_process_does_not_hear_itself_twice(postgres_url: str) -> None:
    heard: list[str] = []
    database = Database(postgres_url, heard.extend)
    try:
        assert database._notify is not None
        assert database._notify.listening.wait(10)
        for number in range(3):
            database.write(lambda tx, number=number: tx.notify(str(number))).result()
    finally:
        database.close()

    assert heard == ["0", "1", "2"]
