"""The Python interface: load, compile and run a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recipe_runner import load
from recipe_runner.adapters.tokens import unused_tokens
from recipe_runner.compile import Plan, compile_plan
from recipe_runner.document import Document
from recipe_runner.errors import Problem, RecipeInvalid
from recipe_runner.matrix import variants
from recipe_runner.report.progress import Progress, Quiet
from recipe_runner.resolve import resolve
from recipe_runner.resolved import ResolvedRecipe
from recipe_runner.rules import check_rules
from recipe_runner.rules.view import View
from recipe_runner.run import Run, execute_plan

if TYPE_CHECKING:
    from recipe_runner.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A recipe that was checked, resolved and compiled, with what was only worth a warning."""

    document: Document
    overrides: tuple[str, ...]
    plan: Plan
    warnings: tuple[Problem, ...]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the file `path`, checked, with `path=value` overrides applied.

    Raises:
        RecipeSyntaxError: the file is no document.
        RecipeInvalid: it is no recipe; with all its problems.
    """
    return load.load_recipe(path, overrides)


def prepare(path: str | Path, overrides: Sequence[str] = ()) -> Prepared:
    """Check, resolve and compile the recipe in the file `path`."""
    loaded = load.load_document(path, overrides)
    document = loaded.document
    resolved = resolve(document, variants(document))
    check_pipelines(document, resolved)
    plan = compile_plan(resolved)
    warnings = (*loaded.warnings, *unused_tokens(resolved, _without_token(document)))
    return Prepared(document=document, overrides=tuple(overrides), plan=plan, warnings=warnings)


def check_pipelines(document: Document, resolved: ResolvedRecipe) -> None:
    """Check the rules that depend on the pipeline class again, where only the base's files told the class.

    Raises:
        RecipeInvalid: an argument, prompt, component or adapter that the class does not take.
    """
    if View(document.tree, document.folder).pipeline is not None:
        return
    for pipeline in dict.fromkeys(variant.base.pipeline for variant in resolved.variants):
        if pipeline != "auto":
            problems = check_rules(document.with_overrides([f"base.pipeline={pipeline}"]))
            errors = [problem for problem in problems if problem.severity == "error"]
            if errors:
                raise RecipeInvalid(*errors)


def _without_token(document: Document) -> list[str]:
    """The textual inversions whose token the recipe leaves to the file."""
    tree = cast("Mapping[str, Any]", document.tree)
    axes = tree.get("matrix") or {}
    return [
        name
        for name, adapter in (tree.get("adapters") or {}).items()
        if adapter["kind"] == "textual_inversion" and "token" not in adapter and f"adapters.{name}.token" not in axes
    ]


def compile_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """The build graph and images of the recipe in the file `path`.

    Raises:
        RecipeRunnerError: it is no recipe, or what it names is broken, refused or does not fit. What is merely not on
            this machine makes a provisional plan.
    """
    return prepare(path, overrides).plan


def run_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    runs: str | Path = "runs",
    wait: bool = False,
    make_progress: Callable[[int], Progress] = lambda _: Quiet(),
) -> Run:
    """Make the images of the recipe in the file `path`, below the folder `runs`; made ones are not made again.

    Args:
        path: the recipe.
        overrides: `path=value` texts, as `--set` takes them.
        runs: folder of run folders and the image store.
        wait: wait for another process that works on the same plan.
        make_progress: makes what is told of progress, given the number of images.

    Raises:
        RecipeRunnerError: what cannot be done, with code, place and remedy. What was finished is kept.
    """
    return execute_plan(prepare(path, overrides), Path(runs), wait=wait, make_progress=make_progress)
