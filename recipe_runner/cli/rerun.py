"""The fresh process of `verify --rerun`: make some images of a recipe, and record them.

It reads `request.json`, `recipe.yaml` and `run.lock.yaml` in a folder, and writes image files and `made.json` there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.actions.prepare import Prepared, PrepareOptions, prepare, require_sources
from recipe_runner.actions.run import in_order
from recipe_runner.canonical import Json
from recipe_runner.images.encode import encode
from recipe_runner.lock.compare import pins_of
from recipe_runner.lock.file import read_lock
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.report.escape import safe_streams
from recipe_runner.report.terminal.progress import Progress, make_progress
from recipe_runner.report.terminal.streams import guarded
from recipe_runner.sources.access import is_online
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def main(folder: str) -> None:
    """Make the images that `request.json` in `folder` asks for."""
    with guarded(), safe_streams():
        _answer(Path(folder))


def _answer(place: Path) -> None:
    request = json.loads((place / "request.json").read_bytes())
    made: dict[str, Any]
    try:
        overrides = []
        if request["device"]:
            overrides.append(f"runtime.device={request['device']}")
        pins = pins_of(read_lock(place / "run.lock.yaml"))
        prepared = prepare(place / "recipe.yaml", overrides, PrepareOptions(network=is_online(), pins=pins))
        require_sources(prepared.plan, str(place / "recipe.yaml"))
        made = _make(prepared, request["images"], place, make_progress(len(request["images"]), quiet=request["quiet"]))
    except RecipeRunnerError as error:
        made = {"problems": [asdict(problem) for problem in error.problems]}
    (place / "made.json").write_text(json.dumps(made), encoding="utf-8")


def _make(prepared: Prepared, wanted: list[str], place: Path, progress: Progress) -> dict[str, Any]:
    from recipe_runner.graph.execute import execute  # noqa: PLC0415
    from recipe_runner.runtime.operations import PlanOperations  # noqa: PLC0415 - imports torch

    plan = prepared.plan
    chosen = {image.key: image for image in plan.images if image.path in wanted}
    made: dict[str, dict[str, Json]] = {}

    def keep(key: str, pixels: NDArray[np.uint8]) -> None:
        output: Mapping[str, Any] = plan.recipe.variants[chosen[key].variant].output
        encoded = encode(pixels, output["format"], output["quality"])
        name = f"{key}.{output['format']}"
        (place / name).write_bytes(encoded.data)
        made[key] = {"node_key": key, "pixel_sha256": encoded.pixel_sha256, "file": name}
        progress.image(chosen[key].path)

    with progress, PlanOperations(plan, progress.step, keep) as workshop:
        execute(plan.graph, in_order(plan, chosen), workshop.operations, workshop.timer)
        environment = workshop.environment
    sources = {}
    for role, source in plan.sources().items():
        if isinstance(source, Source):
            files = {file.name: file.sha256 for file in source.files}
            sources[role] = {"digest": source.digest, "files": files}
    images = {image.path: made[image.key] for image in plan.images if image.path in wanted}
    return {"environment": environment, "sources": sources, "images": images}
