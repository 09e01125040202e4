"""Resolve a recipe: find and digest every source, decide every default, lay out every adapter.

Variants share the sections that no axis changes, so each section is resolved once, however many variants there are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from recipe_runner.canonical import Json
from recipe_runner.document.document import Document
from recipe_runner.document.paths import format_path, locate, parse_path, prompt_id
from recipe_runner.pipelines.guidance import NEGATIVE
from recipe_runner.pipelines.table import call_defaults
from recipe_runner.plan.adapters import kind_called
from recipe_runner.plan.adapters.base_parts import check_components, is_distilled
from recipe_runner.plan.adapters.kind import ResolveContext
from recipe_runner.plan.adapters.tokens import refuse_shared_tokens
from recipe_runner.plan.checks.configurations import check_base_configurations
from recipe_runner.plan.resolve_base import resolve_base
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedIpAdapter, ResolvedLora
from recipe_runner.plan.resolved_base import ResolvedBase
from recipe_runner.plan.resolved_recipe import ResolvedPrompt, ResolvedRecipe, ResolvedVariant
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeRunnerError, ResolutionError, at
from recipe_runner.recipe.matrix import Variant
from recipe_runner.recipe.types.recipe import Base, Output, Prompt, Runtime, Sampling, SeedRange
from recipe_runner.weights.files.header import remembered_headers

T = TypeVar("T")


def resolve(document: Document, variants: Sequence[Variant]) -> ResolvedRecipe:
    """Resolve every variant of a checked document. Paths are relative to the document's folder.

    Sources that are not on this machine are `Unresolved`; a plan with them is only provisional.

    Raises:
        RecipeRunnerError: sources are broken, refused or do not fit. It has all problems, each at its line.
    """
    resolver = _Resolver(document)
    tree = cast("Mapping[str, Any]", document.tree)
    runtime = Runtime.model_validate(tree.get("runtime", {}))
    resolver.allow_pickle = runtime.allow_pickle
    with remembered_headers():
        resolved = resolver.variants(variants)
    return ResolvedRecipe(
        name=tree["name"],
        variants=resolved,
        device=runtime.device,
        reproducibility=runtime.reproducibility,
        batch_size=runtime.batch_size,
        threads=runtime.threads,
        allow_pickle=runtime.allow_pickle,
    )


class _Resolver:
    def __init__(self, document: Document) -> None:
        self.allow_pickle = False
        self._document = document
        self._folder = document.folder
        self._axes = cast("Mapping[str, Sequence[Any]]", document.tree.get("matrix") or {})
        # An axis may name a prompt by its id.
        self._axis_paths = {axis: locate(document.tree, parse_path(axis)) for axis in self._axes}
        self._memo: dict[tuple[Hashable, ...], Any] = {}
        self._errors: list[RecipeRunnerError] = []

    def variants(self, variants: Sequence[Variant]) -> tuple[ResolvedVariant, ...]:
        """Every variant. The problems of all bases and adapters are reported at once."""
        resolved = []
        for variant in variants:
            with self._noted():
                resolved.append(self._variant(variant))
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            problems: dict[Problem, None] = {}
            for error in self._errors:
                problems |= dict.fromkeys(error.problems)
            raise ResolutionError(*problems)
        return tuple(resolved)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Keep an error of the block, to report it with all others."""
        try:
            yield
        except RecipeRunnerError as error:
            if not any(error.problems == other.problems for other in self._errors):
                self._errors.append(error)

    def _variant(self, variant: Variant) -> ResolvedVariant:
        tree = cast("Mapping[str, Any]", variant.tree)
        base = self._once(("base", variant.section("base")), lambda: self._base(tree["base"]))
        adapters = self._adapters(variant, base)
        sampling = self._once(
            ("sampling", variant.section("sampling"), base.number),
            lambda: _sampling(tree.get("sampling", {}), base.pipeline),
        )
        prompts = self._once(("prompts", variant.section("prompts")), lambda: self._prompts(tree["prompts"]))
        resolved = ResolvedVariant(
            index=variant.index,
            values=variant.values,
            base=base,
            adapters=adapters,
            prompts=prompts,
            seeds=self._once(("seeds", variant.section("seeds")), lambda: _seeds(tree.get("seeds", (0,)))),
            sampling=sampling,
            output=self._once(("output", variant.section("output")), lambda: _output(tree.get("output", {}))),
        )
        shown = [adapter for adapter in adapters if isinstance(adapter, ResolvedIpAdapter) and adapter.image_prompts]
        if shown:
            from recipe_runner.plan.adapters.image_prompts import check_together  # noqa: PLC0415 - for those alone

            check_together(shown, resolved)
        return resolved

    def _once(self, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
        """`make()`, once for each `key`, which holds a section and the numbers of what it depends on."""
        if key not in self._memo:
            try:
                self._memo[key] = make()
            except RecipeRunnerError as error:
                # The same error for every variant.
                self._memo[key] = error
        value = self._memo[key]
        if isinstance(value, RecipeRunnerError):
            raise value.with_traceback(None)
        return cast("T", value)

    def _origin(self, *path: str | int) -> Place:
        """The place of `path` in the recipe, or of the values of the axis that sets it or a part of it."""
        axis = self._axis_of(path)
        if axis is None:
            return self._at(path)
        return self._at(("matrix", axis))

    def _axis_of(self, path: tuple[str | int, ...]) -> str | None:
        """The axis that sets `path`, or a part of it."""
        for axis, set_path in self._axis_paths.items():
            common = min(len(path), len(set_path))
            if path[:common] == set_path[:common]:
                return axis
        return None

    def _at(self, path: tuple[str | int, ...], *, key: bool = False) -> Place:
        """The place of the value at `path`, or of its key."""
        return self._document.place(path, key=key)

    def _base(self, tree: Mapping[str, Any]) -> ResolvedBase:
        # Variants with other schedulers find the base again; its digests, which cost time, are remembered.
        origin = self._origin("base", "model")
        try:
            base = resolve_base(Base.model_validate(tree), self._folder, origin, allow_pickle=self.allow_pickle)
        except RecipeRunnerError as error:
            about = error.about or ("model",)
            with at(self._origin("base", *about)):
                raise
        if base.components:
            with at(self._origin("base", "components")):
                check_components(base)
        with at(origin):
            check_base_configurations(base)
        return replace(base, is_distilled=is_distilled(base))

    def _adapters(self, variant: Variant, base: ResolvedBase) -> tuple[ResolvedAdapter, ...]:
        tree: Mapping[str, Any] = cast("Mapping[str, Any]", variant.tree).get("adapters", {})
        merges = [name for name, entry in tree.items() if entry["kind"] == "merge"]
        found: dict[str, ResolvedAdapter] = {}
        for name, entry in tree.items():
            if name not in merges:
                # An IP-Adapter also depends on the prompts.
                beside = None
                if entry["kind"] == "ip_adapter":
                    beside = variant.section("prompts")
                key = ("adapter", name, variant.section("adapters", name), base.number, beside)
                with self._noted():
                    found[name] = self._once(key, partial(self._adapter, name, entry, base, variant, {}))
        members: set[str] = set()
        for name in merges:
            members.update(tree[name]["adapters"])
            with self._noted():
                self._merge(name, found, base, variant)
        kept = tuple(found[name] for name in tree if name in found and name not in members)
        refuse_shared_tokens(kept)
        return kept

    def _merge(self, name: str, found: dict[str, ResolvedAdapter], base: ResolvedBase, variant: Variant) -> None:
        """Add the merge `name` to `found`, unless one of its members has a problem, which is reported already."""
        entry = cast("Mapping[str, Any]", variant.tree)["adapters"][name]
        others: dict[str, ResolvedLora] = {}
        for member in entry["adapters"]:
            adapter = found.get(member)
            if not isinstance(adapter, ResolvedLora):
                return
            others[member] = adapter
        numbers = tuple(adapter.number for adapter in others.values())
        key = ("adapter", name, variant.section("adapters", name), base.number, numbers)
        found[name] = self._once(key, partial(self._adapter, name, entry, base, variant, others))

    def _adapter(
        self,
        name: str,
        entry: Mapping[str, Any],
        base: ResolvedBase,
        variant: Variant,
        others: Mapping[str, ResolvedLora],
    ) -> ResolvedAdapter:
        # The context is made once for a sweep over a scale, whose variants differ in nothing else.
        make = partial(self._context, name, base, variant)
        key = ("context", name, base.number, variant.section("prompts"))
        context, origin = self._by_value(key, make)
        try:
            return kind_called(entry["kind"]).resolve(name, entry, replace(context, others=others), origin)
        except RecipeRunnerError as error:
            about = error.about
            if not about and "model" in entry:
                # A problem without a place of its own is about the file.
                about = ("model",)
            with at(self._place(name, entry, about)):
                raise

    def _place(self, name: str, entry: Mapping[str, Any], about: tuple[str, ...]) -> Place:
        """The place of a part of an adapter's entry, or of that part of the axis value that set it."""
        path, part = ("adapters", name, *about), entry
        for depth in range(2, len(path) + 1):
            axis = format_path(path[:depth])
            for index, value in enumerate(self._axes.get(axis, ())):
                if value is part:
                    return self._at(("matrix", axis, index, *path[depth:]), key=True)
            if not isinstance(part, Mapping) or depth == len(path):
                break
            part = part.get(path[depth], {})
        if self._axis_of(path):
            return self._origin(*path)
        return self._at(path, key=len(about) != 1)

    def _context(self, name: str, base: ResolvedBase, variant: Variant) -> tuple[ResolveContext, Place]:
        context = ResolveContext(
            folder=self._folder,
            base=base,
            prompts=cast("Mapping[str, Any]", variant.tree)["prompts"],
            prompts_section=variant.section("prompts"),
            allow_pickle=self.allow_pickle,
            once=self._by_value,
            origin=lambda *path: self._origin("adapters", name, *path),
            place=self._origin,
        )
        return context, self._at(("adapters", name), key=True)

    def _by_value(self, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
        """`make()`, once for each `key`: for results that cost time and do not depend on a scale."""
        memo = ("value", *key)
        if memo not in self._memo:
            self._memo[memo] = make()
        return cast("T", self._memo[memo])

    def _prompts(self, tree: Sequence[Mapping[str, Any]]) -> tuple[ResolvedPrompt, ...]:
        prompts = []
        for position, entry in enumerate(tree):
            texts = Prompt.model_validate(entry).model_dump(exclude={"id", "images"}, exclude_none=True)
            negatives = {name: self._origin("prompts", position, name) for name in texts if name.startswith(NEGATIVE)}
            prompts.append(
                ResolvedPrompt(
                    id=prompt_id(entry, position),
                    texts=texts,
                    origin=self._origin("prompts", position),
                    negative_origins=negatives,
                )
            )
        return tuple(prompts)


def _seeds(tree: Any) -> tuple[int, ...]:
    if isinstance(tree, Mapping):
        seeds = SeedRange.model_validate(tree)
        return tuple(range(seeds.start, seeds.start + seeds.count))
    return tuple(tree)


def _sampling(tree: Mapping[str, Any], pipeline: str) -> Mapping[str, Json]:
    given = Sampling.model_validate(tree).model_dump(exclude_none=True)
    return {**call_defaults(pipeline), **given}


def _output(tree: Mapping[str, Any]) -> Mapping[str, Json]:
    return Output.model_validate(tree).model_dump()
