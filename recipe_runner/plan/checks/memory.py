"""How much memory the weights of a variant take once they are loaded, and how much the device has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from recipe_runner.plan.adapters.base_parts import weights_of
from recipe_runner.plan.resolved import ResolvedBase, ResolvedIpAdapter
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
        """All of them."""
        return sum(self.components.values())


class Device(NamedTuple):
    """A device: what it is called, its memory in bytes, and of a CUDA device its compute capability (else 0)."""

    name: str
    memory_bytes: int
    capability: float


def weights_memory(variant: ResolvedVariant) -> Weights | None:
    """The memory that the weights of `variant` take; None while a file is not on this machine or tells no shapes."""
    base = variant.base
    components: dict[str, int] = {}
    # An image encoder is not loaded with the base, but where pictures are encoded, and is counted there.
    for component, source, name in (each for each in weights_of(base) if each[0] != "image_encoder"):
        if not name.endswith(".safetensors"):
            return None
        replaced = base.components.get(component)
        size = DTYPE_BYTES[replaced.dtype if replaced is not None else base.dtype]
        for part, count in _counts(source, name, component):
            components[part] = components.get(part, 0) + count * size
    if not components or not _is_here(base):
        return None
    for adapter in variant.adapters:
        for found in adapter.sources.values():
            if not isinstance(found, Source):
                return None
            for file in found.files:
                if file.name.endswith(".safetensors"):
                    count = sum(count for _, count in _counts(found, file.name, "adapters"))
                    components["adapters"] = components.get("adapters", 0) + count * DTYPE_BYTES[base.dtype]
    return Weights(dtype=base.dtype, components=components | _encoders(variant))


def _encoders(variant: ResolvedVariant) -> dict[str, int]:
    """Bytes of the image encoders that IP-Adapters bring along, each once."""
    found = {
        shown.encoder.source.digest: shown.encoder
        for adapter in variant.adapters
        if isinstance(adapter, ResolvedIpAdapter)
        for shown in adapter.image_prompts.values()
        if shown.encoder is not None
    }
    sizes = [
        sum(count for _, count in _counts(encoder.source, file.name, "image_encoder")) * DTYPE_BYTES[encoder.dtype]
        for encoder in found.values()
        if isinstance(encoder.source, Source)
        for file in encoder.source.files
        if file.name.endswith(".safetensors")
    ]
    return {"image encoders": sum(sizes)} if sizes else {}


def _is_here(base: ResolvedBase) -> bool:
    sources = [base.source, *(part.source for part in base.components.values() if part is not None)]
    return all(isinstance(source, Source) for source in sources)


def _counts(source: Source, name: str, component: str) -> Iterator[tuple[str, int]]:
    """Component and number of elements of each tensor of a file; averaged copies of a checkpoint are not loaded."""
    shapes = read_header(source.path(name)).shapes
    checkpoint = identify_checkpoint(shapes) if not component else ""
    if component or isinstance(checkpoint, str):
        yield component or "base", sum(prod(shape) for shape in shapes.values())
        return
    prefixes = [(prefix, part) for part, found in checkpoint.components.items() for prefix in found]
    for key, shape in shapes.items():
        part = next((part for prefix, part in prefixes if key.startswith(prefix)), None)
        if part is not None:
            yield part, prod(shape)


def device_of(wanted: str) -> Device | None:
    """The device that a recipe asks for, as far as it can be told without torch: by `nvidia-smi`, or this machine."""
    if wanted.startswith(("auto", "cuda")) and (tool := shutil.which("nvidia-smi")):
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
    """W760 weights that are larger than the device's memory, W761 a dtype that the device does not compute in.

    Of the variants of one base the one with the most weights counts.
    """
    device = device_of(recipe.device)
    if device is None:
        return
    bases = {variant.base.number: variant.base for variant in recipe.variants}
    largest = _largest_weights(recipe)
    for number, base in bases.items():
        weights = largest.get(number)
        if weights is not None and weights.total > device.memory_bytes:
            takes = f"the weights take {gib(weights.total)} in {weights.dtype}"
            message = f"{takes}; {device.name} has {gib(device.memory_bytes)}"
            hint = "choose a smaller `base.dtype`, a smaller model, or another device"
            yield Problem.warning(base.origin, "W760", message, hint)
        if base.dtype == "bfloat16" and 0 < device.capability < _AMPERE:
            message = f"{device.name} (compute capability {device.capability}) does not compute in bfloat16 itself"
            yield Problem.warning(base.origin, "W761", message, "use float16")


def _largest_weights(recipe: ResolvedRecipe) -> dict[int, Weights]:
    """By the number of each base the most that a variant of it takes, as far as that is known."""
    largest: dict[int, Weights] = {}
    seen: set[tuple[object, ...]] = set()
    for variant in recipe.variants:
        # Variants that differ in a scale or a seed share the files.
        files = [source.digest for adapter in variant.adapters for source in adapter.sources.values()]
        key = variant.base.number, tuple(files), tuple(_encoder_digests(variant))
        if key in seen:
            continue
        seen.add(key)
        weights = weights_memory(variant)
        standing = largest.get(variant.base.number)
        if weights is not None and (standing is None or weights.total > standing.total):
            largest[variant.base.number] = weights
    return largest


def _encoder_digests(variant: ResolvedVariant) -> Iterator[str]:
    """The digests of the image encoders that its image prompts are read with."""
    for adapter in variant.adapters:
        if not isinstance(adapter, ResolvedIpAdapter):
            continue
        for prompt in adapter.image_prompts.values():
            if prompt.encoder is not None:
                yield prompt.encoder.source.digest


def gib(size: int) -> str:
    """Bytes for a person."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"
