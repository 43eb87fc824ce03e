"""Rushes on your own Modal account: `modal deploy scripts/modal_text_to_video.py`.

`api` is the web service on a CPU; each model is a Cls on a GPU, started by `.spawn()`; `tick` wakes
the api once a minute; `download` fills the weights Volume.

Settings are read here and put into the images, so that all containers have the same. Secrets are in
the Modal Secret of the app's name, which GPU containers do not get; a bucket's keys are in a Secret
of their own, which they do get. A Secret overrides the images. Without the URL of a Postgres in it
the service uses SQLite, replicated to a Volume.
"""

from pathlib import Path
from typing import Any

import modal

from service.deployment import (
    API_INPUTS,
    WEIGHTS,
    call_seconds,
    deployed_environment,
    deployed_models,
    served_card,
)
from service.dispatch.on_modal import class_name
from service.domain.models.card import ModelCard
from service.domain.models.cards.longcat import SOURCE
from service.domain.models.catalog import LONGCAT
from service.environment import traces_environment
from service.settings import CALL_MARGIN_SECONDS, Settings

SETTINGS = Settings()
APP = SETTINGS.modal_app
# With the weights that the settings name: the api puts equal cards into its tickets.
MODELS = {name: served_card(SETTINGS, name) for name in deployed_models(SETTINGS)}

_ARTIFACTS = Path("/artifacts")
_COMPILED = Path("/compiled")

_settings = {
    **deployed_environment(SETTINGS),
    "RUSHES_DISPATCH": "modal",
    "RUSHES_DATA_DIR": "/tmp/rushes",
    "RUSHES_DATABASE_VOLUME": f"{APP}-database",  # for SQLite; RUSHES_DATABASE_URL overrides it
    "RUSHES_LOG_FORMAT": "json",
}
# The weights are on the Volume: a GPU must not be paid for waiting for a download.
_offline = {"HF_HUB_CACHE": str(WEIGHTS / "hub"), "HF_HUB_OFFLINE": "1"}
_compiling = {"RUSHES_COMPILED_DIR": str(_COMPILED)}

app = modal.App(APP)
secret = modal.Secret.from_name(APP, required_keys=["RUSHES_WORKER_TOKEN", "RUSHES_SECRET"])
# Containers read RUSHES_S3_BUCKET from it too.
bucket = (
    [modal.Secret.from_name(f"{APP}-bucket", required_keys=["RUSHES_S3_BUCKET"])]
    if SETTINGS.s3_bucket
    else []
)
artifacts = modal.Volume.from_name(f"{APP}-artifacts", create_if_missing=True, version=2)
weights = modal.Volume.from_name(f"{APP}-weights", create_if_missing=True)
# The compiler's cache, shared by containers. Modal commits it every few seconds and at the end of a
# container. Files are named by their content, so that concurrent writers write the same.
compiler_cache = modal.Volume.from_name(f"{APP}-compiled", create_if_missing=True)


def _api_containers() -> int:
    """Return 4 with Postgres; 1 with SQLite, which one container owns. The Secret tells which."""
    if not modal.is_local():
        return 1  # only used at deployment
    try:
        modal.Secret.from_name(APP, required_keys=["RUSHES_DATABASE_URL"]).hydrate()
    except modal.exception.NotFoundError:
        return 1
    return 4


_base = modal.Image.debian_slim(python_version="3.12")
_checkout = Path(__file__).resolve().parents[1]


def _with_source(image: modal.Image, settings: dict[str, str]) -> modal.Image:
    """Add the source last: it is mounted at the start, so that a change rebuilds no image."""
    return (
        image.env(settings)
        # With the templates and scripts of the admin pages and the models of faces.
        .add_local_python_source("service", ignore=["**/__pycache__"])
        .add_local_dir(_checkout / "migrations", "/root/migrations", ignore=["**/__pycache__"])
    )


def _requirements(*extras: str) -> list[str]:
    import tomllib

    project = tomllib.loads((_checkout / "pyproject.toml").read_text())["project"]
    return [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]


def _with_packages(image: modal.Image, *extras: str) -> modal.Image:
    """Install packages in the tested versions of constraints.txt."""
    pins = image.add_local_file(_checkout / "constraints.txt", "/constraints.txt", copy=True)
    return pins.uv_pip_install(
        *_requirements(*extras), extra_options="--constraints /constraints.txt"
    )


def _with_longcat(image: modal.Image) -> modal.Image:
    """Add LongCat's code, which pip cannot install, at its pinned commit.

    A `.pth` file puts it on Python's path: a container's PYTHONPATH is Modal's, for our source.
    """
    folder, commit = "/opt/longcat", SETTINGS.longcat_source_commit
    site_packages = "import site; print(site.getsitepackages()[0])"
    return image.apt_install("git").run_commands(
        # Without the sample videos.
        f"git clone --filter=blob:none --no-checkout {SOURCE} {folder}",
        f"git -C {folder} checkout {commit} -- longcat_video",
        f"echo {folder} > \"$(python -c '{site_packages}')/longcat.pth\"",
    )


if modal.is_local():
    _avatar = ("avatar",) if any(card.kind == "avatar" for card in MODELS.values()) else ()
    # The api speaks the texts of avatars, so that no GPU waits for a voice.
    _packages = _with_packages(_base, "postgres", "s3", "modal", "traces", *_avatar)
    # The api sends the traces of all that workers do, which need no collector.
    api_image = _with_source(_packages, _settings | traces_environment())
    _small = ("quantize",) if SETTINGS.quantize != "off" else ()
    _draws = any(card.sandbox or card.kind == "avatar" for card in MODELS.values())
    _fonts = ("fonts",) if _draws else ()
    _longcat = ("longcat",) if LONGCAT.name in MODELS else ()
    # Triton needs a C compiler.
    _packages = _with_packages(
        _base.apt_install("gcc", "libc6-dev"),
        *("torch", "s3", "modal"),
        *(*_small, *_fonts, *_avatar, *_longcat),
    )
    if _longcat:
        _packages = _with_longcat(_packages)
    gpu_image = _with_source(_packages, _settings | _offline | _compiling)
    _packages = _with_packages(_base, "torch", "s3", "modal")
    cpu_image = _with_source(_packages, _settings | {"HF_HUB_CACHE": str(WEIGHTS / "hub")})
else:
    api_image = gpu_image = cpu_image = _base


@app.function(
    image=api_image,
    secrets=[secret, *bucket],
    max_containers=_api_containers(),
    scaledown_window=300,
)
@modal.concurrent(max_inputs=API_INPUTS)
@modal.asgi_app(
    label=f"{APP}-api",
    custom_domains=[SETTINGS.modal_domain] if SETTINGS.modal_domain else None,
)
def api() -> Any:
    """The web service. It reads videos from the Volume without mounting it, and needs no torch."""
    from service.app import build
    from service.log import configure
    from service.store.schema import migrate

    settings = Settings()
    settings.public_url = settings.public_url or _own_domain(settings) or _api_url()
    # Workers do not depend on a custom domain or a proxy.
    settings.worker_url = settings.worker_url or _api_url()
    configure(settings.log_level, settings.log_format)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if not settings.is_offsite:  # else done once this container owns the database
        migrate(settings.database_url)
    return build(settings)


@app.function(
    image=api_image,
    secrets=[secret],
    max_containers=1,
    scaledown_window=2,  # else it would be billed from one minute to the next
    schedule=modal.Cron("* * * * *"),
)
def tick() -> int:
    """Wake the api, so that it does what is due."""
    import httpx

    token = Settings().worker_token
    assert token is not None, "the Secret has RUSHES_WORKER_TOKEN"
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    answer = httpx.post(f"{_api_url()}/internal/tick", headers=headers, timeout=120)
    return answer.raise_for_status().status_code


@app.function(image=cpu_image, volumes={str(WEIGHTS): weights}, timeout=6 * 3600)
def download(model: str) -> str:
    """Download a model's weights to the Volume, on a CPU."""
    from huggingface_hub import snapshot_download

    for source in served_card(SETTINGS, model).weights:
        snapshot_download(
            source.repo,
            revision=source.revision,
            allow_patterns=list(source.files),
        )
    weights.commit()
    return model


def _own_domain(settings: Settings) -> str:
    return f"https://{settings.modal_domain}" if settings.modal_domain else ""


def _api_url() -> str:
    url = modal.Function.from_name(APP, "api").get_web_url()
    assert url is not None, "api is a web function"
    return url.rstrip("/")


class Worker:
    """One model, kept loaded between calls. A call takes a ticket and returns a dict."""

    model: str

    def load(self) -> None:
        from service.environment import keep_compiled
        from service.log import configure
        from service.wiring import storage, worker
        from service.workers.call_worker import CallWorker

        settings = Settings()
        configure(settings.log_level, settings.log_format)
        keep_compiled(settings)
        scratch = settings.data_dir / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        self.worker = CallWorker(
            worker.build_worker_environment(
                settings, storage.mounted_artifacts(settings, _ARTIFACTS), scratch
            ),
            worker.warm(settings),
            retry_seconds=settings.running_lease_seconds,
            interruptions=(modal.exception.InputCancellation,),
            retire=modal.experimental.stop_fetching_inputs,
        )
        self.worker.load(MODELS[self.model])

    @modal.method()
    def run(self, ticket: dict[str, Any]) -> dict[str, Any]:
        call_id = modal.current_function_call_id()
        assert call_id is not None, "a method runs within a call"
        return self.worker.run(ticket, call_id)


def _options(card: ModelCard) -> dict[str, Any]:
    return {
        "image": gpu_image,
        # A card without GPUs means a CPU.
        "gpu": SETTINGS.modal_gpus.get(card.name) or list(card.gpus) or None,
        "secrets": bucket,
        "volumes": {
            str(_ARTIFACTS): artifacts,
            str(WEIGHTS): weights.read_only(),
            str(_COMPILED): compiler_cache,
        },
        "timeout": call_seconds(SETTINGS) + CALL_MARGIN_SECONDS,
        "startup_timeout": int(SETTINGS.modal_start_seconds),
        "min_containers": SETTINGS.modal_min_containers.get(card.name),
        "max_containers": SETTINGS.modal_max_containers,
        "scaledown_window": SETTINGS.modal_scaledown_seconds,
        "retries": 0,  # the job's attempts are the only retries
        **(_snapshot(card) if card.name in SETTINGS.modal_snapshots else {}),
    }


def _snapshot(card: ModelCard) -> dict[str, Any]:
    """Return the options for a memory snapshot after `load`, GPU memory included."""
    gpu = {"experimental_options": {"enable_gpu_snapshot": True}} if card.gpus else {}
    return {"enable_memory_snapshot": True, **gpu}


def _worker(card: ModelCard) -> type:
    """Create the Cls of a model under its own name in this module."""
    load = modal.enter(snap=card.name in SETTINGS.modal_snapshots)(Worker.load)
    attributes = {"model": card.name, "load": load, "__module__": __name__}
    return type(class_name(card.name), (Worker,), attributes)


for _card in MODELS.values():
    _cls = _worker(_card)
    globals()[_cls.__name__] = app.cls(**_options(_card))(_cls)
