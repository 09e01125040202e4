"""A run's manifest in formats that other tools read: an in-toto Statement, and an RO-Crate.

Both have the contents of the manifest: the images, their inputs and the environment. The Statement's predicate is SLSA
provenance (https://slsa.dev/spec/v1.0/provenance); the crate follows RO-Crate 1.1 and the profile Process Run Crate 0.5
(https://www.researchobject.org/workflow-run-crate/profiles/process_run_crate).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recipe_runner.record.inputs import SourceRecord
from recipe_runner.record.manifest import ImageRecord, Manifest
from recipe_runner.record.names import LOCK, MANIFEST, RECIPE, RESOLVED, TELEMETRY
from recipe_runner.record.telemetry import read_telemetry
from recipe_runner.version import __version__

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:recipe_runner:run:v1"
CRATE = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
UNDATED = "1970-01-01T00:00:00+00:00"
"""The date of a run that has no telemetry."""
_NOT_PYTHON = ("python", "cuda", "cudnn")
_MEDIA_TYPES = {
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".yaml": "application/yaml",
}


def in_toto_statement(run: Path, manifest: Manifest) -> Mapping[str, Any]:
    """The in-toto Statement of the run folder `run`: its images and manifest are the subjects."""
    subjects = [_subject(image) for image in manifest.images]
    subjects.append({"name": MANIFEST, "digest": {"sha256": _sha256(run / MANIFEST)}})
    dependencies: list[dict[str, Any]] = []
    for source in manifest.sources:
        dependencies += _dependencies(source)
    if manifest.git is not None:
        recipe = {"name": "the recipe's repository", "digest": {"gitCommit": manifest.git.commit}}
        dependencies.append({**recipe, "annotations": {"dirty": manifest.git.dirty}})
    parameters = {
        "recipe": {"name": RECIPE, "digest": {"sha256": manifest.recipe_sha256}},
        "overrides": list(manifest.overrides),
        "name": manifest.name,
    }
    environment = manifest.environment.model_dump(mode="json")
    byproducts = []
    if manifest.lock_sha256 is not None:
        byproducts.append({"name": LOCK, "digest": {"sha256": manifest.lock_sha256}})
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": parameters,
            "internalParameters": {"environment": environment},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {
                "id": f"urn:recipe_runner:{__version__}",
                "version": {"recipe_runner": __version__, **manifest.environment.versions},
            },
            "metadata": {"invocationId": manifest.plan_digest},
            "byproducts": byproducts,
        },
    }
    return {"_type": STATEMENT_TYPE, "subject": subjects, "predicateType": PREDICATE_TYPE, "predicate": predicate}


def _subject(image: ImageRecord) -> Mapping[str, Any]:
    annotations = {"pixel_sha256": image.pixel_sha256, "node_key": image.node_key}
    return {"name": image.path, "digest": {"sha256": image.file_sha256}, "annotations": annotations}


def _dependencies(source: SourceRecord) -> Iterator[dict[str, Any]]:
    for file in source.files:
        dependency: dict[str, Any] = {"name": f"{source.role}: {file.name}", "digest": {"sha256": file.sha256}}
        uri = _uri(source)
        if uri:
            dependency["uri"] = uri
        yield dependency


def _uri(source: SourceRecord) -> str | None:
    """The package URL of a Hub repository at its commit, or the URL of a download; None for a local source."""
    if source.commit is not None:
        return f"pkg:huggingface/{source.address}@{source.commit}"
    if "://" in source.address:
        return source.address
    return None


def ro_crate(run: Path, manifest: Manifest) -> Mapping[str, Any]:
    """The ro-crate-metadata.json of the run folder `run`, which makes the folder a crate."""
    started = _started(run)
    images = [_image(run, image) for image in manifest.images]
    documents: dict[str, dict[str, Any]] = {}
    for name in (RECIPE, RESOLVED, LOCK, MANIFEST):
        if (run / name).is_file():
            documents[name] = _document(run, name)
    read = [document for name, document in documents.items() if name in (RECIPE, LOCK)]
    sources = [_source(source) for source in manifest.sources]
    software = _software(manifest)
    action: dict[str, Any] = {
        "@id": f"#run-{manifest.plan_digest[:12]}",
        "@type": "CreateAction",
        "name": f"Run of the recipe {manifest.name}",
        "description": "Made the images of the recipe that were not made yet.",
        "identifier": manifest.plan_digest,
        "instrument": {"@id": software[0]["@id"]},
        "object": _references([*read, *sources]),
        "result": _references(images),
        "endTime": started,
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
    }
    if manifest.failure is not None:
        action["actionStatus"] = {"@id": "http://schema.org/FailedActionStatus"}
        action["error"] = manifest.failure.message
    licence = {
        "@id": "#licence",
        "@type": "CreativeWork",
        "name": "No licence is stated",
        "description": "What may be done with the images depends on the licences of the models they were made with.",
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": manifest.name,
        "description": f"{len(images)} images made by recipe_runner from the recipe {manifest.name}.",
        "datePublished": started,
        "license": {"@id": licence["@id"]},
        "conformsTo": {"@id": PROFILE},
        "hasPart": _references([*documents.values(), *images]),
        "mentions": {"@id": action["@id"]},
    }
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": CRATE},
    }
    profile = {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    graph = [descriptor, root, profile, licence, action, *software, *documents.values(), *images, *sources]
    return {"@context": [f"{CRATE}/context", TERMS], "@graph": graph}


def _started(run: Path) -> str:
    invocations = read_telemetry(run / TELEMETRY)
    if not invocations:
        return UNDATED
    return str(invocations[0].get("started"))


def _references(entities: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"@id": entity["@id"]} for entity in entities]


def _software(manifest: Manifest) -> list[dict[str, Any]]:
    """recipe_runner first, then the libraries that it used."""
    libraries: list[dict[str, Any]] = []
    for name, version in manifest.environment.versions.items():
        kind = "pypi"
        if name in _NOT_PYTHON:
            kind = "generic"
        library = {"@id": f"pkg:{kind}/{name}@{version}", "@type": "SoftwareApplication"}
        libraries.append({**library, "name": name, "softwareVersion": version})
    own = {
        "@id": f"urn:recipe_runner:{__version__}",
        "@type": "SoftwareApplication",
        "name": "recipe_runner",
        "softwareVersion": __version__,
        "softwareRequirements": _references(libraries),
    }
    return [own, *libraries]


def _document(run: Path, name: str) -> dict[str, Any]:
    path = run / name
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "encodingFormat": _MEDIA_TYPES[path.suffix],
        "contentSize": str(path.stat().st_size),
        "sha256": _sha256(path),
    }


def _image(run: Path, image: ImageRecord) -> dict[str, Any]:
    path = run / image.path
    entity: dict[str, Any] = {
        "@id": image.path,
        "@type": "File",
        "name": f"{image.prompt}, seed {image.seed}",
        "encodingFormat": _MEDIA_TYPES[path.suffix],
        "sha256": image.file_sha256,
        "identifier": image.node_key,
    }
    if path.is_file():
        entity["contentSize"] = str(path.stat().st_size)
    return entity


def _source(source: SourceRecord) -> dict[str, Any]:
    entity: dict[str, Any] = {
        "@id": f"#source-{source.role}",
        "@type": "CreativeWork",
        "name": f"{source.role}: {source.address}",
        "identifier": f"sha256:{source.digest}",
    }
    if source.commit is not None:
        entity["version"] = source.commit
    uri = _uri(source)
    if uri:
        entity["sameAs"] = uri
    return entity


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
