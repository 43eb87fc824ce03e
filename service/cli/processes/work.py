"""The worker process: claims jobs from an API until it is stopped."""

import logging
import shutil
import signal
from pathlib import Path
from types import FrameType

import httpx

from service.cli.exits import CannotStart, CliError, Exit
from service.cli.processes.up import check_packages, with_models
from service.domain.errors import RequestRefused, Unauthenticated, Unavailable
from service.environment import keep_compiled
from service.settings import Settings
from service.wiring import rules, storage, worker
from service.workers.pull_worker import PullWorker

log = logging.getLogger(__name__)


def work(settings: Settings, api_url: str, name: str) -> None:
    """Work until SIGTERM; a running attempt is released at its next step. Raises CliError."""
    token = settings.worker_token
    if token is None:
        raise CliError(
            Exit.INVALID,
            "RUSHES_WORKER_TOKEN is not set: restart the service with "
            "RUSHES_WORKER_TOKEN=$(openssl rand -hex 32) and give the same to this command",
            "`rushes up` starts local workers, which need none; see its --workers",
        )
    settings = with_models(settings)
    check_packages(settings)
    keep_compiled(settings)
    try:
        artifacts = storage.artifacts(settings)
    except Unavailable as error:
        raise CannotStart(error.message) from None
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    with httpx.Client(base_url=api_url, headers=headers, timeout=10, trust_env=False) as client:
        puller = PullWorker(
            client=client,
            name=name,
            models=list(rules.cards(settings)),
            environment=worker.build_worker_environment(
                settings,
                artifacts,
                _empty_folder(settings.data_dir / "scratch" / name),
            ),
            model_cache=worker.warm(settings),
            overlap=settings.ahead_bytes > 0,
        )
        _stop_on_signals(puller)
        _greet(client, puller)
        try:
            puller.work()
        except Unauthenticated:
            raise CliError(
                Exit.UNAUTHORIZED,
                f"{api_url} refuses this worker's token: "
                "RUSHES_WORKER_TOKEN must be the one that the service was started with",
            ) from None
        except RequestRefused as error:
            raise CliError(Exit.INVALID, f"{api_url} refuses this worker: {error}") from None


def _stop_on_signals(puller: PullWorker) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        puller.stopping.set()
        if puller.is_polling:
            raise SystemExit(0)  # leave the long poll; running work is finished first

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _greet(client: httpx.Client, puller: PullWorker) -> None:
    """Log whether the service is reachable; the worker retries in either case."""
    log.info(
        "worker started",
        extra={"worker": puller.name, "api": client.base_url, "models": ",".join(puller.models)},
    )
    try:
        client.get("/livez")
    except httpx.HTTPError as error:
        log.warning(
            "API cannot be reached yet; retrying", extra={"api": client.base_url, "error": error}
        )


def _empty_folder(folder: Path) -> Path:
    """Create an empty folder, without files of a killed worker of this name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
