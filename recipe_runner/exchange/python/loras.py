"""LoRAs as diffusers loads them: the call, and every reason for which diffusers would apply something else."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.exchange.python.code import Place, call
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.header import Header, read_header
from recipe_runner.weights.lora import LoraLayout, read_layout
from recipe_runner.weights.lora.peft_config import CONFIG_NAME, with_config

if TYPE_CHECKING:
    from recipe_runner.plan.resolved import ResolvedBase, ResolvedLora
    from recipe_runner.weights.modules import ModuleTable

_LOADED_WHOLE = ("diffusers", "kohya", "kohya sgm", "diffusers attention processors")
"""Layouts whose every tensor diffusers 0.42 applies; others it reads in part, or not at all with a line in the log."""
_DTYPES = {"F32": "<f", "F64": "<d", "F16": "<e"}
_FACTORS = {"down", "up", "alpha", "rows_up", "rows_down"}


def load_call(adapter: ResolvedLora, place: Place) -> str:
    """The statement that loads a LoRA under its own name."""
    target = adapter.target
    where, named = place.file(adapter.source)
    if target is None:
        return call("pipeline.load_lora_weights", where, **named, adapter_name=adapter.name)
    prefix = None if _layout_name(adapter) == "bare" else target
    function = f"pipeline.{target}.load_lora_adapter"
    return call(function, where, **named, prefix=prefix, adapter_name=adapter.name)


def _layout_name(adapter: ResolvedLora) -> str:
    source = adapter.source
    if not isinstance(source, Source) or not source.files[0].name.endswith(".safetensors"):
        return ""
    keys = read_header(source.path(source.files[0].name)).shapes
    prefixes = ("unet.", "transformer.", "text_encoder", "lora_")
    return "" if any(key.startswith(prefixes) for key in keys) else "bare"


def differences(adapter: ResolvedLora, base: ResolvedBase) -> Iterator[str]:
    """Sentences for what diffusers does otherwise with this LoRA; none where it makes the same picture."""
    source = adapter.source
    modules = base_modules(base)
    if modules is None or not isinstance(source, Source) or not source.files[0].name.endswith(".safetensors"):
        return
    path = source.path(source.files[0].name)
    header = read_header(path)
    config = adapter.config
    said = config.path(config.files[0].name) if isinstance(config, Source) else None
    layout = read_layout(header.shapes, modules, target=adapter.target, metadata=with_config(header.metadata, said))
    if said is not None and any(module.alpha not in (None, module.rank) for module in layout.modules):
        yield f"diffusers does not read {CONFIG_NAME}, and takes every alpha as the rank"
    bare = adapter.target is not None and layout.layout == "bare"
    if layout.layout not in _LOADED_WHOLE and not bare:
        yield f"diffusers does not apply the key layout `{layout.layout}` whole"
    yield from _kinds(layout)
    if adapter.alpha is not None:
        yield "diffusers takes no alpha for a file that has none"
    alphas = {round(value, 6) for value in _alphas(path, header)}
    if len(alphas) > 1:
        yield f"its modules have {len(alphas)} different alphas, of which diffusers takes the most common for all"
    yield from _scale(adapter, layout, modules)


def _kinds(layout: LoraLayout) -> Iterator[str]:
    kinds = sorted({module.kind for module in layout.modules if module.kind != "lora"})
    if kinds:
        yield f"diffusers does not load differences of kind {', '.join(kinds)}"
    roles = {role for module in layout.modules if module.kind == "lora" for role in module.tensors}
    if "dora_scale" in roles:
        yield "diffusers drops the dora_scale of this layout"
    if "lora_magnitude_vector" in roles:
        yield "diffusers rounds a DoRA otherwise, and scales it inside its norm, so that only scale 1 is the same"
    if any("lora_magnitude_vector" in m.tensors and m.component.startswith("text_encoder") for m in layout.modules):
        yield "diffusers does not load the magnitudes of a DoRA in a text encoder"
    if roles - _FACTORS - {"dora_scale", "lora_magnitude_vector"}:
        yield f"diffusers does not load {', '.join(sorted(roles - _FACTORS))}"


def _scale(adapter: ResolvedLora, layout: LoraLayout, modules: ModuleTable) -> Iterator[str]:
    if not isinstance(adapter.scale, Mapping) or not any(isinstance(part, Mapping) for part in adapter.scale.values()):
        return
    # `_maybe_expand_lora_scales` looks for a block's number in every module's name and fails outside the blocks.
    outside = [
        module.module
        for module in layout.modules
        if module.component in ("unet", "transformer") and module.module.count(".") < 3  # noqa: PLR2004
    ]
    if outside:
        yield f"set_adapters fails on a scale per block where the file has something in {outside[0]}"
    if "transformer" in modules and isinstance(adapter.scale.get("transformer"), Mapping):
        yield "set_adapters knows no blocks of a transformer by number"


def _alphas(path: Path, header: Header) -> Iterator[float]:
    """The values of the file's `alpha` tensors, read without torch."""
    with path.open("rb") as file:
        for name, info in header.tensors.items():
            if not name.endswith(".alpha") or info.end - info.start > 8:  # noqa: PLR2004 - one number
                continue
            file.seek(header.data_start + info.start)
            raw = file.read(info.end - info.start)
            if info.dtype == "BF16":
                yield struct.unpack("<f", b"\0\0" + raw)[0]
            elif info.dtype in _DTYPES:
                yield struct.unpack(_DTYPES[info.dtype], raw)[0]
