"""Checks of a resolved recipe that need no GPU: errors of the pipeline class, and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recipe_runner.document.document import Document
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.plan.checks.masks import mask_warnings
from recipe_runner.plan.checks.memory import memory_warnings
from recipe_runner.plan.checks.negative_prompts import ignored_negative_warnings
from recipe_runner.plan.checks.prompt_length import window_warnings
from recipe_runner.plan.resolved import ResolvedLora
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.plan.resolved_recipe import ResolvedRecipe
from recipe_runner.problems.problem import Problem, RecipeInvalid
from recipe_runner.problems.wording import shown
from recipe_runner.recipe.rules import check_rules
from recipe_runner.recipe.rules.view import View
from recipe_runner.sources.bundled import bundled_family
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.contents import read_contents
from recipe_runner.weights.lora.family import advice


def check_pipelines(document: Document, resolved: ResolvedRecipe) -> None:
    """Repeat the checks that depend on the pipeline class, if only the base's files name the class.

    Raises:
        RecipeInvalid: the class does not take an argument, prompt, component or adapter.
    """
    if View(document.tree, document.folder).pipeline is not None:
        return
    for pipeline in dict.fromkeys(base.pipeline for base in resolved.bases()):
        if pipeline != "auto":
            option = f"base.pipeline={pipeline}"
            problems = check_rules(document.with_overrides([option]))
            errors = [_of_model(document, option, problem) for problem in problems if problem.severity == "error"]
            if errors:
                raise RecipeInvalid(*errors)


def _of_model(document: Document, option: str, problem: Problem) -> Problem:
    """A problem of the class that the model names, placed at the model; other problems keep their places."""
    if problem.place.source_line != option:
        return problem
    hint = "if its components are those of a text-to-image pipeline, write the class of that one as `base.pipeline`"
    return document.problem(problem.code, f"the model's own pipeline: {problem.message}", ("base", "model"), hint)


def fit_warnings(resolved: ResolvedRecipe) -> Iterator[Problem]:
    """Warnings about a resolved recipe, such as prompts that are too long and weights that are too large."""
    yield from window_warnings(resolved)
    yield from ignored_negative_warnings(resolved)
    yield from mask_warnings(resolved)
    yield from memory_warnings(resolved)
    yield from _predictions(resolved)
    yield from _other_families(resolved)


def _predictions(resolved: ResolvedRecipe) -> Iterator[Problem]:
    """W509 if the prediction type of a single file is unsure: for SD 2, and if only its metadata say v."""
    warnings: dict[Problem, None] = {}
    # Variants share bases, and a file's header is long: each is read once.
    for base in resolved.bases():
        family = bundled_family(base.config) if isinstance(base.config, Source) else None
        if family is None or "prediction_type" in base.scheduler_config or not isinstance(base.source, Source):
            continue
        stated = _stated_prediction(base.source.path(str(base.weight_name)))
        if family == "sd2":
            message = f"{base.weight_name} does not say what its UNet predicts; v is assumed, as for 768 pixel models"
            if stated:
                message += f" (its metadata say {shown(stated)})"
            hint = "write `base.scheduler.config.prediction_type`: v_prediction, or epsilon for 512 pixel models"
            warnings[Problem.warning(base.origin, "W509", message, hint)] = None
        elif stated.lower().startswith("v"):
            message = f"{base.weight_name}: its metadata say that it predicts v, which is ignored"
            hint = "if they are right, write `base.scheduler.config.prediction_type: v_prediction`"
            warnings[Problem.warning(base.origin, "W509", message, hint)] = None
    yield from warnings


def _stated_prediction(path: Path) -> str:
    """The prediction type in a safetensors file's metadata (https://github.com/Stability-AI/ModelSpec)."""
    if path.suffix != ".safetensors":
        return ""
    return read_contents(path).metadata.get("modelspec.prediction_type", "")


def _other_families(resolved: ResolvedRecipe) -> Iterator[Problem]:
    """W763 for a LoRA of another family whose tensors all match: some transformers have the same blocks."""
    warnings: dict[Problem, None] = {}
    seen: set[tuple[int, str, str]] = set()
    for variant in resolved.variants:
        for adapter in variant.all_adapters():
            if not isinstance(adapter, ResolvedLora) or not isinstance(adapter.source, Source):
                continue
            # Variants that differ in a scale share the file.
            place = variant.base.number, adapter.name, adapter.source.digest
            if "transformer" in (adapter.tensors or {}) and place not in seen:
                seen.add(place)
                warnings.update(dict.fromkeys(_other_family(variant.base, adapter)))
    yield from warnings


def _other_family(base: ResolvedBase, adapter: ResolvedLora) -> Iterator[Problem]:
    modules = base_modules(base)
    if modules is None:
        return
    said = advice(read_contents(adapter.path).shapes, modules)
    if said:
        message = f"adapter {adapter.name}: every tensor lands, but {said}"
        yield Problem.warning(adapter.origin, "W763", message, "use an adapter that was trained on this family")
