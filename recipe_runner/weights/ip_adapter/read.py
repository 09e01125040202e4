"""Read the layout of an IP-Adapter file from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import cast

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.ip_adapter.families import SD3, UNET, AdapterFamily, family_of_file
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout, Projection
from recipe_runner.weights.ip_adapter.sizes import NotThere, Sizes
from recipe_runner.weights.modules import Shape, shape_text, under

IMAGE, ATTENTION = "image_proj.", "ip_adapter."
_XLABS = "ip_adapter_proj_model."
_PARAMETER = re.compile(r"(?:ip_adapter|double_blocks)\.(\d{1,4})\.(?:processor\.)?(\w.*)")
_RENAMED = {"ip_adapter_double_stream_k_proj": "to_k_ip", "ip_adapter_double_stream_v_proj": "to_v_ip"}
"""XLabs' names of an attention's layers, by diffusers'."""
_LORA = re.compile(r"ip_adapter\.(\d{1,4})\.(to_(?:q|k|v|out))_lora\.(down|up)\.weight")
_TRAINED = ("image_proj_model.", "adapter_modules.")
_MATRIX = 2
_SHOWN = 3

OF_INSTANTX = "it is InstantX's IP-Adapter for Flux, which diffusers has no classes for"


def identify_ip_adapter(shapes: Mapping[str, Shape]) -> IpAdapterLayout | str:
    """The IP-Adapter that these tensors are, or the reason why they are none that is supported.

    The layout may have `faults`: a recognised file may be incomplete.
    """
    if any(key.startswith(_TRAINED) for key in shapes):
        return "it is a checkpoint of IP-Adapter's trainer; its authors' README describes how to convert it"
    family = family_of_file(shapes)
    prefix = _XLABS if any(key.startswith(_XLABS) for key in shapes) else IMAGE
    image = under(prefix, shapes)
    if not image:
        return _no_projection(shapes)
    sizes = _sizes(family, prefix, image)
    if isinstance(sizes, str):
        return sizes if family is UNET else f"it is an IP-Adapter for {family.title}, and {sizes}"
    if sizes.variant == "faceid" and f"{ATTENTION}0.to_k_ip.weight" in shapes:
        # FaceID's projection with a layer for every attention, where a UNet's files count self-attentions without one.
        return OF_INSTANTX
    return _FileReader(family, sizes, prefix, shapes).layout()


def _sizes(family: AdapterFamily, prefix: str, image: Mapping[str, Shape]) -> Sizes | str:
    """The sizes of an image projection, or the reason why it has none."""
    try:
        sizes = family.sizes(image)
    except NotThere as error:
        return f"its image projection lacks the tensor {prefix}{error.args[0]}, or that is not a matrix"
    if sizes is None:
        return f"its image projection is of an unknown kind (it has {', '.join(list(image)[:_SHOWN])})"
    return sizes


def read_ip_adapter(shapes: Mapping[str, Shape], label: str) -> IpAdapterLayout:
    """The layout of a whole file. `label` names the adapter in messages: `adapter look`.

    Raises:
        WeightsError: E640 it is not a supported IP-Adapter, E641 it is one and not whole.
    """
    layout = identify_ip_adapter(shapes)
    if isinstance(layout, str):
        hint = (
            "name an IP-Adapter file that diffusers reads, such as those of h94/IP-Adapter or XLabs-AI/flux-ip-adapter"
        )
        raise WeightsError.of("E640", f"{label}: {layout}", hint)
    if layout.faults:
        said = "; ".join(layout.faults[:_SHOWN])
        if len(layout.faults) > _SHOWN:
            said += f"; and {len(layout.faults) - _SHOWN} more"
        hint = "download or export the file again; it is applied whole or not at all"
        raise WeightsError.of("E641", f"{label}: the {layout.name} file is not whole: {said}", hint)
    return layout


def _no_projection(shapes: Mapping[str, Shape]) -> str:
    if any(key.startswith((ATTENTION, "double_blocks.")) for key in shapes):
        return "it has no image projection (no tensor begins with image_proj.)"
    first = next(iter(shapes), None)
    if first is None:
        return "it is empty"
    what = f"its first tensor is {first[:120]!r}" if first else "it is one tensor without a name"
    return f"it is not an IP-Adapter ({what})"


class _FileReader:
    """The tensors of a file of one family, sorted by the part that they belong to."""

    def __init__(self, family: AdapterFamily, sizes: Sizes, prefix: str, shapes: Mapping[str, Shape]) -> None:
        self._family, self._sizes, self._prefix, self._shapes = family, sizes, prefix, shapes
        self._rows: dict[str, tuple[Shape, tuple[str, ...]]] = {}
        for key, shape, names in family.rows(sizes):
            self._rows[f"{prefix}{key}"] = (shape, names)
        self._known = family.parameters(0, sizes, {})
        self._parts: dict[int, dict[str, str]] = {}
        self._factors: dict[tuple[int, Projection], dict[str, Shape]] = {}
        self._faults: list[str] = []

    def layout(self) -> IpAdapterLayout:
        self._faults += self._differences()
        for key in self._shapes:
            if not key.startswith(self._prefix):
                self._sort(key)
        for number, part in sorted(self._parts.items()):
            self._faults += self._part_faults(number, part)
        self._faults += _factor_faults(self._factors)
        if not self._parts:
            first = next(iter(self._known))
            self._faults.append(f"it has no keys and values for any {self._family.attention} ({ATTENTION}1.{first}, …)")
        return IpAdapterLayout(
            family=self._family,
            naming=self._naming(),
            sizes=self._sizes,
            projection={key: names for key, (_, names) in self._rows.items()},
            attentions={number: self._width(part) for number, part in sorted(self._parts.items())},
            layers=dict(sorted(self._parts.items())),
            lora=self._ranks(),
            faults=tuple(self._faults),
            tensor_count=len(self._shapes),
        )

    def _ranks(self) -> dict[tuple[int, Projection], int]:
        ranks: dict[tuple[int, Projection], int] = {}
        for place, pair in sorted(self._factors.items()):
            down = pair.get("down")
            if down:
                ranks[place] = down[0]
        return ranks

    def _sort(self, key: str) -> None:
        factor = _LORA.fullmatch(key)
        if factor is not None and self._family is UNET:
            place = (int(factor[1]), cast("Projection", factor[2]))
            self._factors.setdefault(place, {})[factor[3]] = self._shapes[key]
            return
        match = _PARAMETER.fullmatch(key)
        if match is not None:
            number = int(match[1])
            layer, _, end = match[2].partition(".")
            parameter = f"{_RENAMED.get(layer, layer)}.{end}"
            if parameter in self._known and parameter not in self._parts.get(number, {}):
                self._parts.setdefault(number, {})[parameter] = key
                return
        self._faults.append(f"{key} is unexpected")

    def _naming(self) -> str:
        if any(key.startswith("double_blocks.") for key in self._shapes):
            return "xlabs"
        if self._family is UNET:
            return "h94"
        if self._family is SD3 and not self._sizes.translated:
            return "instantx"
        return "diffusers"

    def _width(self, part: Mapping[str, str]) -> int:
        """Width of an attention's keys, or of its values where it has no keys; 0 when neither is a matrix."""
        key = part.get("to_k_ip.weight") or part.get("to_v_ip.weight")
        return next(iter(self._shapes[key]), 0) if key else 0

    def _differences(self) -> Iterator[str]:
        for key, (shape, _) in self._rows.items():
            if key not in self._shapes:
                yield f"{key} is missing"
            elif self._shapes[key] != shape:
                yield _other_shape(key, self._shapes[key], shape)
        for key in self._shapes:
            if key.startswith(self._prefix) and key not in self._rows:
                yield f"{key} is unexpected"

    def _part_faults(self, number: int, part: Mapping[str, str]) -> Iterator[str]:
        found = {name: self._shapes[key] for name, key in part.items()}
        for name, wanted in self._family.parameters(self._width(part), self._sizes, found).items():
            if name not in found:
                yield f"{self._key(number, name)} is missing"
            elif found[name] != wanted:
                yield self._part_fault(number, name, part[name], wanted)

    def _part_fault(self, number: int, name: str, key: str, wanted: Shape) -> str:
        shape, features = self._shapes[key], self._sizes.cross_width
        if len(shape) == len(wanted) == _MATRIX and name.startswith("to_"):
            if shape[1] != features:
                return f"{key} has the shape {shape_text(shape)}, and its image tokens have {features} features"
            if name == "to_v_ip.weight":
                return f"{ATTENTION}{number} has keys and values of different widths"
        return _other_shape(key, shape, wanted)

    def _key(self, number: int, parameter: str) -> str:
        """The key that a parameter would have in the file."""
        if self._naming() != "xlabs":
            return f"{ATTENTION}{number}.{parameter}"
        layer, _, end = parameter.partition(".")
        named = next((theirs for theirs, ours in _RENAMED.items() if ours == layer), layer)
        return f"double_blocks.{number}.processor.{named}.{end}"


def _factor_faults(factors: Mapping[tuple[int, Projection], Mapping[str, Shape]]) -> Iterator[str]:
    for (number, projection), pair in sorted(factors.items()):
        key = f"{ATTENTION}{number}.{projection}_lora"
        missing = [role for role in ("down", "up") if role not in pair]
        if missing:
            yield f"{key}.{missing[0]}.weight is missing"
            continue
        down, up = pair["down"], pair["up"]
        if len(down) != _MATRIX or len(up) != _MATRIX or down[0] != up[1]:
            yield f"{key}: down ({shape_text(down)}) and up ({shape_text(up)}) have incompatible shapes"


def _other_shape(key: str, shape: Shape, wanted: Shape) -> str:
    return f"{key} has the shape {shape_text(shape)}, expected {shape_text(wanted)}"
