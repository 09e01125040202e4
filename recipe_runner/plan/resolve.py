"""Recipe to ResolvedRecipe: every source found and digested, every default decided, every adapter laid out.

Sections that no axis changes are shared between variants, so each is resolved once however many variants there are.
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
from recipe_runner.plan.adapters.kind import Surroundings
from recipe_runner.plan.adapters.tokens import refuse_shared_tokens
from recipe_runner.plan.checks.configurations import check_base_configurations
from recipe_runner.plan.resolve_base import resolve_base
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedBase, ResolvedIpAdapter, ResolvedLora
from recipe_runner.plan.resolved_recipe import ResolvedPrompt, ResolvedRecipe, ResolvedVariant
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import RecipeRunnerError, ResolutionError, at
from recipe_runner.recipe.matrix import Variant
from recipe_runner.recipe.types.recipe import Base, Output, Prompt, Runtime, Sampling, SeedRange
from recipe_runner.weights.files.header import remembered_headers

T = TypeVar("T")


def resolve(document: Document, variants: Sequence[Variant]) -> ResolvedRecipe:
    """Resolve every variant of a checked document. Paths are relative to the document's folder.

    What is not on this machine is left `Unresolved`, for a plan that is only provisional.

    Raises:
        RecipeRunnerError: what a recipe names is broken, refused or does not fit: all of it, each at its line.
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
        # A prompt may be called by its id.
        self._axis_paths = {axis: locate(document.tree, parse_path(axis)) for axis in self._axes}
        self._memo: dict[tuple[Hashable, ...], Any] = {}
        self._errors: list[RecipeRunnerError] = []

    def variants(self, variants: Sequence[Variant]) -> tuple[ResolvedVariant, ...]:
        """Every variant; what is wrong with the base and each adapter of all of them is told at once."""
        resolved = []
        for variant in variants:
            with self._noted():
                resolved.append(self._variant(variant))
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise ResolutionError(*dict.fromkeys(problem for error in self._errors for problem in error.problems))
        return tuple(resolved)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Keep the error that leaves the block, to be told with all others."""
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
        """`make()`, once for each value of `key`: of a section, and the numbers of what it depends on."""
        if key not in self._memo:
            try:
                self._memo[key] = make()
            except RecipeRunnerError as error:
                # The same for every variant that has it.
                self._memo[key] = error
        value = self._memo[key]
        if isinstance(value, RecipeRunnerError):
            raise value.with_traceback(None)
        return cast("T", value)

    def _origin(self, *path: str | int) -> Place:
        """The place of `path` in the recipe; where an axis sets it, or a part of it, the place of the axis's values."""
        axis = self._axis_of(path)
        return self._at(path if axis is None else ("matrix", axis))

    def _axis_of(self, path: tuple[str | int, ...]) -> str | None:
        """The axis that sets `path`, or a part of it."""
        for axis, set_path in self._axis_paths.items():
            common = min(len(path), len(set_path))
            if path[:common] == set_path[:common]:
                return axis
        return None

    def _at(self, path: tuple[str | int, ...], *, key: bool = False) -> Place:
        """The place of what is written at `path`, or of its key."""
        return self._document.place(path, key=key)

    def _base(self, tree: Mapping[str, Any]) -> ResolvedBase:
        # Variants that differ in its scheduler find it again; what costs time, the digests, is remembered.
        origin = self._origin("base", "model")
        try:
            base = resolve_base(Base.model_validate(tree), self._folder, origin, allow_pickle=self.allow_pickle)
        except RecipeRunnerError as error:
            with at(self._origin("base", *error.about) if error.about else origin):
                raise
        if base.components:
            with at(self._origin("base", "components")):
                check_components(base)
        with at(origin):
            check_base_configurations(base)
        return replace(base, is_distilled=is_distilled(base))

    def _adapters(self, variant: Variant, base: ResolvedBase) -> tuple[ResolvedAdapter, ...]:
        tree: Mapping[str, Any] = cast("Mapping[str, Any]", variant.tree).get("adapters", {})
        prompts = variant.section("prompts")
        found: dict[str, ResolvedAdapter] = {}
        merges = [name for name, entry in tree.items() if entry["kind"] == "merge"]
        for name in (*(name for name in tree if name not in merges), *merges):
            entry = tree[name]
            members = {member: found.get(member) for member in (entry["adapters"] if name in merges else ())}
            others = {member: adapter for member, adapter in members.items() if isinstance(adapter, ResolvedLora)}
            # What is wrong with a member is told already.
            if len(others) == len(members):
                make = partial(self._adapter, name, entry, base, variant, others)
                # Only an image prompt adapter looks at the prompts.
                beside = prompts if entry["kind"] == "ip_adapter" else tuple(each.number for each in others.values())
                with self._noted():
                    found[name] = self._once(
                        ("adapter", name, variant.section("adapters", name), base.number, beside), make
                    )
        merged = {member for name in merges for member in tree[name]["adapters"]}
        kept = tuple(found[name] for name in tree if name in found and name not in merged)
        refuse_shared_tokens(kept)
        return kept

    def _adapter(
        self,
        name: str,
        entry: Mapping[str, Any],
        base: ResolvedBase,
        variant: Variant,
        others: Mapping[str, ResolvedLora],
    ) -> ResolvedAdapter:
        # Made once for a sweep over a scale, whose variants differ in nothing else.
        make = partial(self._surroundings, name, base, variant)
        place = ("surroundings", name, base.number, variant.section("prompts"))
        surroundings, origin = self._by_value(place, make)
        try:
            return kind_called(entry["kind"]).resolve(name, entry, replace(surroundings, others=others), origin)
        except RecipeRunnerError as error:
            # What nobody placed, and is about no part in particular, is about the file.
            with at(self._place(name, entry, error.about or (("model",) if "model" in entry else ()))):
                raise

    def _place(self, name: str, entry: Mapping[str, Any], about: tuple[str, ...]) -> Place:
        """The place of a part of an adapter's entry; where an axis gave it, that part of the axis's own value."""
        path, part = ("adapters", name, *about), entry
        for depth in range(2, len(path) + 1):
            axis = format_path(path[:depth])
            for index, value in enumerate(self._axes.get(axis, ())):
                if value is part:
                    return self._at(("matrix", axis, index, *path[depth:]), key=True)
            if depth < len(path):
                part = part.get(path[depth], {}) if isinstance(part, Mapping) else {}
        return self._origin(*path) if self._axis_of(path) else self._at(path, key=len(about) != 1)

    def _surroundings(self, name: str, base: ResolvedBase, variant: Variant) -> tuple[Surroundings, Place]:
        surroundings = Surroundings(
            folder=self._folder,
            base=base,
            prompts=cast("Mapping[str, Any]", variant.tree)["prompts"],
            prompts_section=variant.section("prompts"),
            allow_pickle=self.allow_pickle,
            once=self._by_value,
            origin=lambda *path: self._origin("adapters", name, *path),
            place=self._origin,
        )
        return surroundings, self._at(("adapters", name), key=True)

    def _by_value(self, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
        """`make()`, once for each value of `key`: for what costs time and does not depend on a scale."""
        memo = ("value", *key)
        if memo not in self._memo:
            self._memo[memo] = make()
        return cast("T", self._memo[memo])

    def _prompts(self, tree: Sequence[Mapping[str, Any]]) -> tuple[ResolvedPrompt, ...]:
        prompts = []
        for position, entry in enumerate(tree):
            prompt = Prompt.model_validate(entry)
            texts = {
                name: value
                for name, value in prompt.model_dump().items()
                if name not in ("id", "images") and value is not None
            }
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
