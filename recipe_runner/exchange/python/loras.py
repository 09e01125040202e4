"""Write the calls that load LoRAs, and list what diffusers does differently with each file."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.exchange.python.code import ScriptPlace, call
from recipe_runner.plan.adapters.base_modules import base_modules
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.header import Header, read_header
from recipe_runner.weights.lora import LoraLayout, read_layout
from recipe_runner.weights.lora.layout import LoraModule
from recipe_runner.weights.lora.peft_config import CONFIG_NAME, with_config

if TYPE_CHECKING:
    from recipe_runner.plan.resolved import ResolvedLora
    from recipe_runner.plan.resolved_base import ResolvedBase
    from recipe_runner.weights.modules import ModuleTable

_LOADED_WHOLE = ("diffusers", "kohya", "kohya sgm", "diffusers attention processors")
"""Layouts of which diffusers 0.42 applies every tensor. It reads others only in part, or logs that it ignores them."""
_IN_BLOCK = 3
"""The least number of dots in the name of a module in a block."""
_DTYPES = {"F32": "<f", "F64": "<d", "F16": "<e"}
_FACTORS = {"down", "up", "alpha", "rows_up", "rows_down"}


def load_call(adapter: ResolvedLora, place: ScriptPlace) -> str:
    """The statement that loads a LoRA under its name in the recipe."""
    target = adapter.target
    where, named = place.file(adapter.source)
    if target is None:
        return call("pipeline.load_lora_weights", where, **named, adapter_name=adapter.name)
    prefix = None if _has_bare_keys(adapter) else target
    function = f"pipeline.{target}.load_lora_adapter"
    return call(function, where, **named, prefix=prefix, adapter_name=adapter.name)


def _has_bare_keys(adapter: ResolvedLora) -> bool:
    """Whether the keys of the file start with no component's name."""
    source = adapter.source
    if not isinstance(source, Source) or not source.files[0].name.endswith(".safetensors"):
        return False
    keys = read_header(source.path(source.files[0].name)).shapes
    prefixes = ("unet.", "transformer.", "text_encoder", "lora_")
    return not any(key.startswith(prefixes) for key in keys)


def differences(adapter: ResolvedLora, base: ResolvedBase) -> Iterator[str]:
    """A sentence for each thing that diffusers does differently with this LoRA; none when the images are equal."""
    source = adapter.source
    modules = base_modules(base)
    if modules is None or not isinstance(source, Source) or not source.files[0].name.endswith(".safetensors"):
        return
    path = source.path(source.files[0].name)
    header = read_header(path)
    config_path = None
    if isinstance(adapter.config, Source):
        config_path = adapter.config.path(adapter.config.files[0].name)
    metadata = with_config(header.metadata, config_path)
    layout = read_layout(header.shapes, modules, target=adapter.target, metadata=metadata)
    if config_path is not None and any(module.alpha not in (None, module.rank) for module in layout.modules):
        yield f"diffusers does not read {CONFIG_NAME}, and takes the rank as every alpha"
    bare = adapter.target is not None and layout.layout == "bare"
    if layout.layout not in _LOADED_WHOLE and not bare:
        yield f"diffusers does not apply the key layout `{layout.layout}` completely"
    yield from _kinds(layout)
    if adapter.alpha is not None:
        yield "diffusers does not take an alpha for a file without one"
    alphas = {round(value, 6) for value in _alphas(path, header)}
    if len(alphas) > 1:
        yield f"its modules have {len(alphas)} different alphas, but diffusers takes the most common one for all"
    yield from _scale(adapter, layout, modules)


def _kinds(layout: LoraLayout) -> Iterator[str]:
    kinds: set[str] = set()
    roles: set[str] = set()
    in_text_encoder: set[str] = set()
    for module in layout.modules:
        if module.component.startswith("text_encoder"):
            in_text_encoder.update(module.tensors)
        if module.kind == "lora":
            roles.update(module.tensors)
        else:
            kinds.add(module.kind)
    if kinds:
        yield f"diffusers does not load differences of kind {', '.join(sorted(kinds))}"
    if "dora_scale" in roles:
        yield "diffusers drops the dora_scale of this layout"
    if "lora_magnitude_vector" in roles:
        yield "diffusers rounds a DoRA differently and scales it inside its norm, so only scale 1 gives the same images"
    if "lora_magnitude_vector" in in_text_encoder:
        yield "diffusers does not load the magnitudes of a DoRA in a text encoder"
    if roles - _FACTORS - {"dora_scale", "lora_magnitude_vector"}:
        yield f"diffusers does not load {', '.join(sorted(roles - _FACTORS))}"


def _scale(adapter: ResolvedLora, layout: LoraLayout, modules: ModuleTable) -> Iterator[str]:
    if not isinstance(adapter.scale, Mapping) or not any(isinstance(part, Mapping) for part in adapter.scale.values()):
        return
    for module in layout.modules:
        if _is_outside_blocks(module):
            yield f"set_adapters fails on a scale per block, because the file has tensors for {module.module}"
            break
    if "transformer" in modules and isinstance(adapter.scale.get("transformer"), Mapping):
        yield "set_adapters does not support scales for single blocks of a transformer"


def _is_outside_blocks(module: LoraModule) -> bool:
    """Whether `_maybe_expand_lora_scales` fails on a module, because its name has no number of a block."""
    return module.component in ("unet", "transformer") and module.module.count(".") < _IN_BLOCK


def _alphas(path: Path, header: Header) -> Iterator[float]:
    """The values of the `alpha` tensors in the file, read without torch."""
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
