"""Check a run folder against its own manifest: every file, and the manifest's plan digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.canonical import digest
from recipe_runner.images.encode import pixel_sha256
from recipe_runner.images.metadata import read_metadata
from recipe_runner.images.similarity import read_pixels
from recipe_runner.problems.problem import RecordError
from recipe_runner.record.manifest import ImageRecord, Manifest, read_manifest
from recipe_runner.record.names import IMAGES, LOCK, MANIFEST, RECIPE, RESOLVED, STORE
from recipe_runner.record.seal import seal_faults
from recipe_runner.record.store import Absent, Store

_LOSSLESS = (".png",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One thing that was checked; `fault` says what is wrong with it, None if nothing is."""

    subject: str
    fault: str | None = None


def manifest_of(run: Path) -> Manifest:
    """The manifest of the run folder `run`.

    Raises:
        RecordError: E802, the manifest cannot be read; E804, it is not valid.
    """
    return read_manifest(run / MANIFEST)


def check_files(run: Path, manifest: Manifest) -> list[Checked]:
    """Check every file of the run folder `run` against its manifest; the folder may have been moved."""
    faults: dict[str, str | None] = {MANIFEST: _own_fault(manifest)}
    faults[RECIPE] = _file_fault(run / RECIPE, manifest.recipe_sha256)
    if manifest.lock_sha256 is not None:
        faults[LOCK] = _file_fault(run / LOCK, manifest.lock_sha256)
    faults[RESOLVED] = None
    if not (run / RESOLVED).is_file():
        faults[RESOLVED] = "it is missing"
    for image in manifest.images:
        faults[image.path] = _image_fault(run, image, manifest)
    for path in _images(run):
        faults.setdefault(path, "no image of the manifest has this name")
    # The seal covers documents that the manifest has no digest of.
    for name, fault in seal_faults(run).items():
        if not faults.get(name):
            faults.pop(name, None)
            faults[name] = fault
    checked = [Checked(subject=name, fault=fault) for name, fault in faults.items()]
    return [*checked, *_store_faults(run, manifest)]


def _store_faults(run: Path, manifest: Manifest) -> Iterator[Checked]:
    """The damaged images of the run in the store beside it."""
    store = Store(run.absolute().parent.parent / STORE)
    for image in manifest.images:
        found = store.get(image.node_key)
        if isinstance(found, Absent) and found.damaged:
            fault = f"{found.reason}; `gc --delete` deletes it, and the next run that needs it makes it again"
            yield Checked(subject=f"{STORE}: {image.path}", fault=fault)


def is_file_of(run: Path, image: ImageRecord) -> bool:
    """Whether the file of an image is unchanged."""
    return _file_fault(run / image.path, image.file_sha256) is None


def _own_fault(manifest: Manifest) -> str | None:
    """What is wrong with the manifest itself: a failed run, or a plan digest that does not match its images."""
    if manifest.failure is not None:
        return f"the run failed: {manifest.failure.message}"
    if manifest.status != "complete":
        return "the run failed"
    images = [[image.path.removeprefix(f"{IMAGES}/"), image.node_key] for image in manifest.images]
    if digest({"name": manifest.name, "images": images}) != manifest.plan_digest:
        return "its images and node keys do not match its plan digest: it was edited"
    return None


_CHANGED = "it was changed (sha256 differs)"


def _file_fault(path: Path, sha256: str) -> str | None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if found != sha256:
        return _CHANGED
    return None


def _image_fault(run: Path, image: ImageRecord, manifest: Manifest) -> str | None:
    path = run / image.path
    fault = _file_fault(path, image.file_sha256)
    if fault not in (None, _CHANGED):
        return fault
    try:
        as_made = path.suffix not in _LOSSLESS or pixel_sha256(read_pixels(path)) == image.pixel_sha256
        plan = read_metadata(path).plan_digest
    except RecordError as error:
        return fault or error.problems[0].message
    if fault is None:
        return _content_fault(plan, manifest, as_made=as_made)
    if path.suffix in _LOSSLESS and as_made:
        return "the file was changed, but its pixels were not"
    return fault


def _content_fault(plan_digest: str | None, manifest: Manifest, *, as_made: bool) -> str | None:
    if not as_made:
        return "its pixels do not match the manifest"
    if plan_digest not in (None, manifest.plan_digest):
        return "its metadata names another plan"
    return None


def _images(run: Path) -> Iterator[str]:
    folder = run / IMAGES
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield f"{IMAGES}/{path.name}"
