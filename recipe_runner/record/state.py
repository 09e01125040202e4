"""Which images of a plan are already made, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipe_runner.canonical import canonical
from recipe_runner.graph.changed_inputs import changes, inputs_of
from recipe_runner.plan.compile import Plan, PlannedImage
from recipe_runner.problems.problem import RecordError
from recipe_runner.record.folder import RunFolder
from recipe_runner.record.manifest import ImageRecord, read_manifest
from recipe_runner.record.names import MANIFEST
from recipe_runner.record.store import Absent, Store, StoredImage

NEVER = "no earlier run made this prompt, seed and variant"
SHOWN = 3
"""How many changed inputs a reason lists."""


@dataclass(frozen=True, kw_only=True)
class State:
    """The state of each image of a plan: None if it is already made, else why it has to be made."""

    folder: Path
    reasons: Sequence[str | None]

    @property
    def made(self) -> int:
        """How many images are already made."""
        return list(self.reasons).count(None)


def plan_state(plan: Plan, runs: Path) -> State:
    """Look up every image in the store below `runs`; cheap, and writes nothing."""
    folder = RunFolder(runs, plan.recipe.name, plan.digest)
    if not folder.store.root.is_dir():
        return State(folder=folder.path, reasons=[NEVER] * len(plan.images))
    stored = folder.store.keys()
    earlier: _Earlier | None = None
    reasons: list[str | None] = []
    for image in plan.images:
        if image.key not in stored:
            earlier = earlier or _Earlier(runs / plan.recipe.name, folder.store)
            reasons.append(earlier.why(plan, image))
            continue
        found = folder.store.look_up(image.key)
        if isinstance(found, StoredImage):
            reasons.append(None)
        else:
            reasons.append(found.reason)
    return State(folder=folder.path, reasons=reasons)


class _Earlier:
    """The images of earlier runs of a recipe, by prompt, seed and variant; the newest run first."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._store = store
        self._keys: dict[bytes, str] = {}
        manifests = sorted(folder.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in manifests:
            for image in _images(path):
                self._keys.setdefault(canonical([image.prompt, image.seed, image.variant]), image.node_key)

    def why(self, plan: Plan, image: PlannedImage) -> str:
        values = plan.recipe.variants[image.variant].values
        key = self._keys.get(canonical([image.prompt, image.seed, values]))
        if key is None:
            return NEVER
        found = self._store.look_up(key)
        if isinstance(found, Absent):
            return NEVER
        phrases = changes(found.inputs, inputs_of(plan.graph, image.key))
        shown = "; ".join(phrases[:SHOWN])
        if len(phrases) <= SHOWN:
            return f"changed: {shown}"
        return f"changed: {shown} and {len(phrases) - SHOWN} more"


def _images(path: Path) -> Sequence[ImageRecord]:
    """The images of a manifest; none if it cannot be read, because it only serves to explain."""
    try:
        return read_manifest(path).images
    except RecordError:
        return ()
