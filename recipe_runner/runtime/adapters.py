"""Which adapters a pipeline holds, and the steps from the state it is in to the state a handle asks for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from recipe_runner.handle import AdapterModel, ModelHandle
from recipe_runner.runtime.family import present_parts
from recipe_runner.runtime.lora import TUNED_PARTS, Translated, module_shapes, translate
from recipe_runner.runtime.problems import misfit
from recipe_runner.runtime.scales import module_scales
from recipe_runner.runtime.tuners import Tuners
from recipe_runner.runtime.watch import Watch

MOST_LOADED = 8
"""Adapters kept in a component at once; those unused longest leave first."""
MOST_TRANSLATED = 16
"""Translated adapter files kept on the CPU, so that an adapter that comes back is not read again."""

_Identity = tuple[str, str, str | None, float | None]


class Adapters:
    """The adapters of one loaded pipeline. It begins with none."""

    def __init__(self, pipeline: Any, *, allow_pickle: bool) -> None:
        """Take over `pipeline`, whose components are as their files left them."""
        self._pipeline = pipeline
        self._allow_pickle = allow_pickle
        self._shapes = module_shapes(pipeline)
        self._tuners = {part: Tuners(getattr(pipeline, part)) for part in present_parts(pipeline, TUNED_PARTS)}
        self._translated: OrderedDict[_Identity, Translated] = OrderedDict()
        self._names: dict[tuple[_Identity, int], str] = {}
        self._states: dict[str, Any] = {}

    def reconcile(self, handle: ModelHandle, parts: Sequence[str]) -> None:
        """Bring `parts` to the state of `handle`: load what is missing, then set which adapters work, at which scale.

        Raises:
            WeightsError: E601 to E607, when an adapter's file cannot be applied whole.
        """
        wanted = [
            (name, self._translate(adapter), handle.scale(adapter.name)) for name, adapter in self._instances(handle)
        ]
        for part in parts:
            if part not in self._tuners:
                continue
            state = [
                (name, module_scales(part, scale, [factor.module for factor in translated.parts[part]]))
                for name, translated, scale in wanted
                if part in translated.parts
            ]
            # An adapter at scale 0 is the same, bit for bit, as one that is not there.
            state = [(name, scales) for name, scales in state if any(scales.values())]
            if state != self._states.get(part, []):
                self._change(part, state, {name: translated for name, translated, _ in wanted})

    def landing(self, adapter: AdapterModel) -> Mapping[str, tuple[int, int]]:
        """By component: tensors of the adapter's file that landed, and those that there are."""
        translated = self._translate(adapter)
        return {part: (count, count) for part, count in translated.tensors.items()}

    def _change(
        self, part: str, state: list[tuple[str, dict[str, float]]], translated: Mapping[str, Translated]
    ) -> None:
        tuners = self._tuners[part]
        for name, _ in state:
            if name in tuners.names:
                continue
            factors = translated[name].parts[part]
            tuners.add(name, factors)
            landed = tuners.holds(name, factors)
            if landed != len(factors):
                raise misfit("E606", f"{part}: {landed} of {len(factors)} modules of an adapter landed")
        tuners.activate(state)
        self._states[part] = state
        wanted = [name for name, _ in state]
        idle = [name for name in tuners.names if name not in wanted]
        for name in idle[: max(0, len(tuners.names) - MOST_LOADED)]:
            tuners.remove(name)

    def _instances(self, handle: ModelHandle) -> list[tuple[str, AdapterModel]]:
        # One file used under two names is two adapters: two sums of rounded numbers are not one.
        counts: dict[_Identity, int] = {}
        found = []
        for adapter in handle.adapters:
            identity = _identity(adapter)
            counts[identity] = counts.get(identity, 0) + 1
            name = self._names.setdefault((identity, counts[identity]), f"adapter_{len(self._names)}")
            found.append((name, adapter))
        return found

    def _translate(self, adapter: AdapterModel) -> Translated:
        identity = _identity(adapter)
        if identity in self._translated:
            self._translated.move_to_end(identity)
            return self._translated[identity]
        watch = Watch.begin(adapter.source)
        translated = translate(adapter, self._shapes, allow_pickle=self._allow_pickle)
        watch.check()
        self._translated[identity] = translated
        while len(self._translated) > MOST_TRANSLATED:
            self._translated.popitem(last=False)
        return translated


def _identity(adapter: AdapterModel) -> _Identity:
    # What the adapter is, wherever it stands in a handle and whatever it is called.
    return adapter.source.digest, adapter.weight_name, adapter.target, adapter.alpha
