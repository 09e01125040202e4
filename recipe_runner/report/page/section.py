"""What a report says of one run beside its images: recipe and lock, build graph, timings, inputs, environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from recipe_runner.canonical import Json
from recipe_runner.graph.graph import BuildGraph
from recipe_runner.images.labels import value_text
from recipe_runner.record.folder import DIGEST_LENGTH
from recipe_runner.record.manifest import Manifest
from recipe_runner.record.read_run import RecordedRun
from recipe_runner.report.page.graph_svg import graph_boxes, graph_svg


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A run to report on, and its build graph; where that is None, `graph_note` says why."""

    run: RecordedRun
    graph: BuildGraph | None
    graph_note: str = ""


def warnings_of(run: RecordedRun) -> Iterator[str]:
    """What was told while the run's images were made."""
    for invocation in run.invocations:
        found = invocation.get("warnings")
        yield from (warning for warning in found if isinstance(warning, str)) if isinstance(found, list) else ()


def section(subject: Subject, name: str) -> Mapping[str, Any]:
    """What the template says of a run called `name`."""
    run, manifest = subject.run, subject.run.manifest
    graph, note = None, subject.graph_note
    if subject.graph is not None:
        boxes = graph_boxes(subject.graph)
        graph = Markup(graph_svg(boxes))  # noqa: S704 - the drawing escapes what it is made of
        note = f"{len(subject.graph)} nodes"
        note += "" if len(boxes) == len(subject.graph) else ", those that do the same to the same drawn as one"
    return {
        "name": name,
        "failure": manifest.failure and f"{manifest.failure.code}: {manifest.failure.message}",
        "recipe": run.recipe,
        "overrides": manifest.overrides,
        "resolved": run.resolved.text if run.resolved else None,
        "lock": run.lock,
        "graph": graph,
        "graph_note": note,
        "timings": [_timing(invocation) for invocation in run.invocations],
        "sources": [
            {
                "role": source.role,
                "address": source.address,
                "commit": (source.commit or "")[:DIGEST_LENGTH],
                "digest": source.digest,
            }
            for source in manifest.sources
        ],
        "adapters": [
            {
                "name": adapter.name,
                "kind": adapter.kind,
                "tensors": ", ".join(f"{part} {m.matched}/{m.total}" for part, m in adapter.tensors.items()),
                "scales": "; ".join(value_text(scale) for scale in adapter.scales),
            }
            for adapter in manifest.adapters
        ],
        "environment": _environment(manifest),
        "identity": _identity(manifest),
    }


def _timing(invocation: Mapping[str, Any]) -> Mapping[str, Any]:
    found = invocation.get("seconds")
    seconds = (
        {str(name): float(value) for name, value in found.items() if isinstance(value, (int, float))}
        if isinstance(found, dict)
        else {}
    )
    total = seconds.pop("total", sum(seconds.values()))
    host = invocation.get("host")
    where = host.get("platform", "") if isinstance(host, dict) else ""
    rest = max(0.0, total - sum(seconds.values()))
    rows = {**seconds, "everything else": rest, "total": total}
    return {
        "title": f"{invocation.get('started', '')}: {invocation.get('made', 0)} made, "
        f"{invocation.get('reused', 0)} reused; {where}",
        "rows": [
            {"name": name, "seconds": f"{value:.3f}", "share": round(100 * value / total, 1) if total else 0.0}
            for name, value in rows.items()
        ],
    }


def _environment(manifest: Manifest) -> Mapping[str, str]:
    found = manifest.environment
    values: dict[str, Json] = {"device": found.device, "reproducibility": found.reproducibility}
    return {name: value_text(value) for name, value in {**values, **found.versions, **found.determinism}.items()}


def _identity(manifest: Manifest) -> Mapping[str, str]:
    values = {"plan": manifest.plan_digest, "recipe": manifest.recipe_sha256}
    if manifest.lock_sha256:
        values["lock"] = manifest.lock_sha256
    if manifest.git is not None:
        values["git"] = f"{manifest.git.commit}{' with changes' if manifest.git.dirty else ''}"
    return values
