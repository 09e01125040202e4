"""How the package is built: its modules and packages, cycles of imports, sizes, and how much one line decides.

.venv/bin/python tests/benchmarks/house.py
.venv/bin/python tests/benchmarks/house.py --list ternaries recipe_runner/rules

Without arguments it prints every figure with its limit. `--list` names the places that one figure counts, by file.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from radon.visitors import ComplexityVisitor, Function

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "recipe_runner"
Kinds = tuple[type[ast.AST], ...]
TERNARIES: Kinds = (ast.IfExp,)
COMPREHENSIONS: Kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
HIGH, HIGHEST = 10, 15
"""Cyclomatic complexity that only few functions exceed, and that none does."""
LONG_FILE = 400
"""Lines that no file exceeds."""
FAMILIES = ("sdxl", "flux")
"""Names of families that stand as literals in few files."""

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True, order=True)
class Place:
    """One thing that a figure counts."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        """`file:line: what`, as editors open it."""
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Figure:
    """A figure with the limit that it must not exceed; None where it is only reported."""

    name: str
    value: float
    limit: float | None = None

    def __str__(self) -> str:
        """One line of the table."""
        value = f"{self.value:,.1f}" if isinstance(self.value, float) else f"{self.value:,}"
        if self.limit is None:
            return f"{self.name:<52} {value:>9}"
        mark = "" if self.is_met else "  over"
        return f"{self.name:<52} {value:>9}   limit {self.limit:,}{mark}"

    @property
    def is_met(self) -> bool:
        """Whether the limit holds."""
        return self.limit is None or self.value <= self.limit


def files(under: Path = PACKAGE) -> list[Path]:
    """The Python files of the package, or of a part of it."""
    return [under] if under.is_file() else sorted(under.rglob("*.py"))


@cache
def text_of(path: Path) -> str:
    """What is in a file."""
    return path.read_text(encoding="utf-8")


@cache
def lines_of(path: Path) -> tuple[str, ...]:
    """A file's lines."""
    return tuple(text_of(path).splitlines())


@cache
def tree_of(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(text_of(path))


def line_count(under: Path = PACKAGE) -> int:
    """All lines, empty ones and comments among them."""
    return sum(len(lines_of(path)) for path in files(under))


def written_lines(under: Path = PACKAGE) -> int:
    """Lines that hold something other than a comment; docstrings count."""
    lines = [line.strip() for path in files(under) for line in lines_of(path)]
    return sum(line != "" and not line.startswith("#") for line in lines)


def ternaries(under: Path = PACKAGE) -> list[Place]:
    """Every conditional expression."""
    return _nodes(under, TERNARIES)


def comprehensions(under: Path = PACKAGE) -> list[Place]:
    """Every comprehension and generator expression."""
    return _nodes(under, COMPREHENSIONS)


def nested(under: Path = PACKAGE, kinds: Kinds = ()) -> list[Place]:
    """Every conditional expression inside another, and every comprehension inside another; or those of `kinds`."""
    found = []
    for path in files(under):
        for each in (kinds,) if kinds else (TERNARIES, COMPREHENSIONS):
            found += [_place(path, node) for node in _inner(tree_of(path), each)]
    return sorted(found)


def complexities(under: Path = PACKAGE) -> list[tuple[int, Place]]:
    """The cyclomatic complexity of every function and method, the highest first."""
    found = []
    for path in files(under):
        for block in ComplexityVisitor.from_code(text_of(path)).blocks:
            if isinstance(block, Function):
                place = Place(_shown(path), block.lineno, f"{block.fullname} has complexity {block.complexity}")
                found.append((block.complexity, place))
    return sorted(found, key=lambda each: (-each[0], each[1]))


def complex_functions(under: Path = PACKAGE) -> list[Place]:
    """The functions above complexity 10, the most complex first."""
    return [place for complexity, place in complexities(under) if complexity > HIGH]


def long_files(under: Path = PACKAGE) -> list[Place]:
    """The files of more than 400 lines."""
    counts = {path: line_count(path) for path in files(under)}
    return [Place(_shown(path), 1, f"{count} lines") for path, count in counts.items() if count > LONG_FILE]


def function_lengths(under: Path = PACKAGE) -> list[Place]:
    """Every function with its lines, the longest first."""
    found: list[tuple[int, Place]] = []
    for path, node in _walk(under):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            found.append((count, Place(_shown(path), node.lineno, f"{node.name}: {count} lines")))
    return [place for _, place in sorted(found, key=lambda each: (-each[0], each[1]))]


def shared_class_names(under: Path = PACKAGE) -> list[Place]:
    """Every class whose name another class has too."""
    homes: dict[str, list[Place]] = {}
    for path, node in _walk(under):
        if isinstance(node, ast.ClassDef):
            homes.setdefault(node.name, []).append(Place(_shown(path), node.lineno, node.name))
    shared = [places for places in homes.values() if len(places) > 1]
    return sorted((place for places in shared for place in places), key=lambda place: place.text)


def family_literals(under: Path = PACKAGE) -> list[Place]:
    """Every text that is the name of a family, which one table should know."""
    found: list[Place] = []
    for path, node in _walk(under):
        if isinstance(node, ast.Constant) and node.value in FAMILIES:
            found.append(Place(_shown(path), node.lineno, repr(node.value)))
    return sorted(found)


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Every module by its dotted name within the package; `__init__` is the package itself."""
    found = {}
    for path in files(package):
        parts = list(path.relative_to(package).with_suffix("").parts)
        if parts[-1] == "__init__" and len(parts) > 1:
            parts.pop()
        found[".".join(parts)] = path
    return found


def import_graph(package: Path = PACKAGE) -> Graph:
    """The modules that each module imports, also inside functions and under TYPE_CHECKING."""
    known = modules(package)
    graph = {}
    for module, path in known.items():
        names = {_module(name, package.name, known) for name in _imported(tree_of(path))}
        graph[module] = frozenset(name for name in names if name is not None and name != module)
    return graph


def package_graph(package: Path = PACKAGE) -> Graph:
    """The same between what stands at the root: packages and loose modules."""
    graph: dict[str, set[str]] = {}
    for module, others in import_graph(package).items():
        top = module.partition(".")[0]
        graph.setdefault(top, set()).update(other.partition(".")[0] for other in others)
    return {top: frozenset(others - {top}) for top, others in graph.items()}


def cycles(graph: Graph) -> list[list[str]]:
    """The groups of nodes each of which reaches each other one."""
    reached = {node: _reachable(graph, node) for node in graph}
    groups = {frozenset({node} | {each for each in reached[node] if node in reached[each]}) for node in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def cyclic_imports(under: Path = PACKAGE) -> list[Place]:
    """Every import inside a cycle of modules or of packages. `under` is the package."""
    found = []
    for title, graph in (("modules", import_graph(under)), ("packages", package_graph(under))):
        for number, group in enumerate(cycles(graph), start=1):
            for node in group:
                others = ", ".join(sorted(graph[node] & set(group)))
                found.append(Place(f"cycle {number} of {title}", len(group), f"{node} imports {others}"))
    return found


def root_modules(package: Path = PACKAGE) -> list[str]:
    """The loose modules beside `__init__` and `__main__`."""
    return sorted(path.stem for path in package.glob("*.py") if not path.stem.startswith("__"))


def packages(package: Path = PACKAGE) -> list[str]:
    """The packages at the root."""
    return sorted(path.parent.name for path in package.glob("*/__init__.py"))


def folder_sizes(package: Path = PACKAGE) -> dict[str, int]:
    """How many Python files each folder holds, without those in folders of its own."""
    sizes: dict[str, int] = {}
    for path in files(package):
        sizes[_shown(path.parent)] = sizes.get(_shown(path.parent), 0) + 1
    return sizes


def readme_words() -> int:
    """Words of the README, code among them."""
    return len((ROOT / "README.md").read_text(encoding="utf-8").split())


def figures() -> list[Figure]:
    """Every figure of the package, with its limit."""
    lines, found = written_lines(), complexities()
    above = [complexity for complexity, _ in found if complexity > HIGH]
    lengths = [int(place.text.rpartition(": ")[2].split()[0]) for place in function_lengths()]
    literals = {family: {p.path for p in family_literals() if p.text == repr(family)} for family in FAMILIES}
    return [
        Figure("modules at the root", len(root_modules()), 5),
        Figure("packages", len(packages()), 18),
        Figure("files in the largest folder", max(folder_sizes().values()), 30),
        Figure("cycles of modules", len(cycles(import_graph())), 0),
        Figure("cycles of packages", len(cycles(package_graph())), 0),
        Figure("files", len(files())),
        Figure("lines", line_count()),
        Figure("lines, without empty ones and comments", lines),
        Figure("lines of the longest file", max(line_count(path) for path in files()), LONG_FILE),
        Figure("functions", len(lengths)),
        Figure("lines of the longest function", lengths[0]),
        Figure("lines of a function, 95th percentile", lengths[len(lengths) // 20]),
        Figure("ternaries per 1,000 lines", round(len(ternaries()) / lines * 1000, 1), 15),
        Figure("comprehensions per 1,000 lines", round(len(comprehensions()) / lines * 1000, 1), 25),
        Figure("ternaries inside another", len(nested(kinds=TERNARIES)), 0),
        Figure("comprehensions inside another", len(nested(kinds=COMPREHENSIONS)), 0),
        Figure(f"functions above complexity {HIGH}", len(above), 80),
        Figure(f"functions above complexity {HIGHEST}", sum(each > HIGHEST for each in above), 0),
        Figure("highest complexity of a function", found[0][0], HIGHEST),
        Figure("class names used twice or more", len({place.text for place in shared_class_names()}), 0),
        *(Figure(f'files with the literal "{family}"', len(paths), 4) for family, paths in literals.items()),
        Figure("words of the README", readme_words(), 1800),
    ]


LISTS: Mapping[str, Callable[[Path], Sequence[Place]]] = {
    "ternaries": ternaries,
    "comprehensions": comprehensions,
    "nested": nested,
    "complexity": complex_functions,
    "files": long_files,
    "functions": function_lengths,
    "classes": shared_class_names,
    "families": family_literals,
    "cycles": cyclic_imports,
}
"""What `--list` names."""


def _inner(tree: ast.Module, kinds: Kinds) -> list[ast.AST]:
    """The nodes of these kinds that lie inside another of them, each once."""
    found: dict[ast.AST, None] = {}
    for outer in ast.walk(tree):
        if isinstance(outer, kinds):
            inside = (each for each in ast.walk(outer) if isinstance(each, kinds))
            found.update((each, None) for each in inside if each is not outer)
    return list(found)


def _nodes(under: Path, kinds: Kinds) -> list[Place]:
    return sorted(_place(path, node) for path, node in _walk(under) if isinstance(node, kinds))


def _walk(under: Path) -> Iterator[tuple[Path, ast.AST]]:
    for path in files(under):
        for node in ast.walk(tree_of(path)):
            yield path, node


def _place(path: Path, node: ast.AST) -> Place:
    line = getattr(node, "lineno", 1)
    return Place(_shown(path), line, lines_of(path)[line - 1].strip())


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(name: str, package: str, known: Mapping[str, Path]) -> str | None:
    """The module that an imported name is, or is in."""
    top, _, rest = name.partition(".")
    if top != package:
        return None
    while rest and rest not in known:
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


def _reachable(graph: Graph, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), frozenset()) - reached
        reached |= new
        waiting += new
    return reached


def main() -> None:
    """Print the figures, or the places that one counts."""
    parser = argparse.ArgumentParser(description="Print how the package is built.")
    parser.add_argument("--list", choices=LISTS, help="name the places that one figure counts, instead of the figures")
    parser.add_argument("path", nargs="?", type=Path, default=PACKAGE, help="a file or folder, for --list")
    words = parser.parse_args()
    if words.list is None:
        print(*figures(), sep="\n")
        return
    places = LISTS[words.list](words.path.resolve())
    print(*places, sep="\n")
    print(f"{len(places)} in {_shown(words.path.resolve())}", file=sys.stderr)


if __name__ == "__main__":
    main()
