"""The recipe of one image, as its file carries it: what `import` makes a whole recipe of again.

It is the recipe with the image's variant, prompt and seed alone, so that its length does not depend on how many images
were made. Names of files are as the recipe wrote them, but of a path from the root of the disk only the last part:
pictures are shown to others. Repositories are pinned to the commit that was used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, cast

from recipe_runner.canonical import Json
from recipe_runner.document.document import Document
from recipe_runner.plan.compile import Plan, PlannedImage
from recipe_runner.plan.resolved import ResolvedIpAdapter
from recipe_runner.plan.resolved_base import AnySource
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.recipe.matrix import PromptsById, Variant, variants
from recipe_runner.record.documents import pin, readdressed
from recipe_runner.record.resolved_choices import write_decisions
from recipe_runner.sources.source import Source

FORMAT = 1
"""The version of what a file carries."""
EXECUTED = ("reproducibility", "threads")
"""What of the section `runtime` decides bits; the rest is of the machine that made them."""


class Carrier:
    """Writes what the files of a plan's images carry."""

    def __init__(self, document: Document, plan: Plan) -> None:
        """Carry parts of the checked recipe `document`, of which `plan` was made."""
        self._document, self._plan = document, plan
        self._shared: dict[int, tuple[Mapping[str, Any], Mapping[str, str]]] = {}
        self._prompts = PromptsById()

    def text(self, image: PlannedImage) -> str:
        """A JSON object in ASCII: `recipe_runner`, the version; `recipe`; `files`, the sha256 of each weights file."""
        if image.variant not in self._shared:
            variant = self._plan.recipe.variants[image.variant]
            self._shared[image.variant] = self._tree(variant), dict(_files(variant))
        tree, files = self._shared[image.variant]
        recipe = {**tree, "prompts": [self._prompt(image)], "seeds": [image.seed]}
        return json.dumps({"recipe_runner": FORMAT, "recipe": recipe, "files": files}, separators=(",", ":"))

    @cached_property
    def _variants(self) -> Sequence[Variant]:
        return variants(self._document)

    def _prompt(self, image: PlannedImage) -> Mapping[str, Json]:
        entry = {**self._prompts.find(self._variants[image.variant], image.prompt), "id": image.prompt}
        changed: Mapping[str, Json] = readdressed(entry, _shown, ("prompts", 0))
        return changed

    def _tree(self, variant: ResolvedVariant) -> Mapping[str, Any]:
        """The recipe of a variant without prompts and seeds."""
        own = self._variants[variant.index].tree
        tree = json.loads(json.dumps({key: value for key, value in own.items() if key not in ("prompts", "seeds")}))
        tree["base"]["pipeline"] = variant.base.pipeline
        tree.setdefault("adapters", {})
        write_decisions(tree, [variant])
        pin(tree, dict(_sources(variant)))
        tree = readdressed(tree, _shown)
        tree["runtime"] = {key: value for key, value in tree.get("runtime", {}).items() if key in EXECUTED}
        return {key: value for key, value in tree.items() if value != {}}


def _sources(variant: ResolvedVariant) -> Iterator[tuple[str, AnySource]]:
    """The sources of a variant that may be repositories, and files of weights, by their places in the recipe."""
    yield "base", variant.base.source
    for name, component in variant.base.components.items():
        if component is not None:
            yield f"base.components.{name}", component.source
    for adapter in (each for outer in variant.adapters for each in outer.with_members()):
        if "weights" in adapter.sources:
            yield f"adapters.{adapter.name}", adapter.sources["weights"]
        shown = adapter.encoded if isinstance(adapter, ResolvedIpAdapter) else None
        if shown is not None and shown.encoder is not None:
            yield f"adapters.{adapter.name}.image_encoder", shown.encoder.source


def _files(variant: ResolvedVariant) -> Iterator[tuple[str, str]]:
    for role, source in _sources(variant):
        if isinstance(source, Source) and len(source.files) == 1:
            yield role, source.files[0].sha256


def _shown(address: Any, key: str) -> Any:
    if isinstance(address, list):
        return [_shown(item, key) for item in address]
    text = cast("str", address)
    rooted = text.startswith(("/", "~")) or PureWindowsPath(text).is_absolute()
    return PurePosixPath(text.replace("\\", "/")).name if rooted else text


def read_carried(text: str) -> tuple[Mapping[str, Json], Mapping[str, Json]] | None:
    """Recipe and files of what a file carries, as a stranger may have written them; None for anything else."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, dict) or tree.get("recipe_runner") != FORMAT:
        return None
    recipe, files = tree.get("recipe"), tree.get("files", {})
    return (recipe, files) if isinstance(recipe, dict) and isinstance(files, dict) else None
