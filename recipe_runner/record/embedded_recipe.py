"""The recipe of one image, embedded in its file: `import` turns it into a complete recipe again.

It has only the image's own variant, prompt and seed, so that its length does not depend on the number of images.
Relative paths are as in the recipe; of an absolute path only the last part is kept, because images are shared with
others. Repositories are pinned to the used commit.
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
from recipe_runner.plan.resolved_base import AnySource
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.recipe.matrix import PromptsById, Variant, variants
from recipe_runner.record.documents import pin, readdressed
from recipe_runner.record.resolved_choices import each_adapter, encoded_prompt, write_decisions
from recipe_runner.sources.source import Source

FORMAT = 1
"""The version of the embedded format."""
EXECUTED = ("reproducibility", "threads")
"""The keys of the section `runtime` that decide the pixels; the rest depends on the machine."""


class Carrier:
    """Writes the embedded recipe of each image of a plan."""

    def __init__(self, document: Document, plan: Plan) -> None:
        """Embed parts of the checked recipe `document`; `plan` is its plan."""
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
        own = dict(self._variants[variant.index].tree)
        own.pop("prompts", None)
        own.pop("seeds", None)
        tree = json.loads(json.dumps(own))
        tree["base"]["pipeline"] = variant.base.pipeline
        tree.setdefault("adapters", {})
        write_decisions(tree, [variant])
        pin(tree, dict(_sources(variant)))
        tree = readdressed(tree, _shown)
        runtime = tree.get("runtime", {})
        tree["runtime"] = {key: runtime[key] for key in EXECUTED if key in runtime}
        return {key: value for key, value in tree.items() if value != {}}


def _sources(variant: ResolvedVariant) -> Iterator[tuple[str, AnySource]]:
    """The sources of a variant that can be repositories or weight files, by their paths in the recipe."""
    yield "base", variant.base.source
    for name, component in variant.base.components.items():
        if component is not None:
            yield f"base.components.{name}", component.source
    for adapter in each_adapter(variant):
        if "weights" in adapter.sources:
            yield f"adapters.{adapter.name}", adapter.sources["weights"]
        shown = encoded_prompt(adapter)
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
    if not rooted:
        return text
    return PurePosixPath(text.replace("\\", "/")).name


def read_carried(text: str) -> tuple[Mapping[str, Json], Mapping[str, Json]] | None:
    """Recipe and files of an embedded text, which is not trusted; None if it is not one."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, dict) or tree.get("recipe_runner") != FORMAT:
        return None
    recipe, files = tree.get("recipe"), tree.get("files", {})
    if not isinstance(recipe, dict) or not isinstance(files, dict):
        return None
    return recipe, files
