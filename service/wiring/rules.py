"""Build the domain's rules from the settings."""

import resource
from datetime import timedelta
from importlib.metadata import version

from service.deployment import API_INPUTS, call_seconds, served_card
from service.domain.errors import Unavailable
from service.domain.limits import Limits, max_streams, max_waits
from service.domain.models.card import ModelCard
from service.domain.models.catalog import CARDS, SLATE, check_accepted_names, check_licence
from service.domain.models.tuning import Tuning
from service.domain.price import GPUS, MODAL_TABLE, Rates, table_of
from service.domain.retention import RetentionPolicy
from service.domain.terms import Terms
from service.egress.client import Rules
from service.settings import Settings

VERSION = version("rushes")


def cards(settings: Settings) -> dict[str, ModelCard]:
    """Return the cards of the served models, the default first."""
    names = settings.models or [SLATE.name]
    unknown = [name for name in names if name not in CARDS]
    if unknown:
        raise Unavailable(
            f"unknown model {unknown[0]!r} in RUSHES_MODELS; valid: {', '.join(CARDS)}"
        )
    check_accepted_names(settings.accept_licences)
    for name in names:
        check_licence(CARDS[name], settings.accept_licences)
    return {name: served_card(settings, name) for name in names}


def tuning(settings: Settings) -> Tuning:
    return Tuning(**{name: getattr(settings, name) for name in Tuning.model_fields})


def limits(settings: Settings) -> Limits:
    is_modal = settings.dispatch == "modal"
    max_timeout = timedelta(seconds=call_seconds(settings)) if is_modal else timedelta(days=1)
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = API_INPUTS // 5 if is_modal else max_streams(open_files)
    return Limits(
        max_queued_per_key=settings.max_queued_per_key,
        max_input_bytes_per_key=settings.max_input_bytes_per_key,
        max_active_per_key=settings.max_active_per_key,
        max_waits=API_INPUTS * 6 // 10 if is_modal else max_waits(open_files),
        max_streams=min(settings.max_streams, room),
        max_stream=timedelta(seconds=settings.stream_seconds),
        default_timeout=timedelta(seconds=settings.job_timeout_seconds),
        max_timeout=max_timeout,
        running_lease=timedelta(seconds=settings.running_lease_seconds),
    )


def terms(settings: Settings) -> Terms:
    return Terms(
        rates=rates(settings),
        retention=retention_policy(settings),
        models=frozenset(cards(settings)),
    )


def rates(settings: Settings) -> Rates:
    """Return the rates of the settings; on Modal they override Modal's price list."""
    table = MODAL_TABLE if settings.dispatch == "modal" else {}
    gpus_by_model = {name: tuple(gpus) for name, gpus in settings.modal_gpus.items()}
    return Rates(
        table={**table, **table_of(settings.gpu_rates, "RUSHES_GPU_RATES")},
        gpus={**GPUS, **gpus_by_model},
        host=settings.gpu_host_rate,
    )


def retention_policy(settings: Settings) -> RetentionPolicy:
    return RetentionPolicy(
        videos=timedelta(days=settings.keep_days),
        jobs=timedelta(days=settings.keep_jobs_days),
        deliveries=timedelta(days=settings.keep_jobs_days),
    )


def egress_rules(settings: Settings) -> Rules:
    return Rules(
        ports=frozenset(settings.egress_ports), allow_loopback=settings.webhooks_allow_loopback
    )
