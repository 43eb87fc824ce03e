"""The TypeScript in the documents is well typed."""

import json
from pathlib import Path

import pytest

from tests.clients.node import TOOLS, needs_node, run
from tests.contract.documents import blocks
from tests.contract.write import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_node]

DOCUMENTS = [*ROOT.glob("clients/*/README.md"), ROOT / "docs" / "integration.md"]


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT))
def test_the_snippets_of_a_document_are_well_typed(document: Path, tmp_path: Path) -> None:
    found = blocks(document.read_text())
    snippets = [block for block in found if block.language in ("ts", "tsx")]
    for number, snippet in enumerate(snippets):
        (tmp_path / f"snippet{number}.{snippet.language}").write_text(snippet.text)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    settings = {"extends": str(ROOT / "tsconfig.json"), "include": ["*"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))

    assert snippets
    run(TOOLS / "tsc", folder=tmp_path)
