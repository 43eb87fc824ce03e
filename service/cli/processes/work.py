"""The worker process: pulls tickets from an API until it is told to stop."""

import shutil
import signal
from pathlib import Path
from types import FrameType

import httpx

from service.cli.exits import Exit, Stop
from service.cli.processes.up import settle
from service.domain.errors import RequestRefused, Unauthenticated
from service.environment import keep_compiled
from service.log import Log
from service.settings import Settings
from service.wiring import rules, storage, worker
from service.workers.pull_worker import PullWorker

log = Log(__name__)


def work(settings: Settings, api_url: str, name: str) -> None:
    """Work until SIGTERM; an attempt under way is handed back at its next step."""
    token = settings.worker_token
    if token is None:
        raise Stop(
            Exit.REFUSED,
            "RUSHES_WORKER_TOKEN is not set: a worker needs the one its service was started with",
            "`rushes up` runs workers of its own, which need none; see its --workers",
        )
    settings = settle(settings)
    keep_compiled(settings)
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    with httpx.Client(base_url=api_url, headers=headers, timeout=10, trust_env=False) as client:
        puller = PullWorker(
            client=client,
            name=name,
            models=list(rules.cards(settings)),
            environment=worker.build_worker_environment(
                settings,
                storage.artifacts(settings),
                _fresh(settings.data_dir / "scratch" / name),
            ),
            model_cache=worker.warm(settings),
            overlap=settings.ahead_bytes > 0,
        )
        _stop_on_signals(puller)
        _greet(client, puller)
        try:
            puller.work()
        except Unauthenticated:
            raise Stop(
                Exit.KEY,
                f"{api_url} refuses this worker's token: "
                "RUSHES_WORKER_TOKEN must be the one that the service was started with",
            ) from None
        except RequestRefused as refused:
            raise Stop(Exit.REFUSED, f"{api_url} has no use for this worker: {refused}") from None


def _stop_on_signals(puller: PullWorker) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        puller.stopping.set()
        if puller.is_polling:
            raise SystemExit(0)  # out of the long poll; what still runs is waited for

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _greet(client: httpx.Client, puller: PullWorker) -> None:
    """Whoever started this worker sees whether it found its service; it goes on trying anyway."""
    log.info(
        "worker asks for work",
        worker=puller.name,
        api=client.base_url,
        models=",".join(puller.models),
    )
    try:
        client.get("/livez")
    except httpx.HTTPError as error:
        log.warning("nothing answers there yet; trying again", api=client.base_url, error=error)


def _fresh(folder: Path) -> Path:
    """An empty folder: what a worker of this name left when it was killed is nobody's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
