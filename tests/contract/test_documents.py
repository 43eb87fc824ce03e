"""The documents say what the code does."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.routing import APIRoute

from service.api import problems
from service.api.openapi import Audience
from service.api.routes import ROUTERS
from service.api.schemas.responses import CODES
from service.deployment import _NOT_DEPLOYED
from service.domain.attempt import FailureKind
from service.domain.errors import ServiceError
from service.domain.job import MOVES
from service.domain.models.catalog import CARDS
from service.domain.request import VideoParams
from service.settings import ClientSettings, Settings
from service.workers.adapters.registry import ADAPTERS
from tests.contract import write
from tests.contract.documents import read, section, words_in_column
from tests.contract.openapi import document
from tests.contract.write import ROOT, WRITTEN, env_example


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for audience in get_args(Audience):
        for path, methods in document(audience)["paths"].items():
            for method, operation in methods.items():
                yield method.upper(), path, operation


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_generated_is_up_to_date(name: str) -> None:
    assert read(name) == WRITTEN[name](), f"{name} is stale: run `make client`"


def test_the_state_diagram_has_the_arrows_of_moves() -> None:
    diagram = read("docs/state-machine.md")
    arrows = re.findall(r"^ +(\w+) --> (\w+)", diagram, re.MULTILINE)

    assert sorted(arrows) == sorted((a, b) for a, targets in MOVES.items() for b in targets)


def test_every_arrow_is_explained() -> None:
    rows = re.findall(r"^\| (\w+) → (\w+) \|", read("docs/state-machine.md"), re.MULTILINE)

    assert sorted(rows) == sorted((a, b) for a, targets in MOVES.items() for b in targets)


def test_every_model_has_a_card_and_an_adapter() -> None:
    assert CARDS.keys() == ADAPTERS.keys()
    assert all(name == card.name for name, card in CARDS.items())


def test_every_route_is_in_the_api_document() -> None:
    documented = read("docs/api.md")

    missing = [f"{m} {path}" for m, path, _ in operations() if f"`{m} {path}`" not in documented]

    assert missing == []


def test_operation_ids_are_the_names_of_the_functions() -> None:
    ids = Counter(operation["operationId"] for _, _, operation in operations())
    routes = [route for router in ROUTERS for route in router.routes]
    shown = [r for r in routes if isinstance(r, APIRoute) and r.include_in_schema]

    assert max(ids.values()) == 1
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in ids)
    assert ids.keys() == {route.endpoint.__name__ for route in shown}


def test_every_field_of_a_submit_is_in_the_api_document() -> None:
    table = section(read("docs/api.md"), "## Make a video")

    assert words_in_column(table, 0) == set(VideoParams.model_fields)


def test_every_error_code_is_in_the_api_document() -> None:
    # The tree's root is never raised, and a conflict always says which.
    kinds = {kind.code for kind in _tree(ServiceError)} - {"service_error", "conflict"}
    of_http = {code for code, _ in problems._HTTP_PROBLEMS.values()} | {"internal_error"}
    of_http |= set(problems._HTTP_CODES.values())

    table = section(read("docs/api.md"), "## Errors")

    codes = kinds | of_http | _given_on_the_spot()
    assert words_in_column(table, 1) == codes
    assert codes == CODES.keys()


def _tree(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


_PACKAGES = ("api", "runtime", "lifecycle", "webhooks", "domain")


def _given_on_the_spot() -> set[str]:
    """As in `Conflict(…, code="not_final")`; what ends attempts gives codes to jobs instead."""
    packages = (ROOT / "service" / name for name in _PACKAGES)
    files = [
        path
        for package in packages
        for path in package.rglob("*.py")
        if path.stem not in ("rescue", "calls", "report", "examples")
    ]
    return {code for path in files for code in re.findall(r'\bcode="(\w+)"', path.read_text())}


def test_every_kind_of_failure_is_in_the_api_document() -> None:
    table = section(read("docs/api.md"), "### When a job fails")

    assert words_in_column(table, 0) == set(FailureKind)


def test_the_limits_in_the_api_document_are_those_of_the_settings() -> None:
    table = section(read("docs/api.md"), "## Limits")
    rows = re.findall(r"\| ([\d,]+)[^|]*\| `RUSHES_(\w+)` \|", table)
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items()}

    assert rows
    assert all(int(number.replace(",", "")) == defaults[name] for number, name in rows)


def test_the_settings_that_are_not_deployed_are_in_the_document_of_modal() -> None:
    text = section(read("docs/modal.md"), "## Settings and secrets")
    exceptions = text.split("apply except")[1].split("| setting |")[0]

    # Of the weights only some folders are left out.
    named = set(re.findall(r"`RUSHES_(\w+)`", exceptions)) - {"WEIGHTS"}

    assert named == {re.sub("^S3_.*", "S3_", name.upper()) for name in _NOT_DEPLOYED}


def test_the_example_environment_is_what_there_is_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*Settings.model_fields, *ClientSettings.model_fields):
        monkeypatch.delenv(f"RUSHES_{name.upper()}", raising=False)
    example = tmp_path / "example"
    example.write_text(env_example())

    for settings in (Settings, ClientSettings):
        assert settings(_env_file=example) == settings(_env_file=None)


DOCUMENTS = [
    "README.md",
    "CHANGELOG.md",
    *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("docs/**/*.md"))),
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", read(name))

    broken = [link for link in links if "://" not in link and not _leads(ROOT / name, link)]

    assert broken == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_documents_name_are_there(name: str) -> None:
    named = re.findall(
        r"`((?:service|tests|docs|clients|benchmarks|scripts|packaging)/[\w/.]+)`", read(name)
    )

    assert [path for path in named if not (ROOT / path).exists()] == []


def _leads(document: Path, link: str) -> bool:
    place, _, anchor = link.partition("#")
    target = document.parent / place if place else document
    if not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}


def test_the_cheapest_gpu_is_quick_enough_and_none_that_is_costs_less() -> None:
    assert write.cheapest(CARDS["mochi"]) is None
    for card in CARDS.values():
        found = write.cheapest(card)
        quick = [speed for speed in write.counted(card) if speed.seconds <= write.GOOD_SECONDS]
        assert (found in quick) if quick else found is None
        if found is not None:
            usd = write.usd_for_ten(card, found)
            assert usd == min(write.usd_for_ten(card, speed) for speed in quick)
    # What is measured outweighs what is cited of the same GPU, 10 s.
    assert write.cheapest(CARDS["ltx-13b"]) is None
    # 2.7 s of an L40S for 121 frames at 24 fps: 5.36 s and 0.000542 $ for each of them.
    assert write.usd_for_ten(CARDS["ltx-2b"], CARDS["ltx-2b"].speeds[0]) == pytest.approx(
        2.7 / (121 / 24) * 10 * 0.000542
    )


def test_names_in_the_table_of_changes_are_in_the_files_of_their_rows() -> None:
    for row in section(read("docs/architecture.md"), "## Where a change goes").splitlines():
        paths = [ROOT / path for path in re.findall(r"`(\w+/[\w./-]*)`", row)]
        files = [
            file for path in paths for file in ([path] if path.is_file() else path.rglob("*.*"))
        ]
        texts = [file.read_text(errors="ignore") for file in files]
        for name in re.findall(r"`(\w+)`", row):
            assert any(re.search(rf"\b{name}\b", text) for text in texts), (name, row[:40])
