"""The seal of a complete run: the digest of each of its documents, written last.

A run is complete only if all its documents are there: manifest, views, and inputs. A run that was interrupted before
the seal is finished by the next one; a document that was deleted, damaged or edited later does not match the seal, and
is made again. A failed run does not have a seal, and neither does a run folder of an older version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from recipe_runner.canonical import parse_json, proved, with_digest
from recipe_runner.disk.atomic import reading, write_if_changed
from recipe_runner.problems.problem import RecordError
from recipe_runner.record.manifest import Manifest, read_manifest
from recipe_runner.record.names import CONTACT_SHEET, JOURNAL, LOCK, MANIFEST, RECIPE, REPORT, RESOLVED, SEAL, TELEMETRY

DOCUMENTS = (MANIFEST, RECIPE, RESOLVED, LOCK, JOURNAL, TELEMETRY, CONTACT_SHEET, REPORT)
"""The documents of a complete run besides its images."""


def seal_run(folder: Path, manifest: Manifest) -> None:
    """Seal the documents of the run in `folder`, if its recipe and lock match the manifest.

    The caller holds the run's lock and has just written the documents.

    Raises:
        RecordError: E801, E802.
    """
    # Running a folder's own resolved.yaml cannot restore its recipe.yaml.
    if not (folder / RECIPE).is_file():
        return
    digests = {}
    for name in DOCUMENTS:
        with reading(folder / name):
            digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    if (digests[RECIPE], digests[LOCK]) == (manifest.recipe_sha256, manifest.lock_sha256):
        _write(folder, digests)


def seal_again(folder: Path, name: str, data: bytes) -> None:
    """Update the seal with the new contents `data` of the document `name`; does nothing for a run without a seal.

    Raises:
        RecordError: E801.
    """
    sealed = _read(folder)
    if sealed is not None:
        _write(folder, {**sealed, name: hashlib.sha256(data).hexdigest()})


def seal_faults(folder: Path) -> Mapping[str, str]:
    """What is wrong with documents of the run in `folder`, by name: those that do not match the seal.

    Empty if the run has no seal.
    """
    faults = {}
    for name, sha256 in (_read(folder) or {}).items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            faults[name] = "it is missing"
        except OSError as error:
            faults[name] = f"it cannot be read ({error.strerror})"
        else:
            if found != sha256:
                faults[name] = "it was changed since the run was complete (sha256 differs)"
    return faults


def is_sealed(folder: Path) -> bool:
    """Whether every document of the run in `folder` matches its seal."""
    return _read(folder) is not None and not seal_faults(folder)


def standing_manifest(folder: Path) -> Manifest | None:
    """The manifest of a complete run in `folder`; None if it cannot be read or does not match the seal."""
    try:
        manifest = read_manifest(folder / MANIFEST)
    except RecordError:
        return None
    if manifest.status != "complete" or MANIFEST in seal_faults(folder):
        return None
    return manifest


def _write(folder: Path, digests: Mapping[str, str]) -> None:
    record = with_digest({"seal": 1, "documents": digests})
    write_if_changed(folder / SEAL, json.dumps(record, indent=2).encode("ascii") + b"\n")


def _read(folder: Path) -> Mapping[str, str] | None:
    """The digest of each document; None if the seal is missing or was changed."""
    try:
        found = proved(parse_json((folder / SEAL).read_bytes())).get("documents")
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.keys() != set(DOCUMENTS):
        return None
    return found
