"""The import rule: a module imports only what lies below it, and only `runtime` imports torch and its kin."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "recipe_runner"

LAYERS = (
    ("errors", "codes", "canonical", "learned_tokens", "nearest", "paths", "scalars", "words"),
    ("text", "syntax", "nodes", "overrides", "document", "yaml_text", "disk"),
    ("recipe",),
    ("diffusers_table", "findings", "explanations", "schema_parts", "schema", "generate", "rules", "matrix", "load"),
    ("weights",),
    ("sources",),
    ("graph",),
    ("component_fit", "resolved", "handle", "placed"),
    ("adapters", "resolve_base"),
    ("partly", "resolve", "compile", "reasons", "memory", "only", "prompt_window"),
    ("execute",),
    ("record",),
    ("diff",),
    ("runtime",),
    ("report",),
    ("exchange",),
    ("locking", "pinned", "lock_check", "fetching", "exporting"),
    ("preflight",),
    ("run", "api", "rerun", "verifying"),
    ("cli", "__main__", "__init__"),
)
"""From the bottom up; modules of one row may import each other, as long as there is no cycle."""

HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")


def modules() -> dict[str, Path]:
    """Every module by its dotted name within the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(path: Path, *, top_level: bool = False) -> list[str]:
    """The absolute names that a file imports, but for TYPE_CHECKING and, with `top_level`, but for functions."""
    names: list[str] = []

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if top_level and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if isinstance(child, ast.Import):
                names.extend(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                names.append(child.module)
                names.extend(f"{child.module}.{alias.name}" for alias in child.names)
            walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return names


def layer(module: str) -> int:
    top = module.split(".", maxsplit=1)[0]
    for number, row in enumerate(LAYERS):
        if top in row:
            return number
    message = f"{module} is in no layer"
    raise AssertionError(message)


@pytest.mark.parametrize("module", list(modules()))
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    own = [
        name.removeprefix("recipe_runner.") for name in imports(modules()[module]) if name.startswith("recipe_runner.")
    ]
    known = {name for name in own if name.split(".")[0] in {top for row in LAYERS for top in row}}
    above = [name for name in sorted(known) if layer(name) > layer(module)]
    # The door of the command line loads commands, and the package its public names, when they are asked for.
    assert module in ("cli.main", "__init__") or not above


@pytest.mark.parametrize("module", [name for name in modules() if not name.startswith("runtime")])
def test_only_runtime_imports_torch(module: str) -> None:
    assert not [name for name in imports(modules()[module]) if name.split(".")[0] in HEAVY]


def test_there_are_no_cycles() -> None:
    paths = modules()
    edges = {
        module: sorted(
            {
                name.removeprefix("recipe_runner.")
                for name in imports(path, top_level=True)
                if name.removeprefix("recipe_runner.") in set(paths) - {module} and name.startswith("recipe_runner.")
            }
        )
        for module, path in paths.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail, module))
        if module not in done:
            for other in edges[module]:
                visit(other, (*trail, module))
            done.add(module)

    for module in edges:
        visit(module, ())


@pytest.mark.parametrize(
    "statement", ["import recipe_runner", "from recipe_runner import api", "import recipe_runner.cli.main"]
)
def test_importing_the_package_does_not_import_torch(statement: str) -> None:
    code = f"import sys\n{statement}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_no_file_is_long_and_none_is_a_drawer() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in ROOT.glob("*/**/*.py")
        if ".venv" not in path.parts
    }
    assert {name: count for name, count in lines.items() if count > 400} == {}
    assert not [name for name in lines if Path(name).stem in ("utils", "common", "helpers", "manager")]
