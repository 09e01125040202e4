"""The tensors of a file or component, with the queries that all kinds use to identify it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from recipe_runner.weights.families.denoiser_family import FamilyFound, family_of
from recipe_runner.weights.families.denoisers import outline
from recipe_runner.weights.files.contents import Contents, unwrapped
from recipe_runner.weights.modules import Shape

DENOISER_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "net.")
"""Prefixes of the denoiser's tensors in single files."""
_DIGITS = re.compile(r"\d+")
_FACTORS = (
    r"[._]lora[._](?:down|up|mid|A|B)\b|_lora\.(?:down|up)|\.lora_linear_layer\.|"
    r"^lora_(?:unet|te\d?|transformer)_|^lycoris_|\.processor\.(?:qkv|proj)_lora\d\.(?:down|up)\.weight$"
)
_QUANTISATIONS = (
    (r"quant_state\.bitsandbytes__nf4$", "bitsandbytes nf4"),
    (r"quant_state\.bitsandbytes__fp4$", "bitsandbytes fp4"),
    (r"\.SCB$", "bitsandbytes int8"),
    (r"\.wscales$|\.smooth_factor$", "svdquant (nunchaku)"),
    (r"\.comfy_quant$", "comfy quantisation"),
    (r"^scaled_fp8$|\.scale_weight$|\.weight_scale$", "scaled fp8"),
    (r"\.qweight$", "gptq or awq"),
)
_QUANTISED = (
    r"\.(?:absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.\w+|SCB|qweight|qzeros|scales|wscales|wzeros|"
    r"scale_weight|scale_input|weight_scale|input_scale|smooth_factor(?:_orig)?|comfy_quant)$|^scaled_fp8$"
)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The tensors to identify. `config` is the component's config.json, if there is one; `name` is the file name."""

    contents: Contents
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Tensor name to shape, without a prefix that a training framework put before all names."""
        shapes = self.contents.shapes
        for wrapper in ("state_dict.", "params_ema.", "params.", "module.", "model_state_dict.", "weights."):
            inner = unwrapped(shapes, wrapper)
            if len(inner) > len(shapes) * 0.9:
                shapes = inner
        return shapes

    @cached_property
    def text(self) -> str:
        """All names, one per line, to search them at once."""
        return "\n".join(self.shapes)

    @cached_property
    def _examples(self) -> str:
        """The names to search, one per line: of names that differ only in numbers the first and the last.

        They are a twentieth of all names and match the same patterns.
        """
        first: dict[str, tuple[int, str]] = {}
        last: dict[str, tuple[int, str]] = {}
        for name in self.shapes:
            spelling, key = _DIGITS.sub("#", name), (len(name), name)
            first[spelling] = min(first.get(spelling, key), key)
            last[spelling] = max(last.get(spelling, key), key)
        names: dict[str, None] = {}
        for spelling, (_, name) in first.items():
            names[name] = None
            names[last[spelling][1]] = None
        return "\n".join(names)

    def find(self, pattern: str) -> str | None:
        """A name that contains a match of `pattern`; `^` and `$` match the ends of a name.

        Of names that differ only in numbers, only the first and the last are searched.
        """
        match = re.search(pattern, self._examples, re.MULTILINE)
        if match is None:
            return None
        start = self._examples.rfind("\n", 0, match.start()) + 1
        return self._examples[start:].partition("\n")[0]

    def shape(self, pattern: str) -> Shape:
        """The shape of the tensor that `find` finds; empty when there is none."""
        name = self.find(pattern)
        return self.shapes[name] if name is not None else ()

    def channels(self, pattern: str) -> int:
        """The second dimension of the tensor that `find` finds, its input channels; 0 when there is none."""
        shape = self.shape(pattern)
        return shape[1] if len(shape) > 1 else 0

    def count(self, pattern: str) -> int:
        """How many names contain a match of `pattern`."""
        return sum(1 for _ in re.finditer(pattern, self.text, re.MULTILINE))

    @cached_property
    def factor(self) -> str | None:
        """A tensor with the name of a LoRA factor, or None."""
        return self.find(_FACTORS)

    @cached_property
    def prefix(self) -> str:
        """The prefix of the denoiser's tensors in this file; empty when there is none."""
        for prefix in DENOISER_PREFIXES:
            if f"\n{prefix}" in f"\n{self.text}":
                return prefix
        return ""

    @cached_property
    def family(self) -> FamilyFound | None:
        """The family that the names and shapes of full weights identify, or None."""
        return family_of(outline(self._denoiser_modules()))

    def _denoiser_modules(self) -> Iterator[tuple[str, Shape]]:
        for name, shape in self.shapes.items():
            if name.startswith(self.prefix):
                yield name.removeprefix(self.prefix).removesuffix(".weight").removesuffix(".qweight"), shape

    @cached_property
    def quantisation(self) -> str:
        """How the weights are quantised; empty when they are not, or when it is unknown."""
        for pattern, name in _QUANTISATIONS:
            if self.find(pattern):
                return name
        if self.contents.format == "gguf":
            return self._gguf_quantisation()
        dtypes = set(self.contents.dtypes.values())
        if any(dtype.startswith("F8") for dtype in dtypes):
            return "fp8"
        if dtypes & {"F4", "I8", "U8"} and self.find(_QUANTISED):
            return "quantised"
        return ""

    def _gguf_quantisation(self) -> str:
        """The most frequent quantised type of a GGUF file."""
        for dtype in self.contents.dtype_counts():
            if dtype not in ("F32", "F16", "BF16"):
                return f"gguf {dtype}"
        return ""
