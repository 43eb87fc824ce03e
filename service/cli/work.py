"""The worker process: pulls tickets from an API until it is told to stop."""

import signal
from functools import partial
from types import FrameType

import httpx

from service import wiring
from service.domain.card import ModelCard
from service.settings import Settings
from service.workers.adapters.base import Adapter
from service.workers.adapters.registry import make_adapter
from service.workers.pull import Puller


def work(settings: Settings, api_url: str, name: str) -> None:
    """Work until SIGTERM; an attempt under way is handed back at its next step."""
    assert settings.worker_token is not None, "the caller sees to the token"
    headers = {"Authorization": f"Bearer {settings.worker_token.get_secret_value()}"}
    with httpx.Client(base_url=api_url, headers=headers, timeout=10, trust_env=False) as client:
        puller = Puller(
            client=client,
            name=name,
            models=list(wiring.cards(settings)),
            artifacts=wiring.artifacts(settings),
            make_adapter=partial(_make_adapter, settings),
        )

        def stop(_number: int, _frame: FrameType | None) -> None:
            puller.stopping.set()
            if puller.idle:
                raise SystemExit(0)  # asleep in a long poll: nothing to hand back

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        puller.work()


def _make_adapter(settings: Settings, card: ModelCard) -> Adapter:
    return make_adapter(card, settings.weights.get(card.name))
