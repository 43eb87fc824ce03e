from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.api.webhook_body import WebhookBodies
from service.domain.job import OWN_API
from service.egress.client import Egress, Rules
from service.store.database import Database
from service.webhooks.deliver import Sender
from tests.make import FakeClock
from tests.webhooks.receiver import Receiver, receiving


@pytest.fixture(scope="session")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("receiver") / "log") as found:
        yield found


@pytest.fixture(autouse=True)
def _forgotten(receiver: Receiver) -> None:
    Path(receiver.log).write_text("")


@pytest.fixture
def sender(db: Database, clock: FakeClock) -> Sender:
    bodies = WebhookBodies(b"secret", "https://video.example.com")
    egress = Egress(Rules(allow_loopback=True))
    return Sender(db, egress, {OWN_API: bodies.render}, clock, timeout=timedelta(seconds=2))
