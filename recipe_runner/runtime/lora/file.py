"""LoRA and LyCORIS adapters: from a file's tensors to what each module gets, so that every tensor of it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recipe_runner.plan.resolved import ResolvedLora
from recipe_runner.problems.problem import WeightsError
from recipe_runner.runtime.family import DENOISER_PARTS, TEXT_PARTS, present_parts
from recipe_runner.runtime.load.tensors import read_tensors, require_finite
from recipe_runner.runtime.lora.deltas import Change, LowRankDelta, WeightDelta, tucker_down
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
    """An adapter, ready to be put into a pipeline: the changes to each component, and what the file's layout says.

    `tokens` are the learned tokens that it brings along: token to text encoder to vectors [number, width].
    """

    parts: Mapping[str, tuple[Change, ...]]
    layout: LoraLayout
    tokens: Mapping[str, Mapping[str, torch.Tensor]]

    @property
    def size_bytes(self) -> int:
        """Memory that its tensors take."""
        return sum(change.size_bytes for changes in self.parts.values() for change in changes)


def translate(adapter: ResolvedLora, modules: Mapping[str, Mapping[str, Shape]], *, allow_pickle: bool) -> Translated:
    """Read an adapter's file and find the place of every tensor.

    Args:
        adapter: the adapter.
        modules: of each component the names and weight shapes of its modules, as they are without adapters.
        allow_pickle: whether a pickled file may be read.

    Raises:
        WeightsError: E4xx, E607 when the file cannot be read; E601, E602, E605 when it does not land whole; E609, E632
            for an alpha given to a file that states its own or needs none; E616 for weights that are no floats;
            E625 for numbers that are not finite.
    """
    path = adapter.path
    tensors = read_tensors(path, allow_pickle=allow_pickle)
    label = f"adapter {adapter.name}"
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
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
    return Translated(
        {part: tuple(changes) for part, changes in parts.items()}, layout, _tokens(label, layout, tensors)
    )


def _tokens(label: str, layout: LoraLayout, tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    found: dict[str, dict[str, torch.Tensor]] = {}
    for token, parts in layout.embeddings.items():
        for part, vectors in parts.items():
            found.setdefault(token, {})[part] = vectors_of(tensors[vectors.key], f"{label}: `{token}` of the {part}")
    return found


def module_shapes(pipeline: Any) -> dict[str, dict[str, Shape]]:
    """The weight shape of every module with a weight, of each component that LoRAs are made for."""
    return {
        part: {
            name: tuple(module.weight.shape)
            for name, module in getattr(pipeline, part).named_modules()
            if isinstance(getattr(module, "weight", None), torch.Tensor)
        }
        for part in present_parts(pipeline, TUNED_PARTS)
    }


def _changes(module: LoraModule, tensors: Mapping[str, torch.Tensor], given: float | None) -> Iterator[Change]:
    roles = {role: tensors[key] for role, key in module.tensors.items()}
    if "rows_up" in roles:
        roles |= {"up": roles.pop("rows_down").T, "down": roles.pop("rows_up").T}
    if "lora_magnitude_vector" in roles:
        roles["dora_scale"] = roles.pop("lora_magnitude_vector")
    if module.kind == "ia3":
        _require_side(module, roles)
    scalar = float(roles.pop("scalar", 1.0))
    alpha = _alpha(module, roles, given) * scalar
    factor = alpha / module.rank if module.rank else scalar
    if module.kind == "lora" and "dora_scale" not in roles:
        yield _factor(module, roles, alpha)
        roles = {role: tensor for role, tensor in roles.items() if role in _BIASES}
        if not roles:
            return
    yield WeightDelta(module.module, module.kind, roles, factor, module.rows, module.dora_axis)


def _require_side(module: LoraModule, roles: Mapping[str, torch.Tensor]) -> None:
    # Which side it is for is a number in the file, which planning does not read.
    side, count = ("inputs", module.shape[1]) if float(roles["on_input"]) else ("outputs", module.shape[0])
    if roles["scaling"].numel() != count:
        key = module.tensors["scaling"]
        message = (
            f"{key} holds {roles['scaling'].numel()} numbers, and {module.component} {module.module} has {count} {side}"
        )
        raise WeightsError.of("E601", message, "use a file made for this base")


def _factor(module: LoraModule, roles: Mapping[str, torch.Tensor], alpha: float) -> LowRankDelta:
    down, up = roles["down"], roles["up"]
    if "mid" in roles:
        down = tucker_down({role: tensor.double() for role, tensor in roles.items()}).float()
    if module.rows is not None:
        # The file has one tensor for several modules (a fused projection); this one gets its own outputs.
        up = torch.cat([up[first:last] for first, last in module.rows])
    down = down.reshape(module.rank, *module.shape[1:])
    up = up.reshape(module.shape[0], module.rank, *(1 for _ in module.shape[2:]))
    return LowRankDelta(module.module, down, up, alpha)


def _alpha(module: LoraModule, roles: Mapping[str, torch.Tensor], given: float | None) -> float:
    if module.alpha is not None:
        return module.alpha
    # Trainers write 0 for "as large as the rank".
    return (float(roles["alpha"]) if "alpha" in roles else given) or float(module.rank)


def _metadata(path: Path, adapter: ResolvedLora) -> Mapping[str, str]:
    config = None if adapter.config is None else adapter.config.require_found()
    own = read_header(path).metadata if identify_format(path) == "safetensors" else {}
    return with_config(own, None if config is None else config.path(config.files[0].name))
