"""Read the layout of an IP-Adapter file from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import cast

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.ip_adapter.families import UNET, AdapterFamily, family_of_file
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout, Projection
from recipe_runner.weights.ip_adapter.sizes import NotThere, Sizes
from recipe_runner.weights.modules import Shape

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
    """The IP-Adapter that these tensors are, or in words why they are none that is applied.

    The layout may have `faults`: a file that is recognised need not be whole.
    """
    if any(key.startswith(_TRAINED) for key in shapes):
        return "it is a checkpoint of IP-Adapter's trainer, which its authors' README says how to convert"
    family = family_of_file(shapes)
    of = "" if family is UNET else f"it is an IP-Adapter for {family.title}, and "
    prefix = _XLABS if any(key.startswith(_XLABS) for key in shapes) else IMAGE
    image = {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}
    if not image:
        return _no_projection(shapes)
    try:
        sizes = family.sizes(image)
    except NotThere as error:
        return f"{of}its image projection lacks the tensor {prefix}{error.args[0]}, or that is no matrix"
    if sizes is None:
        return f"{of}its image projection is of no kind known here (it has {', '.join(list(image)[:_SHOWN])})"
    if sizes.variant == "faceid" and f"{ATTENTION}0.to_k_ip.weight" in shapes:
        # FaceID's projection with a layer for every attention, where a UNet's files count self-attentions without one.
        return OF_INSTANTX
    return _FileReader(family, sizes, prefix, shapes).layout()


def read_ip_adapter(shapes: Mapping[str, Shape], label: str) -> IpAdapterLayout:
    """The layout of a whole file. `label` names the adapter in messages: `adapter look`.

    Raises:
        WeightsError: E640 it is no IP-Adapter that is applied, E641 it is one and not whole.
    """
    layout = identify_ip_adapter(shapes)
    if isinstance(layout, str):
        hint = (
            "name an IP-Adapter file that diffusers reads, such as those of h94/IP-Adapter or XLabs-AI/flux-ip-adapter"
        )
        raise WeightsError.of("E640", f"{label}: {layout}", hint)
    if layout.faults:
        count = len(layout.faults)
        rest = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
        message = f"{label}: the {layout.name} file is not whole: {'; '.join(layout.faults[:_SHOWN])}{rest}"
        hint = "download or export the file again; it is applied whole or not at all"
        raise WeightsError.of("E641", message, hint)
    return layout


def _no_projection(shapes: Mapping[str, Shape]) -> str:
    if any(key.startswith((ATTENTION, "double_blocks.")) for key in shapes):
        return "it has no image projection (no tensor begins with image_proj.)"
    first = next(iter(shapes), None)
    if first is None:
        return "it is empty"
    what = f"its first tensor is {first[:120]!r}" if first else "it is one tensor without a name"
    return f"it is no IP-Adapter ({what})"


class _FileReader:
    """The tensors of a file of one family, sorted by the part that they belong to."""

    def __init__(self, family: AdapterFamily, sizes: Sizes, prefix: str, shapes: Mapping[str, Shape]) -> None:
        self._family, self._sizes, self._prefix, self._shapes = family, sizes, prefix, shapes
        self._rows = {f"{prefix}{key}": (shape, names) for key, shape, names in family.rows(sizes)}
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
            lora={place: pair["down"][0] for place, pair in sorted(self._factors.items()) if pair.get("down")},
            faults=tuple(self._faults),
            tensor_count=len(self._shapes),
        )

    def _sort(self, key: str) -> None:
        if self._family is UNET and (match := _LORA.fullmatch(key)):
            self._factors.setdefault((int(match[1]), cast("Projection", match[2])), {})[match[3]] = self._shapes[key]
            return
        match = _PARAMETER.fullmatch(key)
        layer, _, end = match[2].partition(".") if match else ("", "", "")
        parameter = f"{_RENAMED.get(layer, layer)}.{end}"
        if match is None or parameter not in self._known or parameter in self._parts.get(int(match[1]), {}):
            self._faults.append(f"{key} belongs to no part of it")
            return
        self._parts.setdefault(int(match[1]), {})[parameter] = key

    def _naming(self) -> str:
        if any(key.startswith("double_blocks.") for key in self._shapes):
            return "xlabs"
        return {"unet": "h94", "sd3": "diffusers" if self._sizes.translated else "instantx"}.get(
            self._family.name, "diffusers"
        )

    def _width(self, part: Mapping[str, str]) -> int:
        """Width of an attention's keys, or of its values where it has no keys; 0 of what is no matrix."""
        key = part.get("to_k_ip.weight") or part.get("to_v_ip.weight")
        return next(iter(self._shapes[key]), 0) if key else 0

    def _differences(self) -> Iterator[str]:
        for key, (shape, _) in self._rows.items():
            if key not in self._shapes:
                yield f"{key} is missing"
            elif self._shapes[key] != shape:
                yield f"{key} has the shape {_shown(self._shapes[key])} and not {_shown(shape)}"
        image = (key for key in self._shapes if key.startswith(self._prefix))
        yield from (f"{key} belongs to no part of it" for key in image if key not in self._rows)

    def _part_faults(self, number: int, part: Mapping[str, str]) -> Iterator[str]:
        found = {name: self._shapes[key] for name, key in part.items()}
        width, read = self._width(part), self._sizes.cross_width
        for name, wanted in self._family.parameters(width, self._sizes, found).items():
            shape, key = found.get(name), part.get(name) or self._key(number, name)
            if shape is None:
                yield f"{key} is missing"
            elif len(wanted) == _MATRIX == len(shape) and name.startswith("to_") and shape[1] != read:
                yield f"{key} has the shape {_shown(shape)}, and its image tokens have {read} features"
            elif shape != wanted and name == "to_v_ip.weight" and len(shape) == _MATRIX:
                yield f"{ATTENTION}{number} has keys and values of different widths"
            elif shape != wanted:
                yield f"{key} has the shape {_shown(shape)} and not {_shown(wanted)}"

    def _key(self, number: int, parameter: str) -> str:
        """What the file would call it."""
        if self._naming() != "xlabs":
            return f"{ATTENTION}{number}.{parameter}"
        layer, _, end = parameter.partition(".")
        named = next((theirs for theirs, ours in _RENAMED.items() if ours == layer), layer)
        return f"double_blocks.{number}.processor.{named}.{end}"


def _factor_faults(factors: Mapping[tuple[int, Projection], Mapping[str, Shape]]) -> Iterator[str]:
    for (number, projection), pair in sorted(factors.items()):
        key = f"{ATTENTION}{number}.{projection}_lora"
        down, up = pair.get("down"), pair.get("up")
        if down is None or up is None:
            yield f"{key}.{'down' if down is None else 'up'}.weight is missing"
        elif len(down) != _MATRIX or len(up) != _MATRIX or down[0] != up[1]:
            yield f"{key}: its factors {_shown(down)} and {_shown(up)} do not fit each other"


def _shown(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
