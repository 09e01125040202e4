"""What the kinds look at: the tensors of a file or component, and the few questions that all ask of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from recipe_runner.weights.families.denoiser_family import FamilyFound, family_of
from recipe_runner.weights.families.denoisers import outline
from recipe_runner.weights.files.contents import Contents
from recipe_runner.weights.modules import Shape

DENOISER_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "net.")
"""What single files put before the names of what denoises in them."""
_DIGITS = re.compile(r"\d+")
_FACTORS = (
    r"[._]lora[._](?:down|up|mid|A|B)\b|_lora\.(?:down|up)|\.lora_linear_layer\.|"
    r"^lora_(?:unet|te\d?|transformer)_|^lycoris_|\.processor\.(?:qkv|proj)_lora\d\.(?:down|up)\.weight$"
)
_QUANTISED = re.compile(
    r"\.(?:absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.\w+|SCB|qweight|qzeros|scales|wscales|wzeros|"
    r"scale_weight|scale_input|weight_scale|input_scale|smooth_factor(?:_orig)?|comfy_quant)$|^scaled_fp8$"
)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The tensors to judge. `config` is the component's config.json where there is one; `name` the file's name."""

    contents: Contents
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Tensor name to shape; a training wrapper around all names is taken off."""
        shapes = self.contents.shapes
        for wrapper in ("state_dict.", "params_ema.", "params.", "module.", "model_state_dict.", "weights."):
            if shapes and sum(name.startswith(wrapper) for name in shapes) > len(shapes) * 0.9:
                shapes = {name.removeprefix(wrapper): s for name, s in shapes.items() if name.startswith(wrapper)}
        return shapes

    @cached_property
    def text(self) -> str:
        """All names, one a line, for searching them at once."""
        return "\n".join(self.shapes)

    @cached_property
    def _examples(self) -> str:
        """Of names that differ in numbers alone the least and the greatest: a twentieth of the text tells as much."""
        least: dict[str, tuple[int, str]] = {}
        greatest: dict[str, tuple[int, str]] = {}
        for name in self.shapes:
            kin, place = _DIGITS.sub("#", name), (len(name), name)
            least[kin] = min(least.get(kin, place), place)
            greatest[kin] = max(greatest.get(kin, place), place)
        return "\n".join(dict.fromkeys(name for kin in least for name in (least[kin][1], greatest[kin][1])))

    def find(self, pattern: str) -> str | None:
        """A name that contains a match of `pattern`; `^` and `$` are the ends of a name.

        Of names that differ in numbers alone only the one with the least and the one with the greatest are looked at.
        """
        match = re.search(pattern, self._examples, re.MULTILINE)
        if match is None:
            return None
        start = self._examples.rfind("\n", 0, match.start()) + 1
        end = self._examples.find("\n", match.start())
        return self._examples[start : end if end >= 0 else None]

    def shape(self, pattern: str) -> Shape:
        """The shape of the first tensor that `find` finds; empty when there is none."""
        name = self.find(pattern)
        return self.shapes[name] if name is not None else ()

    def count(self, pattern: str) -> int:
        """How many names contain a match of `pattern`."""
        return sum(1 for _ in re.finditer(pattern, self.text, re.MULTILINE))

    @cached_property
    def factor(self) -> str | None:
        """A tensor with the name of a LoRA's factor, or None."""
        return self.find(_FACTORS)

    @cached_property
    def prefix(self) -> str:
        """What stands before the names of the denoiser in this file; empty when it stands alone or is none."""
        return next((prefix for prefix in DENOISER_PREFIXES if f"\n{prefix}" in f"\n{self.text}"), "")

    @cached_property
    def family(self) -> FamilyFound | None:
        """The family that the names and shapes of whole weights show; None where they show none."""
        return family_of(outline(self._denoiser_modules()))

    def _denoiser_modules(self) -> Iterator[tuple[str, Shape]]:
        for name, shape in self.shapes.items():
            if name.startswith(self.prefix):
                yield name.removeprefix(self.prefix).removesuffix(".weight").removesuffix(".qweight"), shape

    @cached_property
    def quantisation(self) -> str:
        """How the weights are quantised, in a word; empty when they are not known to be."""
        dtypes = self.contents.dtypes.values()
        for pattern, name in (
            (r"quant_state\.bitsandbytes__nf4$", "bitsandbytes nf4"),
            (r"quant_state\.bitsandbytes__fp4$", "bitsandbytes fp4"),
            (r"\.SCB$", "bitsandbytes int8"),
            (r"\.wscales$|\.smooth_factor$", "svdquant (nunchaku)"),
            (r"\.comfy_quant$", "comfy quantisation"),
            (r"^scaled_fp8$|\.scale_weight$|\.weight_scale$", "scaled fp8"),
            (r"\.qweight$", "gptq or awq"),
        ):
            if self.find(pattern):
                return name
        if self.contents.format == "gguf":
            kinds = [kind for kind in self.contents.dtype_counts() if kind not in ("F32", "F16", "BF16")]
            return f"gguf {kinds[0]}" if kinds else ""
        if any(dtype.startswith("F8") for dtype in dtypes):
            return "fp8"
        if any(dtype in ("F4", "I8", "U8") for dtype in dtypes) and self.find(_QUANTISED.pattern):
            return "quantised"
        return ""
