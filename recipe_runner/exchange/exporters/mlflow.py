"""A run into MLflow's tracking: parameters, digests and pictures; a child run for each variant of a matrix.

A run is logged once: its plan digest stands as a tag, and what is there already is left as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecordError
from recipe_runner.record.manifest import Manifest, read_manifest
from recipe_runner.record.telemetry import read_telemetry

if TYPE_CHECKING:
    from mlflow import MlflowClient

PLAN_TAG = "recipe_runner.plan_digest"
_FILES = (
    "manifest.json", "recipe.yaml", "resolved.yaml", "recipe.lock.yaml", "telemetry.json", "contact-sheet.png",
    "report.html",
)  # fmt: skip
_LONGEST_VALUE = 6_000
"""What MLflow keeps of a parameter."""
_BATCH = 100
_PARENT = "mlflow.parentRunId"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What was logged: MLflow's id of the run, and whether it was there before."""

    run_id: str
    already: bool
    images: int


def log_run(folder: Path, uri: str, experiment: str | None = None) -> Logged:
    """Log the run in `folder` to the tracking server or store at `uri`.

    Args:
        folder: a run folder.
        uri: as MLflow's `tracking_uri`: `http://…`, `sqlite:///…`, or a folder.
        experiment: its name there; the recipe's where it is None.

    Raises:
        RecordError: E8xx the run cannot be read; E870 MLflow is not installed; E871 MLflow refuses.
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
        # MLflow 3.7 and later refuse a folder unless it is asked for by name; here it was.
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
    known = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if known is None else known.experiment_id
    found = client.search_runs(
        [experiment], f"tags.`{PLAN_TAG}` = '{manifest.plan_digest}' and attributes.status = 'FINISHED'", max_results=1
    )
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
        _images(client, run_id, folder, next(iter(variants.values())))
    for number, paths in enumerate(variants.values() if len(variants) > 1 else (), start=1):
        values = next(image.variant for image in manifest.images if image.path == paths[0])
        tags = {_PARENT: run_id, PLAN_TAG + ".variant": str(number)}
        child = client.create_run(experiment, run_name=f"{manifest.name} {number}", tags=tags).info.run_id
        _parameters(client, child, _flat(values))
        _images(client, child, folder, paths)
        client.set_terminated(child)
    client.set_terminated(run_id, "FINISHED" if manifest.status == "complete" else "FAILED")
    return Logged(run_id=run_id, already=False, images=len(manifest.images))


def _recipe(folder: Path) -> Any:
    """The resolved recipe: with every default and override."""
    path = folder / "resolved.yaml"
    return yaml.safe_load(path.read_bytes()) if path.is_file() else {}


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
    found = {f"sources.{source.role}.sha256": source.digest for source in manifest.sources}
    found |= {f"sources.{source.role}.commit": source.commit for source in manifest.sources if source.commit}
    found |= {f"environment.{name}": version for name, version in manifest.environment.versions.items()}
    return {**found, "environment.device": manifest.environment.device}


def _metrics(folder: Path, manifest: Manifest) -> Iterator[tuple[str, float]]:
    yield "images", float(len(manifest.images))
    totals: dict[str, float] = {}
    for invocation in read_telemetry(folder / "telemetry.json"):
        for name, seconds in invocation.get("seconds", {}).items():
            totals[name] = totals.get(name, 0.0) + seconds
    yield from ((f"seconds.{name}", seconds) for name, seconds in totals.items())


def _variants(manifest: Manifest) -> dict[str, list[str]]:
    """Paths of images by variant, in the plan's order."""
    found: dict[str, list[str]] = {}
    for image in manifest.images:
        found.setdefault(repr(dict(image.variant)), []).append(image.path)
    return found


def _images(client: MlflowClient, run_id: str, folder: Path, paths: list[str]) -> None:
    for path in paths:
        client.log_artifact(run_id, str(folder / path), "images")


def _flat(tree: Any, path: str = "") -> dict[str, str]:
    """Every scalar by its path; MLflow's names have no brackets."""
    if isinstance(tree, Mapping) and tree:
        parts = tree.items()
    elif isinstance(tree, (list, tuple)) and any(isinstance(part, Mapping) for part in tree):
        parts = ((str(number), part) for number, part in enumerate(tree))  # type: ignore[assignment]
    else:
        return {path: str(list(tree) if isinstance(tree, tuple) else tree)} if path else {}
    return {
        key: value for name, part in parts for key, value in _flat(part, f"{path}.{name}" if path else name).items()
    }


def _parameters(client: MlflowClient, run_id: str, values: Mapping[str, str]) -> None:
    from mlflow.entities import Param  # noqa: PLC0415

    given = [Param(re.sub(r"[^\w.\- /:]", "_", key)[:250], value[:_LONGEST_VALUE]) for key, value in values.items()]
    for first in range(0, len(given), _BATCH):
        client.log_batch(run_id, params=given[first : first + _BATCH])
