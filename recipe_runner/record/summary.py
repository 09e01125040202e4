"""The documents of a run: recipe, resolved recipe, lock and manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
"""The environment of a run that stopped before anything was made."""


def is_own(document: Document, folder: RunFolder) -> bool:
    """Whether the document is one of the run folder itself: it is then run, and what the folder says is kept."""
    return Path(document.source).resolve().parent == folder.path.resolve()


def recipe_bytes(document: Document, folder: RunFolder) -> bytes:
    """The recipe as it was read; of a run folder's own document, the recipe that the folder was made from."""
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
    """Write the documents of the run, the manifest last, and return it."""
    kept = _kept(document, overrides, folder)
    lock = _kept_lock(folder, kept) or lock_yaml(plan).encode("utf-8")
    recipe = Recipe.model_validate(document.tree)
    recipe_folder = document.folder
    if not is_own(document, folder):
        folder.write(RECIPE, recipe_bytes(document, folder))
        folder.write(RESOLVED, resolved_yaml(recipe, plan, recipe_folder, folder.path).encode("utf-8"))
    folder.write(LOCK, lock)
    made = [entries[path] for image in plan.images if (path := folder.image_path(image.path)) in entries]
    # Images that were there already say themselves what made them; the run's environment is that of its first image.
    common = made[0].environment if made else environment or UNKNOWN
    manifest = Manifest(
        status="failed" if failure else "complete",
        failure=failure,
        name=plan.recipe.name,
        plan_digest=plan.digest,
        recipe_sha256=recipe_sha256(document, folder),
        overrides=overrides,
        lock_sha256=hashlib.sha256(lock).hexdigest(),
        git=kept.git if kept else read_git(Path(document.source), ignore=[folder.runs]),
        sources=tuple(_sources(plan)),
        adapters=tuple(_adapters(plan)),
        environment=Environment.model_validate(common),
        images=tuple(_images(plan, folder, entries, common)),
    )
    if is_own(document, folder) and kept and kept.images == manifest.images:
        manifest = kept.model_copy(update={"lock_sha256": manifest.lock_sha256})
    write_manifest(folder.path / MANIFEST, manifest)
    return manifest


def _kept(document: Document, overrides: tuple[str, ...], folder: RunFolder) -> Manifest | None:
    """The manifest that the folder has of this very run, if any: what is made good of it is not made anew."""
    standing = standing_manifest(folder.path)
    asked = (recipe_sha256(document, folder), overrides)
    if standing is None or is_own(document, folder):
        return standing
    return standing if asked == (standing.recipe_sha256, standing.overrides) else None


def _kept_lock(folder: RunFolder, kept: Manifest | None) -> bytes | None:
    """The lock of that run, with the libraries of then; None where it is not as it was."""
    try:
        data = (folder.path / LOCK).read_bytes()
    except OSError:
        return None
    return data if kept and hashlib.sha256(data).hexdigest() == kept.lock_sha256 else None


def _sources(plan: Plan) -> list[SourceRecord]:
    return [
        SourceRecord(
            role=role,
            address=source.address,
            commit=source.commit,
            digest=source.digest,
            files=tuple(FileRecord(name=file.name, size=file.size, sha256=file.sha256) for file in source.files),
        )
        for role, source in plan.sources().items()
        if isinstance(source, Source)
    ]


def _adapters(plan: Plan) -> list[AdapterRecord]:
    """Each adapter once for all variants in which the same weights of it land alike, with the scales that they use."""
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
                    # A run starts only when all of them land: see the adapter's layout.
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
                environment=None if entry.environment == common else Environment.model_validate(entry.environment),
            )
        )
    return records
