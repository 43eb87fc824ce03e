"""Traces of real jobs, by OpenTelemetry's SDK: to its exporter in memory, and to a collector."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.app import build
from service.settings import Settings
from tests.api.world import KEY, World
from tests.contract.write import ROOT
from tests.webhooks.receiver import Receiver, receiving

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path / "received") as found:
        yield found


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the services that start after this send, instead of to a collector."""
    exporter = InMemorySpanExporter()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda: exporter)
    return exporter


def start(stack: ExitStack, settings: Settings) -> World:
    settings.webhooks_allow_loopback = True
    client = stack.enter_context(TestClient(build(settings), base_url="http://rushes.test"))
    client.headers["Authorization"] = f"Bearer {KEY}"
    return World(client)


@pytest.fixture
def world(spans: InMemorySpanExporter, settings: Settings) -> Iterator[World]:
    with ExitStack() as stack:
        yield start(stack, settings)


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def named(spans: InMemorySpanExporter, name: str, count: int = 1) -> list[ReadableSpan]:
    """The spans of this name, once there are so many, by when they started."""

    def found() -> list[ReadableSpan]:
        return [span for span in spans.get_finished_spans() if span.name == name]

    until(lambda: len(found()) >= count)
    assert len(found()) == count
    return sorted(found(), key=lambda span: span.start_time or 0)


def children(spans: InMemorySpanExporter, parent: ReadableSpan) -> list[ReadableSpan]:
    below = [
        span
        for span in spans.get_finished_spans()
        if span.parent is not None and span.parent.span_id == parent.context.span_id
    ]
    return sorted(below, key=lambda span: (span.start_time or 0, span.end_time or 0))


def test_a_job_of_two_attempts_is_one_trace_within_that_of_its_caller(
    world: World, spans: InMemorySpanExporter, receiver: Receiver
) -> None:
    ask = {"prompt": "a secret ball", "webhook_url": receiver.url("ok")}
    job = world.client.post("/generate-video", json=ask, headers={"traceparent": SAMPLED}).json()
    ticket, begun = world.begin()
    world.report(ticket, "release", fence=begun["fence"])
    world.finish(load=20, generate=300, encode=5, upload=1, preprocess=2)

    (webhook,), (whole,) = named(spans, "POST webhook"), named(spans, "job slate")

    everything = spans.get_finished_spans()
    assert {f"{span.context.trace_id:032x}" for span in everything} == {TRACE}
    assert whole.parent is not None
    assert f"{whole.parent.span_id:016x}" == CALLER
    assert whole.attributes is not None
    assert whole.attributes["rushes.job.id"] == job["id"]
    submit, queue, released, queue_again, finished = [
        span for span in children(spans, whole) if span is not webhook
    ]
    kinds = [(span.name, span.kind) for span in (submit, queue, released, queue_again, finished)]
    assert kinds == [
        ("send jobs", SpanKind.PRODUCER),
        ("queue", SpanKind.INTERNAL),
        ("process jobs", SpanKind.CONSUMER),
        ("queue", SpanKind.INTERNAL),
        ("process jobs", SpanKind.CONSUMER),
    ]
    for attempt in (released, finished):
        assert [link.context for link in attempt.links] == [submit.context]
    # Queues and attempts cover the time from submit to end, without a gap.
    parts = (queue, released, queue_again, finished)
    assert [whole.start_time, *(span.end_time for span in parts)] == [
        *(span.start_time for span in parts),
        whole.end_time,
    ]
    assert [span.name for span in children(spans, released)] == ["start"]
    stages = children(spans, finished)
    assert [span.name for span in stages] == [
        "start", "preprocess", "load", "generate", "encode", "upload",
    ]  # fmt: skip
    lengths = [(span.end_time or 0) - (span.start_time or 0) for span in stages[1:]]
    assert [length // 1_000_000 for length in lengths] == [2, 20, 300, 5, 1]
    assert webhook.parent is not None
    assert webhook.parent.span_id == whole.context.span_id
    assert webhook.attributes is not None
    assert webhook.attributes["http.response.status_code"] == 200
    assert webhook.attributes["server.address"] == "127.0.0.1"
    assert not any(span.status.status_code is StatusCode.ERROR for span in everything)
    shown = " ".join(span.to_json() for span in everything)
    assert "secret" not in shown
    assert "/ok" not in shown


def test_what_failed_is_marked_with_its_code(
    world: World, spans: InMemorySpanExporter, receiver: Receiver
) -> None:
    world.submit(webhook_url=receiver.url("500"))
    ticket, begun = world.begin()
    failure = {"kind": "user", "code": "media_format", "message": "secret.jpg is no image"}
    times = {"load": 20, "generate": 300}
    told = {**failure, "stage": "generate", "timings_ms": times}
    world.report(ticket, "fail", fence=begun["fence"], failure=told)

    (whole,), (webhook,) = named(spans, "job slate"), named(spans, "POST webhook")

    (attempt,) = named(spans, "process jobs")
    for span, code in ((whole, "media_format"), (attempt, "user"), (webhook, "500")):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == code
        assert span.attributes is not None
        assert span.attributes["error.type"] == code
    start, load, generate = children(spans, attempt)
    assert [span.name for span in (start, load, generate)] == ["start", "load", "generate"]
    assert (generate.end_time or 0) - (load.start_time or 0) == 320_000_000
    assert generate.status.description == "media_format"
    assert load.status.status_code is not StatusCode.ERROR
    assert whole.parent is None
    assert not any("secret" in span.to_json() for span in spans.get_finished_spans())


def test_a_retry_is_linked_to_the_job_that_it_retries(
    world: World, spans: InMemorySpanExporter
) -> None:
    job = world.submit()
    world.client.post(f"/v1/jobs/{job['id']}/cancel")
    retry = world.client.post(f"/v1/jobs/{job['id']}/retry", json={}).json()
    world.client.post(f"/v1/jobs/{retry['id']}/cancel")

    first, second = named(spans, "job slate", 2)

    assert first.links == ()
    assert [link.context for link in second.links] == [first.context]
    assert second.context.trace_id != first.context.trace_id
    assert [span.name for span in children(spans, second)] == ["send jobs", "queue"]


def test_a_caller_that_is_not_sampled_has_no_spans(
    world: World, spans: InMemorySpanExporter, receiver: Receiver
) -> None:
    ask = {"prompt": "a ball", "webhook_url": receiver.url("ok")}
    world.client.post("/generate-video", json=ask, headers={"traceparent": UNSAMPLED})
    world.finish()
    receiver.wait("ok")
    world.client.post(f"/v1/jobs/{world.submit()['id']}/cancel")

    named(spans, "job slate")

    assert not [span for span in spans.get_finished_spans() if span.name == "process jobs"]
    assert not [span for span in spans.get_finished_spans() if span.name == "POST webhook"]


def test_of_two_processes_on_one_database_one_sends_a_span(
    spans: InMemorySpanExporter, settings: Settings, tmp_path: Path, postgres_url: str
) -> None:
    with ExitStack() as stack, receiving(tmp_path / "received") as receiver:
        changes = {"database_url": postgres_url}
        first, second = (
            start(stack, settings.model_copy(update={**changes, "data_dir": tmp_path / name}))
            for name in ("a", "b")
        )
        ids = [first.submit(webhook_url=receiver.url("ok"))["id"] for _ in range(6)]
        for number, job_id in enumerate(ids):
            (first, second)[number % 2].client.post(f"/v1/jobs/{job_id}/cancel")
        named(spans, "POST webhook", 6)
        named(spans, "job slate", 6)
    # Both have stopped, and sent what they had.
    numbers = Counter(span.context.span_id for span in spans.get_finished_spans())
    assert set(numbers.values()) == {1}
    whole = named(spans, "job slate", 6)
    assert {span.attributes["rushes.job.id"] for span in whole if span.attributes} == set(ids)


class _Slow(InMemorySpanExporter):
    """A collector that takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.is_open.wait(60)
        return super().export(spans)


def test_a_collector_that_falls_behind_gets_every_span(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    collector = _Slow()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "150")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "150")
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda: collector)
    with ExitStack() as stack:
        world = start(stack, settings)
        for _ in range(120):
            world.client.post(f"/v1/jobs/{world.submit()['id']}/cancel")
        collector.is_open.set()
        named(collector, "job slate", 120)
    assert len(collector.get_finished_spans()) == 120 * 3


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[dict[str, str], bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(({**headers, ":path": self.path}, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as server:
        yield server


def test_a_collector_gets_spans_by_the_standard_variables(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, collector: Collector
) -> None:
    address = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "studio")
    with ExitStack() as stack:
        world = start(stack, settings)
        job = world.submit()
        world.client.post(f"/v1/jobs/{job['id']}/cancel")
        until(lambda: collector.requests)

    headers, body = collector.requests[0]
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    told = {each.key: each.value.string_value for each in resource.resource.attributes}
    names = {span.name for scope in resource.scope_spans for span in scope.spans}
    assert (headers[":path"], headers["api-key"]) == ("/v1/traces", "abc")
    assert told["service.name"] == "studio"
    assert names == {"job slate", "send jobs", "queue"}


_WITHOUT = """
import sys
from service import app
from service.wiring.traces import build_traces
assert build_traces("1") is None
raise SystemExit(any(name.startswith("opentelemetry.sdk") for name in sys.modules))
"""


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{}, {"OTEL_SDK_DISABLED": "true"}])
def test_without_a_collector_nothing_is_imported(variables: dict[str, str]) -> None:
    address = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"} if variables else {}
    environment = {"PATH": "/usr/bin:/bin", **address, **variables}

    subprocess.run([sys.executable, "-c", _WITHOUT], check=True, cwd=ROOT, env=environment)
