"""Read LoRA and LyCORIS adapters: the change of each module from a file's tensors, all of which are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from recipe_runner.plan.resolved import ResolvedLora
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.family import DENOISER_PARTS, TEXT_PARTS, present_parts
from recipe_runner.runtime.load.tensors import read_tensors, require_finite, shapes_of
from recipe_runner.runtime.lora.deltas import Change, LowRankDelta, WeightDelta, own_rows, tucker_down
from recipe_runner.runtime.textual_inversion.file import vectors_of
from recipe_runner.weights.files.formats import identify_format
from recipe_runner.weights.files.header import read_header
from recipe_runner.weights.ip_adapter import bundled_lora
from recipe_runner.weights.lora import LoraLayout, LoraModule, read_layout, require_alpha, require_floats, require_whole
from recipe_runner.weights.lora.peft_config import with_config
from recipe_runner.weights.modules import Shape

TUNED_PARTS = (*DENOISER_PARTS, *TEXT_PARTS)
_BIASES = {"up_bias", "diff_b"}


@dataclass(frozen=True)
class Translated:
    """An adapter that is ready to apply: the changes of each component, and the file's layout.

    `tokens` are the learned tokens in its file: token to text encoder to vectors [number, width].
    """

    parts: Mapping[str, Sequence[Change]]
    layout: LoraLayout
    tokens: Mapping[str, Mapping[str, torch.Tensor]]

    @property
    def size_bytes(self) -> int:
        """Memory that its tensors take."""
        return sum(change.size_bytes for change in chain.from_iterable(self.parts.values()))


def translate(adapter: ResolvedLora, modules: Mapping[str, Mapping[str, Shape]], *, allow_pickle: bool) -> Translated:
    """Read an adapter's file and find the place of every tensor.

    Args:
        adapter: the adapter.
        modules: the names and weight shapes of each component's modules without adapters.
        allow_pickle: whether a pickled file may be read.

    Raises:
        WeightsError: E4xx, E607 when the file cannot be read; E601, E602, E605 when a tensor of it cannot be applied;
            E609, E632 for an alpha given to a file that states its own or needs none; E616 for weights that are not
            floats; E625 for numbers that are not finite.
    """
    path = adapter.path
    tensors = read_tensors(path, allow_pickle=allow_pickle)
    label = f"adapter {adapter.name}"
    shapes = shapes_of(tensors)
    if adapter.bundled:
        layout = bundled_lora(shapes, modules["unet"], label)
    else:
        layout = read_layout(shapes, modules, metadata=_metadata(path, adapter), target=adapter.target)
    require_whole(layout, label)
    require_alpha(layout, adapter.alpha, label)
    require_floats(layout, {key for key, tensor in tensors.items() if not tensor.is_floating_point()}, label)
    require_finite(tensors, label)
    parts: dict[str, list[Change]] = {}
    for module in layout.modules:
        parts.setdefault(module.component, []).extend(_changes(module, tensors, adapter.alpha))
    tokens = _tokens(label, layout, tensors)
    return Translated(parts, layout, tokens)


def _tokens(label: str, layout: LoraLayout, tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    found: dict[str, dict[str, torch.Tensor]] = {}
    for token, parts in layout.embeddings.items():
        for part, vectors in parts.items():
            found.setdefault(token, {})[part] = vectors_of(tensors[vectors.key], f"{label}: `{token}` of the {part}")
    return found


def module_shapes(pipeline: Any) -> dict[str, dict[str, Shape]]:
    """The weight shape of every module with a weight, for each component that LoRAs can change."""
    found: dict[str, dict[str, Shape]] = {}
    for part in present_parts(pipeline, TUNED_PARTS):
        shapes = found[part] = {}
        for name, module in getattr(pipeline, part).named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, torch.Tensor):
                shapes[name] = tuple(weight.shape)
    return found


def _changes(module: LoraModule, tensors: Mapping[str, torch.Tensor], given: float | None) -> Iterator[Change]:
    roles = _roles(module, tensors)
    if module.kind == "ia3":
        _require_side(module, roles)
    scalar = float(roles.pop("scalar", 1.0))
    alpha = _alpha(module, roles, given) * scalar
    if module.kind == "lora" and "dora_scale" not in roles:
        yield _low_rank(module, roles, alpha)
        roles = {role: tensor for role, tensor in roles.items() if role in _BIASES}
        if not roles:
            return
    factor = alpha / module.rank if module.rank else scalar
    yield WeightDelta(module.module, module.kind, roles, factor, module.rows, module.dora_axis)


def _roles(module: LoraModule, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    roles = {role: tensors[key] for role, key in module.tensors.items()}
    if "rows_up" in roles:
        roles |= {"up": roles.pop("rows_down").T, "down": roles.pop("rows_up").T}
    if "lora_magnitude_vector" in roles:
        roles["dora_scale"] = roles.pop("lora_magnitude_vector")
    return roles


def _require_side(module: LoraModule, roles: Mapping[str, torch.Tensor]) -> None:
    # Whether it scales inputs or outputs is a number in the file, which planning does not read.
    side, axis = "outputs", 0
    if float(roles["on_input"]):
        side, axis = "inputs", 1
    found, wanted = roles["scaling"].numel(), module.shape[axis]
    if found != wanted:
        key = module.tensors["scaling"]
        raise WeightsError.of(
            "E601",
            f"{key} holds {found} numbers, but {module.component} {module.module} has {wanted} {side}",
            "use a file made for this base",
        )


def _low_rank(module: LoraModule, roles: Mapping[str, torch.Tensor], alpha: float) -> LowRankDelta:
    down, up = roles["down"], roles["up"]
    if "mid" in roles:
        down = tucker_down({"mid": roles["mid"].double(), "down": down.double()}).float()
    if module.rows is not None:
        up = own_rows(up, module.rows)
    return LowRankDelta.shaped(module.module, down, up, alpha, module.shape)


def _alpha(module: LoraModule, roles: Mapping[str, torch.Tensor], given: float | None) -> float:
    if module.alpha is not None:
        return module.alpha
    if "alpha" in roles:
        given = float(roles["alpha"])
    # Trainers write 0 for "as large as the rank".
    return given or float(module.rank)


def _metadata(path: Path, adapter: ResolvedLora) -> Mapping[str, str]:
    own = read_header(path).metadata if identify_format(path) == "safetensors" else {}
    if adapter.config is None:
        return with_config(own, None)
    config = adapter.config.require_found()
    return with_config(own, config.path(config.files[0].name))
