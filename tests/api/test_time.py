"""The service is started again while its machine's clock was set."""

from datetime import timedelta

from fastapi.testclient import TestClient

from service.app import build
from service.domain.clock import ServiceClock
from service.settings import Settings
from service.store import timeline
from tests import make
from tests.api.world import World


def test_the_deadlines_have_moved_before_anything_is_served(settings: Settings) -> None:
    wall = make.FakeClock()
    for now in (make.START, make.START - timedelta(hours=1)):
        wall.now = now
        with TestClient(build(settings, ServiceClock(wall, wall.steady))) as client:
            known = World(client).runtime.db.read(timeline.read)

        assert known is not None
        assert known.seen_at == now
