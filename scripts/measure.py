"""Measures of how hard the code of `service/` is to read: `python scripts/measure.py`.

Each is counted on the syntax tree, so that anybody gets the same figures for any package:
`python scripts/measure.py path/to/package`.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Past participles and pronouns that say nothing of what a value is.
_IRREGULAR = frozenset(
    """begun bound bought broken brought built caught chosen come cut dealt done drawn driven eaten
    fallen fed felt forgotten found given gone grown had heard held hidden hit hung kept known laid
    led left lent lost made meant met paid put read said seen sent set shown shut sold spent split
    spoken stood stuck taken taught thought told torn understood woken won worn written
    one ones it this that these those other others another something nothing anything everything
    whatever whichever whoever""".split()
)
# Nouns, though they look like participles.
_NOUNS = frozenset("bed embed feed need read red seed shed speed set cut put split spread".split())


@dataclass(frozen=True)
class Module:
    """A parsed file of the package."""

    path: Path
    name: str  # dotted
    tree: ast.Module
    num_lines: int


@dataclass(frozen=True)
class Measures:
    """The figures of one package. Shares are of all functions, or of all bound names."""

    files: int
    lines: int
    functions: int
    share_long: float  # functions of more than 50 lines
    max_complexity: int
    cycles: int
    imports_per_file: float  # of modules of the package itself
    share_participles: float
    max_file: int


def modules(package: Path) -> list[Module]:
    """Parse every file of `package`, a folder."""
    result = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text()
        full_name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        name = full_name.removesuffix(".__init__")
        result.append(Module(path, name, ast.parse(text), text.count("\n")))
    return result


def measure(package: Path) -> Measures:
    """Count everything for `package`, a folder."""
    files = modules(package)
    functions = [node for module in files for node in functions_of(module)]
    long = [node for node in functions if (node.end_lineno or 0) - node.lineno + 1 > 50]
    names = [name for module in files for name, _ in bound_names(module.tree)]
    imports = {module.name: imported(module, files) for module in files}
    return Measures(
        files=len(files),
        lines=sum(module.num_lines for module in files),
        functions=len(functions),
        share_long=len(long) / len(functions),
        max_complexity=max(map(complexity, functions)),
        cycles=len(cycles(imports)),
        imports_per_file=sum(map(len, imports.values())) / len(files),
        share_participles=sum(map(is_participle, names)) / len(names),
        max_file=max(module.num_lines for module in files),
    )


def functions_of(module: Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module, nested ones too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(module.tree) if isinstance(node, kinds)]


_BRANCHES = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension,
    ast.match_case, ast.Assert,
)  # fmt: skip


def complexity(function: ast.AST) -> int:
    """McCabe's number: one, and one for each place where the way through it forks."""
    forks = sum(isinstance(node, _BRANCHES) for node in ast.walk(function))
    chains = [node for node in ast.walk(function) if isinstance(node, ast.BoolOp)]
    return 1 + forks + sum(len(node.values) - 1 for node in chains)


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names that code gives to values, with the line: variables, parameters, loop variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg) and node.arg not in ("self", "cls"):
            yield node.arg, node.lineno
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, node.lineno


def is_participle(name: str) -> bool:
    """Tell whether a name of one word is a bare past participle or a pronoun."""
    word = name.strip("_")
    if word in _NOUNS or not word.islower() or "_" in word:
        return False
    return word in _IRREGULAR or re.fullmatch(r"[a-z]{2,}ed", word) is not None


def imported(module: Module, files: list[Module]) -> set[str]:
    """The package's own modules that a module imports when it is loaded."""
    names = {file.name for file in files}
    package = files[0].name.partition(".")[0]
    targets: set[str] = set()
    for node in top_level(module.tree):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names if alias.name in names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            source = node.module or ""
            for alias in node.names:
                full = f"{source}.{alias.name}"
                targets.add(full if full in names else source)
    return targets - {module.name}


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported, but for those only a type checker reads."""
    for node in tree.body:
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield node


def cycles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or by way of others."""
    reach = {name: set(targets) for name, targets in imports.items()}
    for middle in reach:
        for targets in reach.values():
            if middle in targets:
                targets |= reach[middle]
    cyclic = {name for name, targets in reach.items() if name in targets}
    groups = {
        frozenset(n for n in cyclic if n in reach[name] and name in reach[n]) for name in cyclic
    }
    return [set(group) for group in groups]


def main() -> None:
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "service"
    for name, value in vars(measure(package)).items():
        text = f"{value:.2%}" if name.startswith("share") else f"{value:g}"
        print(f"{name:18}{text:>10}")


if __name__ == "__main__":
    main()
