"""The part of a report about one run, after its images: recipe, lock, build graph, timings, inputs, environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from recipe_runner.canonical import Json, mapping
from recipe_runner.graph.graph import BuildGraph
from recipe_runner.images.labels import value_text
from recipe_runner.record.folder import DIGEST_LENGTH
from recipe_runner.record.inputs import AdapterRecord
from recipe_runner.record.manifest import Manifest
from recipe_runner.record.read_run import RecordedRun
from recipe_runner.report.page.graph_svg import graph_boxes, graph_svg


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A run to report on, and its build graph; if that is None, `graph_note` says why."""

    run: RecordedRun
    graph: BuildGraph | None
    graph_note: str = ""


def warnings_of(run: RecordedRun) -> Iterator[str]:
    """The warnings that were reported while the images of the run were made."""
    for invocation in run.invocations:
        warnings = invocation.get("warnings")
        if isinstance(warnings, list):
            yield from (warning for warning in warnings if isinstance(warning, str))


def section(subject: Subject, name: str) -> Mapping[str, Any]:
    """The values of the template for a run called `name`."""
    run, manifest = subject.run, subject.run.manifest
    graph, note = _graph(subject)
    sources = []
    for source in manifest.sources:
        commit = (source.commit or "")[:DIGEST_LENGTH]
        sources.append({"role": source.role, "address": source.address, "commit": commit, "digest": source.digest})
    return {
        "name": name,
        "failure": manifest.failure and f"{manifest.failure.code}: {manifest.failure.message}",
        "recipe": run.recipe,
        "overrides": manifest.overrides,
        "resolved": run.resolved and run.resolved.text,
        "lock": run.lock,
        "graph": graph,
        "graph_note": note,
        "timings": list(map(_timing, run.invocations)),
        "sources": sources,
        "adapters": list(map(_adapter, manifest.adapters)),
        "environment": _environment(manifest),
        "identity": _identity(manifest),
    }


def _graph(subject: Subject) -> tuple[Markup | None, str]:
    """The drawing of the build graph, if there is one, and a note about it."""
    if subject.graph is None:
        return None, subject.graph_note
    boxes = graph_boxes(subject.graph)
    note = f"{len(subject.graph)} nodes"
    if len(boxes) < len(subject.graph):
        note += "; nodes with the same operation and inputs are drawn as one"
    return Markup(graph_svg(boxes)), note  # noqa: S704 - the drawing escapes its texts


def _adapter(adapter: AdapterRecord) -> Mapping[str, str]:
    tensors = [f"{part} {count.matched}/{count.total}" for part, count in adapter.tensors.items()]
    return {
        "name": adapter.name,
        "kind": adapter.kind,
        "tensors": ", ".join(tensors),
        "scales": "; ".join(map(value_text, adapter.scales)),
    }


def _timing(invocation: Mapping[str, Any]) -> Mapping[str, Any]:
    seconds: dict[str, float] = {}
    for name, value in mapping(invocation.get("seconds")).items():
        if isinstance(value, (int, float)):
            seconds[name] = float(value)
    total = seconds.pop("total", sum(seconds.values()))
    seconds["everything else"] = max(0.0, total - sum(seconds.values()))
    seconds["total"] = total
    rows = []
    for name, value in seconds.items():
        share = round(100 * value / total, 1) if total else 0.0
        rows.append({"name": name, "seconds": f"{value:.3f}", "share": share})
    counts = f"{invocation.get('made', 0)} made, {invocation.get('reused', 0)} reused"
    platform = mapping(invocation.get("host")).get("platform", "")
    return {"title": f"{invocation.get('started', '')}: {counts}; {platform}", "rows": rows}


def value_texts(values: Mapping[str, Json]) -> Mapping[str, str]:
    """Values by name, each as a recipe would write it."""
    return {name: value_text(value) for name, value in values.items()}


def _environment(manifest: Manifest) -> Mapping[str, str]:
    found = manifest.environment
    values: dict[str, Json] = {"device": found.device, "reproducibility": found.reproducibility}
    return value_texts({**values, **found.versions, **found.determinism})


def _identity(manifest: Manifest) -> Mapping[str, str]:
    values = {"plan": manifest.plan_digest, "recipe": manifest.recipe_sha256}
    if manifest.lock_sha256:
        values["lock"] = manifest.lock_sha256
    if manifest.git is not None:
        values["git"] = manifest.git.commit
        if manifest.git.dirty:
            values["git"] += " with changes"
    return values
