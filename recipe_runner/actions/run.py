"""Run a plan: make the missing images, keep the others, and record the run in its folder.

torch is imported only when an image must be made.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from recipe_runner.actions.prepare import Prepared, PrepareOptions, prepare, require_sources
from recipe_runner.actions.write_views import write_views
from recipe_runner.canonical import Json
from recipe_runner.lock.compare import Use
from recipe_runner.plan.checks.preflight import fit_warnings
from recipe_runner.plan.compile import Plan, PlannedImage
from recipe_runner.problems.problem import RecipeRunnerError, at
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.run_images import IN_FOLDER, RunImages
from recipe_runner.record.seal import seal_run
from recipe_runner.record.state import plan_state
from recipe_runner.report.terminal.progress import Progress, Quiet
from recipe_runner.sources.access import is_online
from recipe_runner.sources.face_models import NOTICE as FACES_NOTICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Whether a run made or reused an image, and why. `path` is relative to the run folder."""

    path: str
    action: Literal["made", "reused"]
    why: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """The result of a run: its folder, and how many images were made and reused.

    `actions` has an entry for every image of the plan.
    """

    folder: Path
    plan_digest: str
    made: int
    reused: int
    warnings: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()


def execute_plan(
    prepared: Prepared,
    runs: Path,
    *,
    wait: bool = False,
    make_progress: Callable[[int], Progress] = lambda _: Quiet(),
) -> Run:
    """Make the missing images of a prepared recipe, and record the run below `runs`.

    Raises:
        ResolutionError: E402, E403 sources are not on this machine; it has all of them.
        RecordError: the run folder cannot be written, or another process works in it.
        RecipeRunnerError: the first failure of an operation; the images finished before it are kept.
    """
    plan = prepared.plan
    require_sources(plan, prepared.document.source)
    folder = RunFolder(runs, plan.recipe.name, plan.digest)
    with make_progress(len(plan.images)) as progress:
        # Checked before anything is written, even the lock's file: a complete run may be in a read-only folder.
        if RunImages(prepared.document, prepared.overrides, plan, folder).is_complete():
            return _complete(plan, folder)
        with folder.locked(wait=wait, on_wait=progress.say):
            return _run(prepared, folder, progress)


def _complete(plan: Plan, folder: RunFolder) -> Run:
    actions = tuple(_reused(folder, image, IN_FOLDER) for image in plan.images)
    return Run(folder=folder.path, plan_digest=plan.digest, made=0, reused=len(actions), actions=actions)


def _run(prepared: Prepared, folder: RunFolder, progress: Progress) -> Run:
    """Make the missing images in `folder`, whose lock the caller holds."""
    plan = prepared.plan
    images = RunImages(prepared.document, prepared.overrides, plan, folder)
    # Another process may have completed it meanwhile.
    if images.is_complete():
        return _complete(plan, folder)
    missing = images.collect()
    # Several images may share a key, so images are counted.
    reused = len(images.reused)
    actions = tuple(_actions(plan, folder, images))
    progress.begin(reused)
    for action in actions:
        what = "reused"
        if action.action == "made":
            what = "to make"
        progress.explain(f"{action.path}: {what}: {action.why}")
    warnings: tuple[str, ...] = ()
    if missing:
        warnings = _make(folder, prepared, images, missing, progress)
    finish(folder, plan, images)
    return Run(
        folder=folder.path,
        plan_digest=plan.digest,
        made=len(plan.images) - reused,
        reused=reused,
        warnings=warnings,
        actions=actions,
    )


def finish(folder: RunFolder, plan: Plan, images: RunImages) -> None:
    """Write the remaining files of a run that has all its images. The seal, which makes it complete, is last."""
    if not images.has_telemetry():
        # Nothing was made now, and the process that made the images stopped before it recorded its telemetry.
        images.note_making({}, host_facts(), ())
    manifest = images.finish()
    write_views(folder, plan, manifest)
    seal_run(folder.path, manifest)


def _actions(plan: Plan, folder: RunFolder, images: RunImages) -> Iterator[Action]:
    """What will be done about each image, and why. Several images of one key are made once."""
    reasons: Sequence[str | None] = ()
    for index, image in enumerate(plan.images):
        path = folder.image_path(image.path)
        if path in images.reused:
            yield _reused(folder, image, images.reused[path])
            continue
        reasons = reasons or plan_state(plan, folder.runs).reasons
        yield Action(path=path, action="made", why=reasons[index] or "the run's own copy is lost")


def _reused(folder: RunFolder, image: PlannedImage, where: str) -> Action:
    return Action(path=folder.image_path(image.path), action="reused", why=f"nothing it depends on changed ({where})")


def _make(
    folder: RunFolder, prepared: Prepared, images: RunImages, missing: list[PlannedImage], progress: Progress
) -> tuple[str, ...]:
    """Execute the graph for the missing images, in an order with few loads and changes of models."""
    from recipe_runner.graph.execute import execute  # noqa: PLC0415
    from recipe_runner.runtime.operations import PlanOperations  # noqa: PLC0415 - imports torch

    plan, started = prepared.plan, time.monotonic()
    wanted = {image.key: image for image in missing}
    order = in_order(plan, wanted)
    if any("faces" in shown.sources for shown in plan.image_prompts.values()):
        progress.say(f"note: {FACES_NOTICE}")
    # Reported before anything is loaded; the operations do not report these warnings again.
    warned = list(fit_warnings(plan.recipe))
    early = [problem.one_line() for problem in warned]
    for warning in early:
        progress.say(f"warning: {warning}")
    with at(prepared.document.place(("runtime", "device"))):
        workshop = PlanOperations(plan, progress.step, partial(images.add, on_image=progress.image), warned)
    with workshop:
        images.begin(workshop.environment)
        try:
            workshop.find_faces(plan.graph.order(order))
            execute(plan.graph, order, workshop.operations, workshop.timer)
        except RecipeRunnerError as error:
            write_views(folder, plan, images.fail(error.problems[0]))
            raise
        prepared_warnings = [f"{problem.message} [{problem.code}]" for problem in prepared.warnings]
        seconds = {"total": time.monotonic() - started, **workshop.timer.seconds}
        images.note_making(seconds, host_facts(), [*prepared_warnings, *early, *workshop.warnings])
    for warning in workshop.warnings:
        progress.say(f"warning: {warning}")
    return (*early, *workshop.warnings)


def host_facts() -> Mapping[str, Json]:
    """The host, for telemetry; a manifest must not have it."""
    return {
        "name": platform.node(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }


def in_order(plan: Plan, wanted: Mapping[str, PlannedImage]) -> list[str]:
    """Keys of the wanted images, grouped by base, and within a base by set of adapters.

    Groups and images keep the order of their first occurrence, so the order is the same on every machine.
    """
    ranks: dict[tuple[str, ...], int] = {}

    def rank(*key: str) -> int:
        return ranks.setdefault(key, len(ranks))

    def place(image: PlannedImage) -> tuple[int, int]:
        variant = plan.recipe.variants[image.variant]
        base = variant.base.source.digest
        adapters: list[str] = []
        for adapter in variant.all_adapters():
            adapters += adapter.digests
        return rank(base), rank(base, *adapters)

    return [image.key for image in sorted(wanted.values(), key=place)]


def run_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    runs: str | Path = "runs",
    wait: bool = False,
    lock: Use = "auto",
    offline: bool = False,
    make_progress: Callable[[int], Progress] = lambda _: Quiet(),
) -> Run:
    """Make the missing images of the recipe in the file `path`, below the folder `runs`.

    Sources that are not on this machine are fetched.

    Args:
        path: the recipe.
        overrides: `path=value` texts, as for `--set`.
        runs: the folder of run folders and the image store.
        wait: wait for another process that works on the same plan.
        lock: how to use the lock beside the recipe.
        offline: fetch nothing, and fail if a source is missing.
        make_progress: makes the progress display, given the number of images.

    Raises:
        RecipeRunnerError: with code, place and remedy. Finished images are kept.
    """
    prepared = prepare(path, overrides, PrepareOptions(network=not offline and is_online(), lock=lock))
    return execute_plan(prepared, Path(runs), wait=wait, make_progress=make_progress)
