"""The documents of a run: recipe, resolved recipe, lock and manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from recipe_runner.canonical import Json
from recipe_runner.disk.atomic import reading
from recipe_runner.document.document import Document
from recipe_runner.plan.compile import Plan
from recipe_runner.plan.resolved_recipe import numbered
from recipe_runner.recipe.types.fields import FileRecord
from recipe_runner.recipe.types.recipe import Recipe
from recipe_runner.record.documents import lock_yaml, resolved_yaml
from recipe_runner.record.environment import Environment
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.git import read_git
from recipe_runner.record.inputs import AdapterRecord, ComponentMatch, SourceRecord
from recipe_runner.record.journal import JournalEntry
from recipe_runner.record.manifest import Failure, ImageRecord, Manifest, write_manifest
from recipe_runner.record.names import LOCK, MANIFEST, RECIPE, RESOLVED
from recipe_runner.record.seal import standing_manifest
from recipe_runner.sources.source import Source

Entries = dict[str, JournalEntry]
"""Journal entries by path."""

UNKNOWN: dict[str, Any] = {"versions": {}, "device": "unknown", "reproducibility": "strict", "determinism": {}}
"""The environment of a run that stopped before it made anything."""


def is_own(document: Document, folder: RunFolder) -> bool:
    """Whether the document is in the run folder itself; then the folder's own record is kept."""
    return Path(document.source).resolve().parent == folder.path.resolve()


def recipe_bytes(document: Document, folder: RunFolder) -> bytes:
    """The recipe as it was read; for a run folder's own document, the recipe in the folder."""
    recipe = folder.path / RECIPE
    if is_own(document, folder) and recipe.is_file():
        with reading(recipe):
            return recipe.read_bytes()
    return document.text.encode("utf-8")


def recipe_sha256(document: Document, folder: RunFolder) -> str:
    """The sha256 of recipe.yaml."""
    return hashlib.sha256(recipe_bytes(document, folder)).hexdigest()


def write_summary(
    document: Document,
    overrides: tuple[str, ...],
    plan: Plan,
    folder: RunFolder,
    entries: Entries,
    *,
    environment: Mapping[str, Json] | None,
    failure: Failure | None,
) -> Manifest:
    """Write the documents of the run, the manifest last, and return the manifest."""
    kept = _kept(document, overrides, folder)
    lock = _kept_lock(folder, kept) or lock_yaml(plan).encode("utf-8")
    recipe = Recipe.model_validate(document.tree)
    recipe_folder = document.folder
    if not is_own(document, folder):
        folder.write(RECIPE, recipe_bytes(document, folder))
        folder.write(RESOLVED, resolved_yaml(recipe, plan, recipe_folder, folder.path).encode("utf-8"))
    folder.write(LOCK, lock)
    common = _common_environment(plan, folder, entries) or environment or UNKNOWN
    status: Literal["complete", "failed"] = "complete"
    if failure is not None:
        status = "failed"
    git = read_git(Path(document.source), ignore=[folder.runs]) if kept is None else kept.git
    manifest = Manifest(
        status=status,
        failure=failure,
        name=plan.recipe.name,
        plan_digest=plan.digest,
        recipe_sha256=recipe_sha256(document, folder),
        overrides=overrides,
        lock_sha256=hashlib.sha256(lock).hexdigest(),
        git=git,
        sources=tuple(_sources(plan)),
        adapters=tuple(_adapters(plan)),
        environment=Environment.model_validate(common),
        images=tuple(_images(plan, folder, entries, common)),
    )
    if is_own(document, folder) and kept and kept.images == manifest.images:
        manifest = kept.model_copy(update={"lock_sha256": manifest.lock_sha256})
    write_manifest(folder.path / MANIFEST, manifest)
    return manifest


def _common_environment(plan: Plan, folder: RunFolder, entries: Entries) -> Mapping[str, Json] | None:
    """The environment of the run's first image; images with another environment record their own."""
    for image in plan.images:
        entry = entries.get(folder.image_path(image.path))
        if entry is not None:
            return entry.environment
    return None


def _kept(document: Document, overrides: tuple[str, ...], folder: RunFolder) -> Manifest | None:
    """The folder's manifest if it is of this run: a run that only restores files keeps its values."""
    standing = standing_manifest(folder.path)
    asked = (recipe_sha256(document, folder), overrides)
    if standing is None or is_own(document, folder):
        return standing
    if asked != (standing.recipe_sha256, standing.overrides):
        return None
    return standing


def _kept_lock(folder: RunFolder, kept: Manifest | None) -> bytes | None:
    """The lock of that run, with the libraries of that time; None if it was changed."""
    if kept is None:
        return None
    try:
        data = (folder.path / LOCK).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != kept.lock_sha256:
        return None
    return data


def _sources(plan: Plan) -> Iterator[SourceRecord]:
    for role, source in plan.sources().items():
        if not isinstance(source, Source):
            continue
        files = [FileRecord(name=file.name, size=file.size, sha256=file.sha256) for file in source.files]
        yield SourceRecord(
            role=role, address=source.address, commit=source.commit, digest=source.digest, files=tuple(files)
        )


def _adapters(plan: Plan) -> list[AdapterRecord]:
    """Each adapter once for all variants in which it applies the same weights, with the scales of these variants."""
    found: dict[str, object] = {}
    records: dict[str, dict[str, Any]] = {}
    for variant in plan.recipe.variants:
        for adapter in variant.adapters:
            tensors = dict(adapter.tensors or {})
            same = adapter.kind, tensors, [each.sources.get("weights") for each in adapter.with_members()]
            name = numbered(found, adapter.name, same)
            found[name] = same
            record = records.setdefault(
                name,
                {
                    "name": name,
                    "kind": adapter.kind,
                    # A run starts only if all tensors are applied: see the adapter's layout.
                    "tensors": {part: ComponentMatch(matched=n, total=n) for part, n in tensors.items()},
                    "scales": [],
                },
            )
            if adapter.scale not in record["scales"]:
                record["scales"].append(adapter.scale)
    return [AdapterRecord.model_validate(record) for record in records.values()]


def _images(plan: Plan, folder: RunFolder, entries: Entries, common: Mapping[str, Json]) -> list[ImageRecord]:
    records = []
    for image in plan.images:
        entry = entries.get(folder.image_path(image.path))
        if entry is None:
            continue
        own_environment = None
        if entry.environment != common:
            own_environment = Environment.model_validate(entry.environment)
        records.append(
            ImageRecord(
                path=entry.path,
                variant=plan.recipe.variants[image.variant].values,
                prompt=image.prompt,
                seed=image.seed,
                node_key=image.key,
                file_sha256=entry.file_sha256,
                pixel_sha256=entry.pixel_sha256,
                width=entry.width,
                height=entry.height,
                environment=own_environment,
            )
        )
    return records
