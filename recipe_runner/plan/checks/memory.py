"""The memory that the loaded weights of a variant take, and the memory of the device."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from recipe_runner.plan.adapters.base_parts import weights_of
from recipe_runner.plan.resolved import ResolvedIpAdapter
from recipe_runner.plan.resolved_base import ResolvedBase, ResolvedComponent
from recipe_runner.plan.resolved_recipe import ResolvedRecipe, ResolvedVariant
from recipe_runner.problems.problem import Problem
from recipe_runner.sources.source import Source
from recipe_runner.weights.checkpoint.checkpoint import identify_checkpoint
from recipe_runner.weights.files.header import read_header

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_AMPERE = 8.0
_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Bytes of a variant's weights by component, in the dtype that each is loaded in; adapters' under `adapters`.

    Activations, and what the libraries take for themselves, come on top.
    """

    dtype: str
    components: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes of all components."""
        return sum(self.components.values())


class Device(NamedTuple):
    """A device: its name, its memory in bytes, and the compute capability of a CUDA device (0 for others)."""

    name: str
    memory_bytes: int
    capability: float


def weights_memory(variant: ResolvedVariant) -> Weights | None:
    """The memory that the weights of `variant` take; None if a file is missing or has no readable shapes."""
    components = _base_memory(variant.base)
    if not components or not _is_here(variant.base):
        return None
    size = DTYPE_BYTES[variant.base.dtype]
    for adapter in variant.adapters:
        for source in adapter.sources.values():
            if not isinstance(source, Source):
                return None
            if any(_safetensors(source)):
                components["adapters"] = components.get("adapters", 0) + _elements(source) * size
    encoders = 0
    for encoder in _encoders(variant).values():
        if isinstance(encoder.source, Source):
            encoders += _elements(encoder.source) * DTYPE_BYTES[encoder.dtype]
    if encoders:
        components["image encoders"] = encoders
    return Weights(dtype=variant.base.dtype, components=components)


def _base_memory(base: ResolvedBase) -> dict[str, int]:
    """Bytes of the base's components; empty if a file of it has no readable shapes."""
    components: dict[str, int] = {}
    for component, source, name in weights_of(base):
        # An image encoder is loaded and counted with the images that it encodes.
        if component == "image_encoder":
            continue
        if not name.endswith(".safetensors"):
            return {}
        replaced = base.components.get(component)
        dtype = base.dtype
        if replaced is not None:
            dtype = replaced.dtype
        for part, count in _counts(source, name, component):
            components[part] = components.get(part, 0) + count * DTYPE_BYTES[dtype]
    return components


def _encoders(variant: ResolvedVariant) -> dict[str, ResolvedComponent]:
    """The image encoders of a variant's IP-Adapters, by the digests of their sources."""
    found: dict[str, ResolvedComponent] = {}
    for adapter in variant.adapters:
        if not isinstance(adapter, ResolvedIpAdapter):
            continue
        for prompt in adapter.image_prompts.values():
            if prompt.encoder is not None:
                found[prompt.encoder.source.digest] = prompt.encoder
    return found


def _is_here(base: ResolvedBase) -> bool:
    sources = [base.source]
    sources += [part.source for part in base.components.values() if part is not None]
    return all(isinstance(source, Source) for source in sources)


def _safetensors(source: Source) -> Iterator[str]:
    for file in source.files:
        if file.name.endswith(".safetensors"):
            yield file.name


def _elements(source: Source) -> int:
    """The number of elements of all tensors in the safetensors files of a source."""
    total = 0
    for name in _safetensors(source):
        shapes = read_header(source.path(name)).shapes
        total += sum(map(prod, shapes.values()))
    return total


def _counts(source: Source, name: str, component: str) -> Iterator[tuple[str, int]]:
    """Component and number of elements of each tensor of a file; averaged copies of a checkpoint are not loaded."""
    shapes = read_header(source.path(name)).shapes
    if component:
        yield component, sum(map(prod, shapes.values()))
        return
    checkpoint = identify_checkpoint(shapes)
    if isinstance(checkpoint, str):
        yield "base", sum(map(prod, shapes.values()))
        return
    for key, shape in shapes.items():
        part = _part_of(key, checkpoint.components)
        if part is not None:
            yield part, prod(shape)


def _part_of(key: str, components: Mapping[str, Sequence[str]]) -> str | None:
    """The component of a checkpoint whose prefixes `key` starts with."""
    for part, prefixes in components.items():
        if key.startswith(tuple(prefixes)):
            return part
    return None


def device_of(wanted: str) -> Device | None:
    """The recipe's device, as far as it is known without torch: from `nvidia-smi`, or this machine."""
    tool = shutil.which("nvidia-smi")
    if wanted.startswith(("auto", "cuda")) and tool:
        number = int(wanted.partition(":")[2] or 0)
        return _nvidia(tool, number)
    if wanted in ("auto", "cpu") and hasattr(os, "sysconf"):
        return Device("this machine", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 0.0)
    return None


def _nvidia(tool: str, number: int) -> Device | None:
    query = [tool, "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        out = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
        name, memory, capability = (part.strip() for part in out.splitlines()[number].split(","))
        return Device(name, int(memory) * 2**20, float(capability))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def memory_warnings(recipe: ResolvedRecipe) -> Iterator[Problem]:
    """W760 for weights that are larger than the device's memory, W761 for a dtype that the device does not support.

    For each base, the variant with the most weights counts.
    """
    device = device_of(recipe.device)
    if device is None:
        return
    largest = _largest_weights(recipe)
    for base in recipe.bases():
        weights = largest.get(base.number)
        if weights is not None and weights.total > device.memory_bytes:
            takes = f"the weights take {gib(weights.total)} in {weights.dtype}"
            message = f"{takes}; {device.name} has {gib(device.memory_bytes)}"
            hint = "choose a smaller `base.dtype`, a smaller model, or another device"
            yield Problem.warning(base.origin, "W760", message, hint)
        if base.dtype == "bfloat16" and 0 < device.capability < _AMPERE:
            message = f"{device.name} (compute capability {device.capability}) has no native bfloat16"
            yield Problem.warning(base.origin, "W761", message, "use float16")


def _largest_weights(recipe: ResolvedRecipe) -> dict[int, Weights]:
    """The largest known weights of a variant, by the number of its base."""
    largest: dict[int, Weights] = {}
    seen: set[tuple[object, ...]] = set()
    for variant in recipe.variants:
        # Variants that differ in a scale or a seed share the files.
        files: list[str] = []
        for adapter in variant.adapters:
            files += adapter.digests
        key = variant.base.number, tuple(files), tuple(_encoders(variant))
        if key in seen:
            continue
        seen.add(key)
        weights = weights_memory(variant)
        standing = largest.get(variant.base.number)
        if weights is not None and (standing is None or weights.total > standing.total):
            largest[variant.base.number] = weights
    return largest


def gib(size: int) -> str:
    """A number of bytes for people, in GiB or MiB."""
    if size >= 2**28:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.1f} MiB"
