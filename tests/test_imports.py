"""The import rule: a module imports only what lies below it, and only `runtime` imports torch and its kin."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "recipe_runner"

PACKAGES = (
    "version",
    "canonical",
    "problems",
    "disk",
    "document",
    "pipelines",
    "graph",
    "recipe",
    "weights",
    "sources",
    "images",
    "plan",
    "lock",
    "record",
    "diff",
    "runtime",
    "report",
    "exchange",
    "actions",
    "api",
    "cli",
    "__init__",
    "__main__",
)
"""From the bottom up: each imports only those before it."""

MODULES_AT_ROOT = 5
MOST_PACKAGES = 18
MOST_FILES = 30
LONGEST_FILE = 400

HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")


def modules() -> dict[str, Path]:
    """Every module by its dotted name within the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(path: Path) -> list[str]:
    """The absolute names that a file imports anywhere: also in functions, and under TYPE_CHECKING."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imported_modules(path: Path) -> set[str]:
    """The modules of this package that a file imports, by their dotted names within it."""
    found = set()
    known = modules()
    for name in imports(path):
        if name == "recipe_runner" or name.startswith("recipe_runner."):
            own = name.removeprefix("recipe_runner").lstrip(".") or "__init__"
            while own not in known:
                own = own.rpartition(".")[0] or "__init__"
            found.add(own)
    # `from package import module` names both.
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def top(module: str) -> str:
    return module.partition(".")[0]


def test_every_package_has_its_place() -> None:
    assert {top(module) for module in modules()} == set(PACKAGES)
    at_root = list(PACKAGE.glob("*.py"))
    assert len(at_root) <= MODULES_AT_ROOT
    assert len(PACKAGES) - len(at_root) <= MOST_PACKAGES


@pytest.mark.parametrize("module", list(modules()))
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    place = PACKAGES.index(top(module))
    above = sorted(name for name in imported_modules(modules()[module]) if PACKAGES.index(top(name)) > place)
    assert not above


@pytest.mark.parametrize("module", [name for name in modules() if top(name) != "runtime"])
def test_only_runtime_imports_torch(module: str) -> None:
    assert not [name for name in imports(modules()[module]) if top(name) in HEAVY]


def cycle(edges: Mapping[str, Iterable[str]]) -> str:
    """A cycle of the graph, written out; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> str:
        if name in trail:
            return " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in sorted(edges[name]):
                if found := visit(other, (*trail, name)):
                    return found
            done.add(name)
        return ""

    return next((found for name in edges if (found := visit(name, ()))), "")


def test_a_cycle_is_found() -> None:
    assert cycle({"a": ["b"], "b": ["c"], "c": ["b"]}) == "b → c → b"
    assert cycle({"a": ["b"], "b": []}) == ""


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = {module: imported_modules(path) - {module} for module, path in modules().items()}
    assert cycle(edges) == ""


@pytest.mark.parametrize(
    "statement", ["import recipe_runner", "from recipe_runner import api", "import recipe_runner.cli.main"]
)
def test_importing_the_package_does_not_import_torch(statement: str) -> None:
    code = f"import sys\n{statement}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_no_file_is_long_and_no_folder_is_full() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in ROOT.glob("*/**/*.py")
        if ".venv" not in path.parts
    }
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}
    assert not [name for name in lines if Path(name).stem in ("utils", "common", "helpers", "manager")]
    folders = [path for path in (PACKAGE, *PACKAGE.rglob("*")) if path.is_dir() and path.name != "__pycache__"]
    files = {str(folder.relative_to(ROOT)): sum(path.is_file() for path in folder.iterdir()) for folder in folders}
    assert {name: count for name, count in files.items() if count > MOST_FILES} == {}
