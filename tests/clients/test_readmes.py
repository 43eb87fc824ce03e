"""The code in the READMEs of the TypeScript packages is well typed."""

import json
from pathlib import Path

import pytest

from tests.clients.node import TOOLS, needs_node, run
from tests.contract.documents import blocks
from tests.contract.write import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_node]

READMES = sorted(path.parent.name for path in ROOT.glob("clients/*/README.md"))


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("package", READMES)
def test_the_snippets_of_a_readme_are_well_typed(package: str, tmp_path: Path) -> None:
    readme = (ROOT / "clients" / package / "README.md").read_text()
    snippets = [block for block in blocks(readme) if block.language in ("ts", "tsx")]
    for number, snippet in enumerate(snippets):
        (tmp_path / f"snippet{number}.{snippet.language}").write_text(snippet.text)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    settings = {"extends": str(ROOT / "tsconfig.json"), "include": ["*"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))

    assert snippets
    run(TOOLS / "tsc", folder=tmp_path)
