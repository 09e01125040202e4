"""Log a run to MLflow: parameters, digests and images, with a child run for each variant of a matrix.

A run is logged once: a tag has its plan digest, and a run with the same tag is left unchanged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError
from recipe_runner.record.manifest import ImageRecord, Manifest, read_manifest
from recipe_runner.record.telemetry import read_telemetry

if TYPE_CHECKING:
    from mlflow import MlflowClient

PLAN_TAG = "recipe_runner.plan_digest"
_FILES = (
    "manifest.json", "recipe.yaml", "resolved.yaml", "recipe.lock.yaml", "telemetry.json", "contact-sheet.png",
    "report.html",
)  # fmt: skip
_LONGEST_VALUE = 6_000
"""Characters of a parameter that MLflow keeps."""
_BATCH = 100
_PARENT = "mlflow.parentRunId"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """The id of the run in MLflow, whether it was already there, and the number of images."""

    run_id: str
    already: bool
    images: int


def log_run(folder: Path, uri: str, experiment: str | None = None) -> Logged:
    """Log the run in `folder` to the tracking server or store at `uri`.

    Args:
        folder: a run folder.
        uri: as MLflow's `tracking_uri`: `http://…`, `sqlite:///…`, or a folder.
        experiment: the name of the experiment; None for the name of the recipe.

    Raises:
        RecordError: E8xx the run cannot be read; E870 MLflow is not installed; E871 MLflow reports an error.
    """
    manifest = read_manifest(folder / "manifest.json")
    client, failure = _client(uri)
    try:
        return _log(client, folder, manifest, experiment or manifest.name)
    except (failure, OSError) as error:
        first = str(error).strip().partition("\n")[0][:300]
        raise RecordError(
            Problem(code="E871", message=f"MLflow at {uri}: {first}", place=Place(str(folder)))
        ) from error


def _client(uri: str) -> tuple[MlflowClient, type[Exception]]:
    if "://" not in uri or uri.startswith("file:"):
        # MLflow 3.7 and later refuse folders unless this is set; here the user named the folder.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    try:
        from mlflow import MlflowClient  # noqa: PLC0415 - an optional extra
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
    except ImportError as error:
        hint = "pip install mlflow-skinny (the extra `mlflow` of this package)"
        raise RecordError(Problem(code="E870", message="MLflow is not installed", hint=hint)) from error
    address = uri if "://" in uri else Path(uri).absolute().as_uri()
    try:
        return MlflowClient(tracking_uri=address), MlflowException
    except MlflowException as error:
        raise RecordError(Problem(code="E871", message=f"MLflow at {uri}: {error}")) from error


def _log(client: MlflowClient, folder: Path, manifest: Manifest, name: str) -> Logged:
    experiment = _experiment(client, name)
    query = f"tags.`{PLAN_TAG}` = '{manifest.plan_digest}' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment], query, max_results=1)
    if found:
        return Logged(run_id=found[0].info.run_id, already=True, images=len(manifest.images))
    run = client.create_run(experiment, run_name=f"{manifest.name} {manifest.plan_digest[:12]}", tags=_tags(manifest))
    run_id: str = run.info.run_id
    _parameters(client, run_id, {**_flat(_recipe(folder)), **_digests(manifest)})
    for metric, value in _metrics(folder, manifest):
        client.log_metric(run_id, metric, value)
    for file in _FILES:
        if (folder / file).is_file():
            client.log_artifact(run_id, str(folder / file))
    variants = _variants(manifest)
    if len(variants) == 1:
        _images(client, run_id, folder, variants[0])
    else:
        for number, images in enumerate(variants, start=1):
            tags = {_PARENT: run_id, PLAN_TAG + ".variant": str(number)}
            child = client.create_run(experiment, run_name=f"{manifest.name} {number}", tags=tags).info.run_id
            _parameters(client, child, _flat(images[0].variant))
            _images(client, child, folder, images)
            client.set_terminated(child)
    client.set_terminated(run_id, "FINISHED" if manifest.status == "complete" else "FAILED")
    return Logged(run_id=run_id, already=False, images=len(manifest.images))


def _experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment with this name, which is created when it is missing."""
    known = client.get_experiment_by_name(name)
    if known is None:
        return client.create_experiment(name)
    return known.experiment_id


def _recipe(folder: Path) -> Any:
    """The resolved recipe, with all defaults and overrides."""
    path = folder / "resolved.yaml"
    if not path.is_file():
        return {}
    return yaml.safe_load(path.read_bytes())


def _tags(manifest: Manifest) -> dict[str, str]:
    tags = {
        PLAN_TAG: manifest.plan_digest,
        "recipe_runner.recipe_sha256": manifest.recipe_sha256,
        "recipe_runner.reproducibility": manifest.environment.reproducibility,
        "mlflow.source.name": "recipe-runner",
        "mlflow.source.type": "LOCAL",
    }
    if manifest.git is not None:
        tags |= {"mlflow.source.git.commit": manifest.git.commit, "recipe_runner.git.dirty": str(manifest.git.dirty)}
    if manifest.overrides:
        tags["recipe_runner.document.overrides"] = "\n".join(manifest.overrides)[:_LONGEST_VALUE]
    return tags


def _digests(manifest: Manifest) -> dict[str, str]:
    found = {"environment.device": manifest.environment.device}
    for source in manifest.sources:
        found[f"sources.{source.role}.sha256"] = source.digest
        if source.commit:
            found[f"sources.{source.role}.commit"] = source.commit
    for name, version in manifest.environment.versions.items():
        found[f"environment.{name}"] = version
    return found


def _metrics(folder: Path, manifest: Manifest) -> Iterator[tuple[str, float]]:
    yield "images", float(len(manifest.images))
    totals: dict[str, float] = {}
    for invocation in read_telemetry(folder / "telemetry.json"):
        for name, seconds in invocation.get("seconds", {}).items():
            totals[name] = totals.get(name, 0.0) + seconds
    for name, seconds in totals.items():
        yield f"seconds.{name}", seconds


def _variants(manifest: Manifest) -> list[list[ImageRecord]]:
    """The images of each variant, in the order of the plan."""
    found: dict[str, list[ImageRecord]] = {}
    for image in manifest.images:
        found.setdefault(repr(dict(image.variant)), []).append(image)
    return list(found.values())


def _images(client: MlflowClient, run_id: str, folder: Path, images: Sequence[ImageRecord]) -> None:
    for image in images:
        client.log_artifact(run_id, str(folder / image.path), "images")


def _flat(tree: Any, path: str = "") -> dict[str, str]:
    """Every value by its path, with dots for indexes: names in MLflow have no brackets."""
    found: dict[str, str] = {}
    for name, part in _parts(tree):
        found |= _flat(part, f"{path}.{name}" if path else str(name))
    if found or not path:
        return found
    if isinstance(tree, tuple):
        tree = list(tree)
    return {path: str(tree)}


def _parts(tree: Any) -> Iterable[tuple[Any, Any]]:
    """The parts of a mapping, or of a list that contains mappings."""
    if isinstance(tree, Mapping):
        return tree.items()
    if isinstance(tree, (list, tuple)) and any(isinstance(part, Mapping) for part in tree):
        return enumerate(tree)
    return ()


def _parameters(client: MlflowClient, run_id: str, values: Mapping[str, str]) -> None:
    from mlflow.entities import Param  # noqa: PLC0415

    given = [Param(re.sub(r"[^\w.\- /:]", "_", key)[:250], value[:_LONGEST_VALUE]) for key, value in values.items()]
    for first in range(0, len(given), _BATCH):
        client.log_batch(run_id, params=given[first : first + _BATCH])
