"""A run folder against its own manifest: every file that it names, and that it is the manifest of what it names."""

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
    """One thing that was checked; `fault` says what is wrong with it, and is None when nothing is."""

    subject: str
    fault: str | None = None


def manifest_of(run: Path) -> Manifest:
    """The manifest of the run folder `run`.

    Raises:
        RecordError: E802 there is none that can be read, E804 it is none.
    """
    return read_manifest(run / MANIFEST)


def check_files(run: Path, manifest: Manifest) -> list[Checked]:
    """Every file of the run folder `run` against its manifest, wherever the folder lies."""
    checked = [Checked(subject=MANIFEST, fault=_own_fault(manifest))]
    checked.append(Checked(subject=RECIPE, fault=_file_fault(run / RECIPE, manifest.recipe_sha256)))
    if manifest.lock_sha256 is not None:
        checked.append(Checked(subject=LOCK, fault=_file_fault(run / LOCK, manifest.lock_sha256)))
    checked.append(Checked(subject=RESOLVED, fault=None if (run / RESOLVED).is_file() else "it is missing"))
    checked += [Checked(subject=image.path, fault=_image_fault(run, image, manifest)) for image in manifest.images]
    named = {image.path for image in manifest.images}
    checked += [
        Checked(subject=path, fault="no image of the manifest has this name")
        for path in _images(run)
        if path not in named
    ]
    # What the manifest does not prove: told only where it is not as it was.
    told = {each.subject for each in checked if each.fault}
    unsealed = {name: fault for name, fault in seal_faults(run).items() if name not in told}
    kept = [each for each in checked if each.subject not in unsealed]
    more = [Checked(subject=name, fault=fault) for name, fault in unsealed.items()]
    return [*kept, *more, *_store_faults(run, manifest)]


def _store_faults(run: Path, manifest: Manifest) -> Iterator[Checked]:
    """What is damaged of the run's images in the store beside it, where there is one."""
    store = Store(run.absolute().parent.parent / STORE)
    for image in manifest.images:
        found = store.get(image.node_key)
        if isinstance(found, Absent) and found.damaged:
            fault = f"{found.reason}; `gc --delete` deletes it, and a run that needs it makes it again"
            yield Checked(subject=f"{STORE}: {image.path}", fault=fault)


def is_file_of(run: Path, image: ImageRecord) -> bool:
    """Whether the file of an image is there as it was written."""
    return _file_fault(run / image.path, image.file_sha256) is None


def _own_fault(manifest: Manifest) -> str | None:
    """Whether the plan digest is that of the images that the manifest lists."""
    if manifest.status != "complete":
        return f"the run failed: {manifest.failure.message}" if manifest.failure else "the run failed"
    images = [[image.path.removeprefix(f"{IMAGES}/"), image.node_key] for image in manifest.images]
    if digest({"name": manifest.name, "images": images}) != manifest.plan_digest:
        return "its images and node keys do not give its plan digest: it was edited"
    return None


_CHANGED = "it was changed (sha256 differs)"


def _file_fault(path: Path, sha256: str) -> str | None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return None if found == sha256 else _CHANGED


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
    if fault and path.suffix in _LOSSLESS and as_made:
        return "the file was changed, and its pixels are the ones that were made"
    if fault:
        return fault
    if not as_made:
        return "its pixels are not those of the manifest"
    return None if plan in (None, manifest.plan_digest) else "it says that it belongs to another plan"


def _images(run: Path) -> Iterator[str]:
    folder = run / IMAGES
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield f"{IMAGES}/{path.name}"
