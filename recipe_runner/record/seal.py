"""The seal of a complete run: the digest of each of its documents, written last of all.

A run is complete only when its documents are: the manifest, what people look at, and what says how it was made. A run
that was killed, or ran out of disk, before the seal is finished by the next one; a document that was deleted, damaged
or edited since is no longer the sealed one, and is made again. A run that failed has no seal of its documents, and a
run folder of an older version has none at all.
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
"""What a complete run consists of beside its images."""


def seal_run(folder: Path, manifest: Manifest) -> None:
    """Seal the documents of the run in `folder` as they stand, unless recipe or lock are not there as in the manifest.

    The caller holds the run's lock and has just written them.

    Raises:
        RecordError: E801, E802.
    """
    # The run of a folder's own resolved.yaml cannot make its recipe.yaml good.
    if not (folder / RECIPE).is_file():
        return
    digests = {}
    for name in DOCUMENTS:
        with reading(folder / name):
            digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    if (digests[RECIPE], digests[LOCK]) == (manifest.recipe_sha256, manifest.lock_sha256):
        _write(folder, digests)


def seal_again(folder: Path, name: str, data: bytes) -> None:
    """Take the document `name` into the seal as it was just written anew, `data`; a run without a seal gets none.

    Raises:
        RecordError: E801.
    """
    sealed = _read(folder)
    if sealed is not None:
        _write(folder, {**sealed, name: hashlib.sha256(data).hexdigest()})


def seal_faults(folder: Path) -> Mapping[str, str]:
    """What is wrong with documents of the run in `folder`, by name: each that is not as it was sealed.

    Empty where the run has no seal.
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
    """Whether every document of the run in `folder` is there as it was sealed."""
    return _read(folder) is not None and not seal_faults(folder)


def standing_manifest(folder: Path) -> Manifest | None:
    """The manifest of a complete run in `folder`, as it was sealed or, in a folder without a seal, as it stands."""
    try:
        manifest = read_manifest(folder / MANIFEST)
    except RecordError:
        return None
    return manifest if manifest.status == "complete" and MANIFEST not in seal_faults(folder) else None


def _write(folder: Path, digests: Mapping[str, str]) -> None:
    record = with_digest({"seal": 1, "documents": digests})
    write_if_changed(folder / SEAL, json.dumps(record, indent=2).encode("ascii") + b"\n")


def _read(folder: Path) -> Mapping[str, str] | None:
    """The digest of each document; None where there is no seal, or it is not as it was written."""
    try:
        found = proved(parse_json((folder / SEAL).read_bytes())).get("documents")
    except (OSError, ValueError):
        return None
    is_whole = isinstance(found, dict) and found.keys() == dict.fromkeys(DOCUMENTS).keys()
    return found if is_whole else None
