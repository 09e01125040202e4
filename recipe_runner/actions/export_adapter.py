"""Find an adapter of a plan by its name, and write it as a file that plain diffusers loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.actions.prepare import Prepared, require_sources
from recipe_runner.canonical import Json, digest
from recipe_runner.disk.atomic import write_file
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.plan.compile import Plan
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedLora, ResolvedMerge
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.problems.problem import Problem, RecordError, WeightsError
from recipe_runner.problems.suggest import did_you_mean

_Exported = ResolvedLora | ResolvedMerge


@dataclass(frozen=True, kw_only=True)
class Export:
    """An exported file, and how many tensors it has for each component."""

    path: Path
    tensors: Mapping[str, int]


def export_adapter(
    prepared: Prepared, name: str, path: Path, *, component: str | None = None, force: bool = False
) -> Export:
    """Write the lora or merge `name` of a prepared recipe to `path` in diffusers' layout, at scale 1.

    Args:
        prepared: the recipe.
        name: the adapter's name in it.
        path: the safetensors file to write.
        component: write this component only, its keys without prefix, as `save_lora_adapter` does.
        force: overwrite an existing file.

    Raises:
        ResolutionError: a source is missing.
        WeightsError: E633 no such adapter can be exported, E635 it has no exact form in diffusers' layout; E6xx.
        RecordError: E902 the file exists, E801 it cannot be written.
    """
    require_sources(prepared.plan, prepared.document.source)
    base, adapter = find(prepared.plan, name)
    if path.exists() and not force:
        hint = "give another name with -o, or --force to overwrite it"
        raise RecordError(Problem(code="E902", message=f"{path} exists", hint=hint))
    from recipe_runner.runtime.lora.export import export_adapter as exported_adapter  # noqa: PLC0415 - imports torch

    exported = exported_adapter(
        adapter,
        base,
        base_modules(base),
        allow_pickle=base.allow_pickle,
        component=component,
    )
    write_file(path, exported.content)
    return Export(path=path, tensors=exported.tensors)


def find(plan: Plan, name: str) -> tuple[ResolvedBase, _Exported]:
    """The adapter called `name`, which may be a member of a merge, and its base.

    Raises:
        WeightsError: E633, if there is none, it is of another kind, or variants differ in it.
    """
    known: dict[str, ResolvedAdapter] = {}
    found: dict[str, tuple[ResolvedBase, _Exported]] = {}
    for variant in plan.recipe.variants:
        for adapter in variant.all_adapters():
            known[adapter.name] = adapter
            if adapter.name == name and isinstance(adapter, _Exported):
                found.setdefault(_identity(variant.base, adapter), (variant.base, adapter))
    exported = [each for each, adapter in known.items() if isinstance(adapter, _Exported)]
    if name not in known:
        message = f"no adapter is called `{name}`"
        raise _refused(message, did_you_mean(name, exported, "Loras and merges"))
    if name not in exported:
        message = f"`{name}` is of kind {known[name].kind}, and only loras and merges are exported"
        raise _refused(message, did_you_mean("", exported, "Loras and merges"))
    if len(found) > 1:
        message = f"the variants of the recipe have {len(found)} different adapters called `{name}`"
        raise _refused(message, "choose one with --set, as in `--set matrix={}`")
    return next(iter(found.values()))


def _identity(base: ResolvedBase, adapter: ResolvedAdapter) -> str:
    identity: list[Json] = [base.source.digest]
    for each in adapter.with_members():
        identity += [each.constants(), *each.digests]
    return digest(identity)


def _refused(message: str, hint: str) -> WeightsError:
    return WeightsError(Problem(code="E633", message=message, hint=hint))
