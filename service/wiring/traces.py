"""Build what sends traces to a collector."""

import logging
from typing import TYPE_CHECKING

from service.environment import wants_traces
from service.installation import install_command

if TYPE_CHECKING:
    from service.runtime.traces import Traces

log = logging.getLogger(__name__)


def build_traces(version: str) -> "Traces | None":
    """Return the sender of traces; None where no collector is named, and nothing is imported."""
    if not wants_traces():
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from service.runtime.traces import Traces
    except ImportError:
        # No reason to refuse the start: these variables are often set for a whole machine.
        log.warning(
            "no traces are sent; the packages are missing",
            extra={"install": install_command("traces")},
        )
        return None
    return Traces(OTLPSpanExporter(), version)
