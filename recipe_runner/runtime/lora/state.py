"""The LoRAs of a pipeline, and the steps from its current state to the state that a handle describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from recipe_runner.canonical import digest
from recipe_runner.plan.resolved import ModelHandle, ResolvedAdapter, ResolvedLora, ResolvedMerge
from recipe_runner.problems.problem import WeightsError, at
from recipe_runner.runtime.family import present_parts
from recipe_runner.runtime.load.file_guard import require_found, unchanged
from recipe_runner.runtime.lora.file import TUNED_PARTS, Translated, translate
from recipe_runner.runtime.lora.merge import merge
from recipe_runner.runtime.lora.tuners import Tuners
from recipe_runner.runtime.lru import Lru
from recipe_runner.weights.lora.scales import expand_scales
from recipe_runner.weights.modules import ModuleTable

MOST_LOADED = 8
"""Adapters loaded in a component at once; the least recently used leave first."""
MOST_TRANSLATED = 16
"""Translated adapter files kept on the CPU, so that an adapter that is used again is not read again."""
MOST_BYTES = 4 << 30
"""Memory for the tensors of idle adapters in a component, and for those of translated files on the CPU."""
MOST_EXPANDED = 256
"""Scales expanded over an adapter's modules, kept so that a sweep expands each once."""

_Scales = dict[str, dict[str, float]]
_Identity = tuple[object, ...]
_Model = ResolvedLora | ResolvedMerge


class Loras:
    """The LoRA and LyCORIS adapters of one loaded pipeline, and merges of them."""

    def __init__(self, pipeline: Any, modules: ModuleTable, *, allow_pickle: bool) -> None:
        """Manage `pipeline`, which has no adapters yet; `modules` are those of its components."""
        self._allow_pickle = allow_pickle
        self._shapes = modules
        self._tuners = {part: Tuners(getattr(pipeline, part)) for part in present_parts(pipeline, TUNED_PARTS)}
        self._translated: Lru[_Identity, Translated] = Lru(
            MOST_TRANSLATED, lambda translated: translated.size_bytes, MOST_BYTES
        )
        self._names: dict[tuple[_Identity, int], str] = {}
        self._expanded: Lru[tuple[_Identity, str], _Scales] = Lru(MOST_EXPANDED)
        self._states: dict[str, list[tuple[str, str]]] = {}

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring `parts` to the state of `handle`: load missing adapters, then activate and scale those of the handle.

        Raises:
            WeightsError: E601 to E613, when an adapter or its scale cannot be applied whole.
        """
        wanted: list[tuple[str, Translated, _Scales]] = []
        state: list[tuple[str, str]] = []
        for name, adapter in self._instances(handle):
            scale = digest(adapter.scale)
            wanted.append((name, self._translate(adapter), self._scales(adapter, scale)))
            state.append((name, scale))
        for part in parts:
            if part in self._tuners and self._states.get(part, []) != state:
                self._change(part, wanted)
                self._states[part] = state

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: the applied tensors of the adapter's file, and all that it has for it."""
        if not isinstance(adapter, _Model):
            return {}
        layout = self._translate(adapter).layout
        return {part: (count, count) for part, count in layout.tensor_counts().items()}

    def learned(self, adapter: ResolvedLora) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """The learned tokens in the adapter's file: token to text encoder to vectors [number, width]."""
        return self._translate(adapter).tokens

    def _change(self, part: str, wanted: Sequence[tuple[str, Translated, _Scales]]) -> None:
        tuners = self._tuners[part]
        active: dict[str, Mapping[str, float]] = {}
        for name, translated, scales in wanted:
            own = scales.get(part, {})
            # An adapter at scale 0 gives the same bits as no adapter.
            if any(own.values()):
                _load(tuners, part, name, translated)
                active[name] = own
        tuners.activate(list(active.items()))
        idle = [name for name in tuners.names if name not in active]
        for name in idle:
            if len(tuners.names) <= MOST_LOADED and tuners.size_bytes <= MOST_BYTES:
                break
            tuners.remove(name)

    def _scales(self, adapter: _Model, scale: str) -> _Scales:
        """The adapter's scale for every module, by component; `scale` is the digest of its scale in the recipe."""
        return self._expanded.get((_identity(adapter), scale), lambda: self._expand(adapter))

    def _expand(self, adapter: _Model) -> _Scales:
        layout = self._translate(adapter).layout
        found: _Scales = {}
        expanded = expand_scales(adapter.scale, layout, self._shapes, label=f"adapter {adapter.name}")
        for (part, module), value in expanded.items():
            found.setdefault(part, {})[module] = value
        return found

    def _instances(self, handle: ModelHandle) -> list[tuple[str, _Model]]:
        # One file under two names is two adapters: adding rounded numbers twice is not adding their double once.
        counts: dict[_Identity, int] = {}
        found = []
        for adapter in handle.adapters:
            if not isinstance(adapter, _Model):
                continue
            identity = _identity(adapter)
            counts[identity] = counts.get(identity, 0) + 1
            name = self._names.setdefault((identity, counts[identity]), f"adapter_{len(self._names)}")
            found.append((name, adapter))
        return found

    def _translate(self, adapter: _Model) -> Translated:
        with at(adapter.origin):
            return self._translated.get(_identity(adapter), lambda: self._make(adapter))

    def _make(self, adapter: _Model) -> Translated:
        if isinstance(adapter, ResolvedMerge):
            return merge(adapter, list(map(self._translate, adapter.members)), self._shapes)
        with unchanged(*require_found(adapter.sources.values())):
            return translate(adapter, self._shapes, allow_pickle=self._allow_pickle)


def _load(tuners: Tuners, part: str, name: str, translated: Translated) -> None:
    """Load an adapter unless it is loaded, and prove that it is loaded whole."""
    if name in tuners.names:
        return
    changes = translated.parts[part]
    tuners.add(name, changes)
    applied = tuners.holds(name)
    if applied != len(changes):
        raise WeightsError.of("E606", f"{part}: {applied} of {len(changes)} changes of an adapter were applied")


def _identity(adapter: _Model) -> _Identity:
    # The adapter itself, independent of its name and its place in a handle.
    constants = digest(adapter.constants())
    if isinstance(adapter, ResolvedMerge):
        return constants, *map(_identity, adapter.members)
    files = tuple(source.digest for source in adapter.sources.values())
    return constants, adapter.file_name, adapter.bundled, files
