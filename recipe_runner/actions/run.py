"""Run a plan: make what is missing, keep what is there, leave a folder that says everything.

torch is imported only when an image has to be made.
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

from recipe_runner.actions.prepare import Prepared, Terms, prepare, require_sources
from recipe_runner.actions.write_views import write_views
from recipe_runner.canonical import Json
from recipe_runner.lock.compare import Use
from recipe_runner.plan.checks.preflight import fit_warnings
from recipe_runner.plan.compile import Plan, PlannedImage
from recipe_runner.problems.problem import RecipeRunnerError, at
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.run_images import IN_FOLDER, Gallery
from recipe_runner.record.seal import seal_run
from recipe_runner.record.state import plan_state
from recipe_runner.report.terminal.progress import Progress, Quiet
from recipe_runner.sources.access import is_online
from recipe_runner.sources.face_models import NOTICE as FACES_NOTICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a run did about one image: made it, or reused it, and why. `path` is relative to the run folder."""

    path: str
    action: Literal["made", "reused"]
    why: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run left: its folder, and how many images it made and how many were there already.

    `actions` says of every image of the plan whether it was made or reused, and why.
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
    """Make the images of a prepared recipe that are not made yet, and record the run below `runs`.

    Raises:
        ResolutionError: E402, E403 when a source is not on this machine, with all that are missing.
        RecordError: the run folder cannot be written, or another process works in it.
        RecipeRunnerError: the first failure of an operation; what was finished before it is kept.
    """
    plan = prepared.plan
    require_sources(plan, prepared.document.source)
    folder = RunFolder(runs, plan.recipe.name, plan.digest)
    with make_progress(len(plan.images)) as progress:
        # Asked before anything is written, the lock's file among it: a complete run may lie where nobody writes.
        if Gallery(prepared.document, prepared.overrides, plan, folder).is_complete():
            return _complete(plan, folder)
        with folder.locked(wait=wait, on_wait=progress.say):
            return _run(prepared, folder, progress)


def _complete(plan: Plan, folder: RunFolder) -> Run:
    actions = tuple(_reused(folder, image, IN_FOLDER) for image in plan.images)
    return Run(folder=folder.path, plan_digest=plan.digest, made=0, reused=len(actions), actions=actions)


def _run(prepared: Prepared, folder: RunFolder, progress: Progress) -> Run:
    """Make what is missing in `folder`, whose lock the caller holds."""
    plan = prepared.plan
    gallery = Gallery(prepared.document, prepared.overrides, plan, folder)
    # Another process may have ended it meanwhile.
    if gallery.is_complete():
        return _complete(plan, folder)
    missing = gallery.collect()
    # Images and not keys, which several images may share.
    reused = len(gallery.reused)
    actions = tuple(_actions(plan, folder, gallery))
    progress.begin(reused)
    for action in actions:
        progress.explain(f"{action.path}: {'to make' if action.action == 'made' else 'reused'}: {action.why}")
    warnings = _make(folder, prepared, gallery, missing, progress) if missing else ()
    finish(folder, plan, gallery)
    return Run(
        folder=folder.path,
        plan_digest=plan.digest,
        made=len(plan.images) - reused,
        reused=reused,
        warnings=warnings,
        actions=actions,
    )


def finish(folder: RunFolder, plan: Plan, gallery: Gallery) -> None:
    """Write what is left of a run all of whose images are there; the seal, which makes it complete, last of all."""
    if not gallery.has_telemetry():
        # Nothing was made, and what made the images was stopped before it noted how long it took.
        gallery.note_making({}, host_facts(), ())
    manifest = gallery.finish()
    write_views(folder, plan, manifest)
    seal_run(folder.path, manifest)


def _actions(plan: Plan, folder: RunFolder, gallery: Gallery) -> Iterator[Action]:
    """What is about to happen to each image, and why. Several images of one key are made once."""
    reasons: Sequence[str | None] = ()
    for index, image in enumerate(plan.images):
        path = folder.image_path(image.path)
        if path in gallery.reused:
            yield _reused(folder, image, gallery.reused[path])
            continue
        reasons = reasons or plan_state(plan, folder.runs).reasons
        yield Action(path=path, action="made", why=reasons[index] or "the run's own copy is lost")


def _reused(folder: RunFolder, image: PlannedImage, where: str) -> Action:
    return Action(path=folder.image_path(image.path), action="reused", why=f"nothing it depends on changed ({where})")


def _make(
    folder: RunFolder, prepared: Prepared, gallery: Gallery, missing: list[PlannedImage], progress: Progress
) -> tuple[str, ...]:
    """Execute the graph for the missing images, in an order that loads and changes as little as possible."""
    from recipe_runner.graph.execute import execute  # noqa: PLC0415
    from recipe_runner.runtime.operations import PlanOperations  # noqa: PLC0415 - imports torch

    plan, started = prepared.plan, time.monotonic()
    wanted = {image.key: image for image in missing}
    order = in_order(plan, wanted)
    if any("faces" in shown.sources for shown in plan.image_prompts.values()):
        progress.say(f"note: {FACES_NOTICE}")
    # Before it costs anything; what the operations find to be so once more is not told twice.
    told = list(fit_warnings(plan.recipe))
    early = [problem.one_line() for problem in told]
    for warning in early:
        progress.say(f"warning: {warning}")
    with at(prepared.document.place(("runtime", "device"))):
        workshop = PlanOperations(plan, progress.step, partial(gallery.add, on_image=progress.image), told)
    with workshop:
        gallery.begin(workshop.environment)
        try:
            workshop.find_faces(plan.graph.order(order))
            execute(plan.graph, order, workshop.operations, workshop.timer)
        except RecipeRunnerError as error:
            write_views(folder, plan, gallery.fail(error.problems[0]))
            raise
        noted = [*(f"{problem.message} [{problem.code}]" for problem in prepared.warnings), *early]
        seconds = {"total": time.monotonic() - started, **workshop.timer.seconds}
        gallery.note_making(seconds, host_facts(), [*noted, *workshop.warnings])
    for warning in workshop.warnings:
        progress.say(f"warning: {warning}")
    return (*early, *workshop.warnings)


def host_facts() -> Mapping[str, Json]:
    """The host, for telemetry: what a manifest must not say."""
    return {
        "name": platform.node(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }


def in_order(plan: Plan, wanted: Mapping[str, PlannedImage]) -> list[str]:
    """Keys of the wanted images, so that those of one base stand together, and within it those of one set of adapters.

    Groups and images keep the order in which they first occur, so the order is the same on every machine.
    """
    ranks: dict[tuple[str, ...], int] = {}

    def rank(*key: str) -> int:
        return ranks.setdefault(key, len(ranks))

    def place(image: PlannedImage) -> tuple[int, int]:
        variant = plan.recipe.variants[image.variant]
        base = variant.base.source.digest
        members = [member for adapter in variant.adapters for member in adapter.with_members()]
        adapters = [source.digest for adapter in members for source in adapter.sources.values()]
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
    """Make the images of the recipe in the file `path`, below the folder `runs`; made ones are not made again.

    Sources that are not on this machine are fetched.

    Args:
        path: the recipe.
        overrides: `path=value` texts, as `--set` takes them.
        runs: folder of run folders and the image store.
        wait: wait for another process that works on the same plan.
        lock: how the lock beside the recipe counts.
        offline: fetch nothing, and fail when something is missing.
        make_progress: makes what is told of progress, given the number of images.

    Raises:
        RecipeRunnerError: what cannot be done, with code, place and remedy. What was finished is kept.
    """
    prepared = prepare(path, overrides, Terms(network=not offline and is_online(), lock=lock))
    return execute_plan(prepared, Path(runs), wait=wait, make_progress=make_progress)
