"""The LoRAs that a pipeline holds, and the steps from the state it is in to the state a handle asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from recipe_runner.canonical import digest
from recipe_runner.plan.resolved import ModelHandle, ResolvedAdapter, ResolvedLora, ResolvedMerge
from recipe_runner.problems.problem import WeightsError, at
from recipe_runner.runtime.family import present_parts
from recipe_runner.runtime.load.file_guard import unchanged
from recipe_runner.runtime.lora.file import TUNED_PARTS, Translated, translate
from recipe_runner.runtime.lora.merge import merge
from recipe_runner.runtime.lora.tuners import Tuners
from recipe_runner.runtime.lru import Lru
from recipe_runner.weights.lora.scales import expand_scales
from recipe_runner.weights.modules import ModuleTable

MOST_LOADED = 8
"""Adapters kept in a component at once; those unused longest leave first."""
MOST_TRANSLATED = 16
"""Translated adapter files kept on the CPU, so that an adapter that comes back is not read again."""
MOST_BYTES = 4 << 30
"""Memory that kept adapters' tensors may take in a component, and translated files' on the CPU."""
MOST_EXPANDED = 256
"""Scales that were spread over an adapter's modules, kept so that a sweep does it once."""

_Scales = dict[str, dict[str, float]]
_Identity = tuple[object, ...]
_Model = ResolvedLora | ResolvedMerge


class Loras:
    """The LoRA and LyCORIS adapters of one loaded pipeline, and merges of them. It begins with none."""

    def __init__(self, pipeline: Any, modules: ModuleTable, *, allow_pickle: bool) -> None:
        """Take over `pipeline`, whose components are as their files left them; `modules` are theirs."""
        self._allow_pickle = allow_pickle
        self._shapes = modules
        self._tuners = {part: Tuners(getattr(pipeline, part)) for part in present_parts(pipeline, TUNED_PARTS)}
        self._translated: Lru[_Identity, Translated] = Lru(
            MOST_TRANSLATED, lambda translated: translated.size_bytes, MOST_BYTES
        )
        self._names: dict[tuple[_Identity, int], str] = {}
        self._expanded: Lru[tuple[_Identity, str], _Scales] = Lru(MOST_EXPANDED)
        self._states: dict[str, tuple[tuple[str, str], ...]] = {}

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring `parts` to the state of `handle`: load what is missing, then set which adapters work, at which scale.

        Raises:
            WeightsError: E601 to E613, when an adapter or its scale cannot be applied whole.
        """
        wanted = [(name, self._translate(adapter), *self._scales(adapter)) for name, adapter in self._instances(handle)]
        state = tuple((name, said) for name, _, _, said in wanted)
        for part in parts:
            if part in self._tuners and self._states.get(part, ()) != state:
                self._change(part, [(name, translated, scales) for name, translated, scales, _ in wanted])
                self._states[part] = state

    def tensor_counts(self, adapter: ResolvedAdapter) -> Mapping[str, tuple[int, int]]:
        """By component: tensors of the adapter's file that landed, and those that there are."""
        if not isinstance(adapter, _Model):
            return {}
        layout = self._translate(adapter).layout
        return {part: (count, count) for part, count in layout.tensor_counts().items()}

    def learned(self, adapter: ResolvedLora) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """The learned tokens that the adapter's file brings along: token to text encoder to vectors [number, width]."""
        return self._translate(adapter).tokens

    def _change(self, part: str, wanted: Sequence[tuple[str, Translated, _Scales]]) -> None:
        tuners = self._tuners[part]
        # An adapter at scale 0 is the same, bit for bit, as one that is not there.
        active = [
            (name, translated, scales[part])
            for name, translated, scales in wanted
            if any(scales.get(part, {}).values())
        ]
        for name, translated, _ in active:
            if name in tuners.names:
                continue
            changes = translated.parts[part]
            tuners.add(name, changes)
            landed = tuners.holds(name)
            if landed != len(changes):
                raise WeightsError.of("E606", f"{part}: {landed} of {len(changes)} changes of an adapter landed")
        tuners.activate([(name, scales) for name, _, scales in active])
        busy = [name for name, _, _ in active]
        idle = [name for name in tuners.names if name not in busy]
        for name in idle:
            if len(tuners.names) <= MOST_LOADED and tuners.size_bytes <= MOST_BYTES:
                break
            tuners.remove(name)

    def _scales(self, adapter: _Model) -> tuple[_Scales, str]:
        """The adapter's scale for every module, by component, and a digest of what the recipe says."""
        said = digest(adapter.scale)
        return self._expanded.get((_identity(adapter), said), lambda: self._expand(adapter)), said

    def _expand(self, adapter: _Model) -> _Scales:
        layout = self._translate(adapter).layout
        found: _Scales = {}
        expanded = expand_scales(adapter.scale, layout, self._shapes, label=f"adapter {adapter.name}")
        for (part, module), value in expanded.items():
            found.setdefault(part, {})[module] = value
        return found

    def _instances(self, handle: ModelHandle) -> list[tuple[str, _Model]]:
        # One file used under two names is two adapters: two sums of rounded numbers are not one.
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
            return self._translated.get(
                _identity(adapter),
                lambda: self._merge(adapter) if isinstance(adapter, ResolvedMerge) else self._read(adapter),
            )

    def _read(self, adapter: ResolvedLora) -> Translated:
        with unchanged(*(source.require_found() for source in adapter.sources.values())):
            return translate(adapter, self._shapes, allow_pickle=self._allow_pickle)

    def _merge(self, adapter: ResolvedMerge) -> Translated:
        members = [self._translate(member) for member in adapter.members]
        return merge(adapter, members, self._shapes)


def _identity(adapter: _Model) -> _Identity:
    # What the adapter is, wherever it stands in a handle and whatever it is called.
    said = digest(adapter.constants())
    if isinstance(adapter, ResolvedMerge):
        return said, *map(_identity, adapter.members)
    files = tuple(source.digest for source in adapter.sources.values())
    return said, adapter.file_name, adapter.bundled, files
