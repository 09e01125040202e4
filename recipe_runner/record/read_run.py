"""Read a recorded run from its folder: the manifest, and the other documents that exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recipe_runner.canonical import Json, canonical
from recipe_runner.document.document import Document, parse_document
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.recipe.load import problems_of
from recipe_runner.recipe.matrix import PromptsById, Variant, variants
from recipe_runner.record.manifest import ImageRecord, Manifest, read_manifest
from recipe_runner.record.names import LOCK, MANIFEST, RECIPE, RESOLVED, TELEMETRY
from recipe_runner.record.telemetry import read_telemetry


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the resolved recipe asks for one image: its prompt's texts, adapters' scales and the call's arguments."""

    texts: Mapping[str, Json]
    scales: Mapping[str, Json]
    sampling: Mapping[str, Json]


NOTHING_KNOWN = Asked(texts={}, scales={}, sampling={})


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """The run recorded in `folder`; texts are None and `invocations` empty if their files are missing."""

    folder: Path
    manifest: Manifest
    recipe: str | None
    lock: str | None
    resolved: Document | None
    invocations: Sequence[Mapping[str, Any]]

    @cached_property
    def _variants(self) -> Mapping[bytes, Variant]:
        """The resolved recipe's variants, by their values as the manifest writes them."""
        if self.resolved is None:
            return {}
        written = written_variants(self.resolved, self.recipe, self.manifest.overrides)
        return {canonical(values): variant for values, variant in written}

    @cached_property
    def _prompts(self) -> PromptsById:
        return PromptsById()

    def asked(self, image: ImageRecord) -> Asked:
        """What the recipe asks for an image; empty without a resolved recipe."""
        variant = self._variants.get(canonical(image.variant))
        if variant is None:
            return NOTHING_KNOWN
        tree: Mapping[str, Any] = variant.tree
        texts = dict(self._prompts.find(variant, image.prompt))
        texts.pop("id", None)
        scales: dict[str, Json] = {}
        for name, entry in tree.get("adapters", {}).items():
            if "scale" in entry:
                scales[name] = entry["scale"]
        return Asked(texts=texts, scales=scales, sampling=tree.get("sampling", {}))


def read_run(folder: Path) -> RecordedRun:
    """The run in `folder`.

    Raises:
        RecordError: E802 or E804, its manifest cannot be read or is not valid.
    """
    resolved = None
    data = _bytes(folder / RESOLVED)
    if data is not None:
        resolved = resolved_document(data, folder)
    return RecordedRun(
        folder=folder,
        manifest=read_manifest(folder / MANIFEST),
        recipe=_text(folder / RECIPE),
        lock=_text(folder / LOCK),
        resolved=resolved,
        invocations=read_telemetry(folder / TELEMETRY),
    )


def written_variants(
    resolved: Document, recipe: str | None, overrides: Sequence[str]
) -> list[tuple[Mapping[str, Json], Variant]]:
    """Each variant of a run's resolved recipe, with its values as the run's manifest writes them.

    Values with a path, or with written-out choices, differ between the resolved recipe and the `recipe` that was run
    with these `overrides`; their order is the same. Without that recipe the resolved values are used.
    """
    found = variants(resolved)
    document = _checked((recipe or "").encode("utf-8"), Path(resolved.source).with_name(RECIPE), overrides)
    own: Sequence[Variant] = ()
    if document is not None:
        own = variants(document)
    if len(own) != len(found):
        own = found
    return [(variant.values, each) for variant, each in zip(own, found, strict=True)]


def resolved_document(data: bytes, folder: Path) -> Document | None:
    """The resolved recipe of a run in `folder`; None if this version cannot read it."""
    return _checked(data, folder / RESOLVED)


def _checked(data: bytes, path: Path, overrides: Sequence[str] = ()) -> Document | None:
    """The recipe in the contents `data` of the file `path`; None if this version cannot read it."""
    try:
        document = parse_document(data, str(path), path.parent).with_overrides(overrides)
    except RecipeRunnerError:
        return None
    if any(problem.severity == "error" for problem in problems_of(document)):
        return None
    return document


def _text(path: Path) -> str | None:
    data = _bytes(path)
    if data is None:
        return None
    return data.decode("utf-8", "replace")


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
