"""How hard the code is to read, by `scripts/measure.py`: bounds that it keeps."""

from scripts.measure import ROOT, imported, measure, modules

SERVICE = ROOT / "service"


def test_the_code_keeps_the_bounds_of_its_measures() -> None:
    measures = measure(SERVICE)

    assert measures.cycles == 0
    assert measures.share_long <= 0.002
    assert measures.max_complexity <= 13
    assert measures.imports_per_file <= 4.3
    assert measures.share_participles <= 0.01
    assert measures.max_file <= 400


def test_the_application_knows_few_modules_and_few_know_the_writer() -> None:
    parsed = modules(SERVICE)
    imports = {module.name: imported(module, parsed) for module in parsed}

    assert len(imports["service.app"]) <= 25
    assert sum("service.store.writer" in names for names in imports.values()) <= 15
