"""The words of the code: docstrings that say what a thing does, names that say what a value is."""

import ast
import re
import tokenize
from collections.abc import Iterator

import pytest

from scripts.measure import ROOT, Module, bound_names, is_participle, modules

SERVICE = modules(ROOT / "service")
# Openings that name no subject and no act.
OPENINGS = ("What ", "Whether ", "The same", "Where ", "How ", "Who ", "Why ", "As ", "Of ")
# Retired names of files, classes and functions: each said nothing to a stranger.
RETIRED = frozenset(
    """accept answers asked bell bench bring brought desk ear express
    forms held home incoming insist judged keyring landing levers lift lifeline line mind pace parts
    plea put_off pulled puller room seen shelf stir stops studio told turn turns waits hand_on
    heed most longest film films picture pictures""".split()
)
# Participles that a wire, a column or a library gives its name to, or that are nouns here.
MAX_SHARE = 0.01


def docstrings(module: Module) -> Iterator[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(module.tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield text


def definitions(module: Module) -> Iterator[str]:
    yield module.path.stem
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name.strip("_").lower()


@pytest.mark.parametrize("module", SERVICE, ids=lambda module: module.name)
def test_no_docstring_begins_without_a_subject_or_an_act(module: Module) -> None:
    assert [text for text in docstrings(module) if text.startswith(OPENINGS)] == []


def texts(module: Module) -> Iterator[str]:
    """The comments and docstrings of a module."""
    yield from docstrings(module)
    with module.path.open("rb") as file:
        tokens = tokenize.tokenize(file.readline)
        yield from (token.string for token in tokens if token.type == tokenize.COMMENT)


FILES = [
    f"/{path.relative_to(ROOT)}"
    for name in ("service", "scripts", "docs")
    for path in (ROOT / name).rglob("*")
]


@pytest.mark.parametrize("module", SERVICE, ids=lambda module: module.name)
def test_a_file_that_a_text_names_exists(module: Module) -> None:
    named = re.findall(r"(?<![\w./-])[\w/-]+\.(?:py|md)\b", "\n".join(texts(module)))

    assert [name for name in named if not any(file.endswith(f"/{name}") for file in FILES)] == []


@pytest.mark.parametrize("module", SERVICE, ids=lambda module: module.name)
def test_no_file_class_or_function_has_a_retired_name(module: Module) -> None:
    assert RETIRED.intersection(definitions(module)) == set()


def test_few_names_are_participles_or_pronouns() -> None:
    names = [name for module in SERVICE for name, _ in bound_names(module.tree)]

    assert sum(map(is_participle, names)) / len(names) <= MAX_SHARE


def test_a_limit_is_called_max() -> None:
    others = [
        name
        for module in SERVICE
        for name, _ in bound_names(module.tree)
        if name.strip("_").lower().startswith(("most_", "longest_", "largest_"))
    ]

    assert others == []
