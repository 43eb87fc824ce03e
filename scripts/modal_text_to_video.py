"""Rushes on your own Modal account: `modal deploy scripts/modal_text_to_video.py`.

`api` is a CPU endpoint that accepts jobs and answers ids; every model is a Cls of its own on a GPU,
started by `.spawn()`; `tick` wakes the api once a minute; `download` fills the weights Volume.

Read here and put into the images, so that every container sees the same: RUSHES_MODAL_APP,
RUSHES_MODELS, RUSHES_MODAL_GPUS (JSON: {"ltx-2b": ["L40S"]}), RUSHES_MODAL_MAX_CONTAINERS,
RUSHES_MODAL_SCALEDOWN_SECONDS, and the levers of docs/speed.md, such as RUSHES_COMPILE. Secrets
are in the Modal Secret of the app's name; if the address of a Postgres is not among them, the rows
are in SQLite, which lasts on a Volume.
"""

import json
import os
from pathlib import Path
from typing import Any

import modal

from service.dispatch.on_modal import class_name
from service.domain.card import ModelCard
from service.domain.catalog import CARDS
from service.domain.levers import Levers

APP = os.environ.get("RUSHES_MODAL_APP", "rushes")
MODELS: list[str] = json.loads(os.environ.get("RUSHES_MODELS") or '["ltx-2b"]')
GPUS: dict[str, list[str]] = json.loads(os.environ.get("RUSHES_MODAL_GPUS") or "{}")
MOST = int(os.environ.get("RUSHES_MODAL_MAX_CONTAINERS") or 1)
IDLE_SECONDS = int(os.environ.get("RUSHES_MODAL_SCALEDOWN_SECONDS") or 120)
LEVERS = {
    name: os.environ[name]
    for name in (f"RUSHES_{lever.upper()}" for lever in Levers.model_fields)
    if os.environ.get(name)
}

_LONGEST_RUN_SECONDS = 3600
_ARTIFACTS = Path("/artifacts")
_WEIGHTS = Path("/weights")
_COMPILED = Path("/compiled")

_settings = {
    "RUSHES_DISPATCH": "modal",
    "RUSHES_MODAL_APP": APP,
    "RUSHES_MODELS": json.dumps(MODELS),
    "RUSHES_MODAL_GPUS": json.dumps(GPUS),
    "RUSHES_MODAL_MAX_CONTAINERS": str(MOST),
    "RUSHES_MODAL_SCALEDOWN_SECONDS": str(IDLE_SECONDS),
    "RUSHES_DATA_DIR": "/tmp/rushes",
    "RUSHES_DATABASE_VOLUME": f"{APP}-database",  # for SQLite; a database's address comes before
    "RUSHES_LOG_FORMAT": "json",
    **LEVERS,
}
# The weights are on the Volume: a GPU that fetched them would be paid for waiting.
_offline = {"HF_HUB_CACHE": str(_WEIGHTS / "hub"), "HF_HUB_OFFLINE": "1"}
_compiling = {"RUSHES_COMPILED_DIR": str(_COMPILED)}

app = modal.App(APP)
secret = modal.Secret.from_name(APP, required_keys=["RUSHES_WORKER_TOKEN", "RUSHES_SECRET"])
artifacts = modal.Volume.from_name(f"{APP}-artifacts", create_if_missing=True, version=2)
weights = modal.Volume.from_name(f"{APP}-weights", create_if_missing=True)
# What one container compiled is there for the next. Modal itself commits what is written, every few
# seconds and when the container ends; its files are named by their content, so that two containers
# which write at once write the same.
compiled = modal.Volume.from_name(f"{APP}-compiled", create_if_missing=True)


def _api_containers() -> int:
    """Four on Postgres; on SQLite one, for one owns it, and more would only answer 503. Which of
    the two it is, is seen from the Secret at each deployment."""
    if not modal.is_local():
        return 1  # it is asked at the deployment alone
    try:
        modal.Secret.from_name(APP, required_keys=["RUSHES_DATABASE_URL"]).hydrate()
    except modal.exception.NotFoundError:
        return 1
    return 4


_base = modal.Image.debian_slim(python_version="3.12")
_checkout = Path(__file__).resolve().parents[1]


def _with_source(image: modal.Image, settings: dict[str, str]) -> modal.Image:
    """Ours comes last: it is mounted when a container starts, so that a change rebuilds nothing."""
    return (
        image.env(settings)
        .add_local_python_source("service")
        .add_local_dir(_checkout / "migrations", "/root/migrations", ignore=["**/__pycache__"])
    )


def _requirements(*extras: str) -> list[str]:
    import tomllib

    project = tomllib.loads((_checkout / "pyproject.toml").read_text())["project"]
    return [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]


if modal.is_local():
    _packages = _base.uv_pip_install(*_requirements("postgres", "s3", "modal"))
    api_image = _with_source(_packages, _settings)
    _small = ("quantize",) if LEVERS.get("RUSHES_QUANTIZE", "off") != "off" else ()
    # Triton builds its launchers with a C compiler.
    _packages = _base.apt_install("gcc", "libc6-dev").uv_pip_install(
        *_requirements("torch", "s3", "modal", *_small)
    )
    gpu_image = _with_source(_packages, _settings | _offline | _compiling)
    _packages = _base.uv_pip_install(*_requirements("torch", "s3", "modal"))
    cpu_image = _with_source(_packages, _settings | {"HF_HUB_CACHE": str(_WEIGHTS / "hub")})
else:
    api_image = gpu_image = cpu_image = _base


@app.function(
    image=api_image, secrets=[secret], max_containers=_api_containers(), scaledown_window=300
)
@modal.concurrent(max_inputs=100)
@modal.asgi_app(label=f"{APP}-api")
def api() -> Any:
    """The web service. It reads clips from the Volume without mounting it, and needs no torch."""
    from service.app import build
    from service.log import configure
    from service.settings import Settings
    from service.store.schema import migrate

    settings = Settings(public_url=_api_url())
    configure(settings.log_level, settings.log_format)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if not settings.is_offsite:  # else that is done once this container owns it
        migrate(settings.database_url)
    return build(settings)


@app.function(image=api_image, secrets=[secret], max_containers=1, schedule=modal.Cron("* * * * *"))
def tick() -> int:
    """Time passes for the api also while nobody calls it: it is woken, and does what is due."""
    import httpx

    from service.settings import Settings

    token = Settings().worker_token
    assert token is not None, "the Secret has RUSHES_WORKER_TOKEN"
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    return httpx.post(f"{_api_url()}/internal/tick", headers=headers, timeout=120).status_code


@app.function(image=cpu_image, volumes={str(_WEIGHTS): weights}, timeout=6 * 3600)
def download(model: str) -> str:
    """Fill the weights Volume, on a CPU: a GPU never pays for a download."""
    from huggingface_hub import snapshot_download

    for source in CARDS[model].weights:
        snapshot_download(
            source.repo,
            revision=source.revision,
            allow_patterns=list(source.files),
        )
    weights.commit()
    return model


def _api_url() -> str:
    url = modal.Function.from_name(APP, "api").get_web_url()
    assert url is not None, "api is a web function"
    return url.rstrip("/")


class Worker:
    """One model, kept warm between calls. A call takes a ticket and answers a plain dict."""

    model: str

    @modal.enter()
    def load(self) -> None:
        from service import wiring
        from service.log import configure
        from service.settings import Settings, keep_compiled
        from service.workers.adapters.registry import make_adapter
        from service.workers.attempt import Warm
        from service.workers.called import CalledWorker
        from service.workers.run import Bench

        settings = Settings()
        configure(settings.log_level, settings.log_format)
        keep_compiled(settings)
        levers = wiring.levers(settings)
        scratch = settings.data_dir / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        bench = Bench(wiring.mounted_artifacts(settings, _ARTIFACTS), scratch)
        self.worker = CalledWorker(bench, Warm(lambda card: make_adapter(card, None, levers)))
        self.worker.load(CARDS[self.model])

    @modal.method()
    def run(self, ticket: dict[str, Any]) -> dict[str, Any]:
        call_id = modal.current_function_call_id()
        assert call_id is not None, "a method runs within a call"
        return self.worker.run(ticket, call_id)


def _options(card: ModelCard) -> dict[str, Any]:
    return {
        "image": gpu_image,
        # A model whose card names no GPU runs on a CPU.
        "gpu": GPUS.get(card.name) or list(card.gpus) or None,
        "volumes": {
            str(_ARTIFACTS): artifacts,
            str(_WEIGHTS): weights.read_only(),
            str(_COMPILED): compiled,
        },
        "timeout": _LONGEST_RUN_SECONDS,
        "startup_timeout": 1200,
        "max_containers": MOST,
        "scaledown_window": IDLE_SECONDS,
        "retries": 0,  # one owner of retries: the job's own attempts
    }


for _card in (CARDS[name] for name in MODELS):
    _cls = type(class_name(_card.name), (Worker,), {"model": _card.name, "__module__": __name__})
    globals()[_cls.__name__] = app.cls(**_options(_card))(_cls)
