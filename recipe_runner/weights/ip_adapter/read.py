"""Read the layout of an IP-Adapter file from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import cast

from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout, Projection
from recipe_runner.weights.ip_adapter.projection import NotThere, Sizes, expected, sizes_of
from recipe_runner.weights.modules import Shape
from recipe_runner.weights.problems import misfit

IMAGE, ATTENTION = "image_proj.", "ip_adapter."
_KEY_VALUE = re.compile(r"ip_adapter\.(\d{1,4})\.to_([kv])_ip\.weight")
_LORA = re.compile(r"ip_adapter\.(\d{1,4})\.(to_(?:q|k|v|out))_lora\.(down|up)\.weight")
_TRAINED = ("image_proj_model.", "adapter_modules.")
_MATRIX = 2
_SHOWN = 3

_OTHERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (r"ip_adapter_double_stream_[kv]_proj|^ip_adapter_proj_model\.", "an IP-Adapter of XLabs for Flux"),
        (r"^ip_adapter\.\d+\.to_[kv]_ip\.bias$", "an IP-Adapter for Flux"),
        (r"^ip_adapter\.\d+\.norm_(?:q|k|ip|ip_k|ip_q)\.|^image_proj\.time_embedding\.", "an IP-Adapter for SD 3"),
        (r"^image_proj\.layers\.\d+\.adaLN|^image_proj\.layers\.\d+\.0\.norm_\w+\.linear", "an IP-Adapter for SD 3"),
    )
)
"""Image prompt adapters that are known and not applied: named, so that nobody wonders."""


def identify_ip_adapter(shapes: Mapping[str, Shape]) -> IpAdapterLayout | str:
    """The IP-Adapter that these tensors are, or in words why they are none that is applied.

    The layout may have `faults`: a file that is recognised need not be whole.
    """
    for pattern, what in _OTHERS:
        if any(pattern.search(key) for key in shapes):
            return f"it is {what}; IP-Adapters are applied to the UNets of Stable Diffusion 1, 2 and SDXL"
    if any(key.startswith(_TRAINED) for key in shapes):
        return "it is a checkpoint of IP-Adapter's trainer, which its authors' README says how to convert"
    image = {key.removeprefix(IMAGE): shape for key, shape in shapes.items() if key.startswith(IMAGE)}
    if not image:
        return _no_projection(shapes)
    try:
        sizes = sizes_of(image)
    except NotThere as error:
        return f"its image projection lacks the tensor {IMAGE}{error.args[0]}, or that is no matrix"
    if sizes is None:
        return f"its image projection is of no kind known here (it has {', '.join(list(image)[:_SHOWN])})"
    return _layout(sizes, image, shapes)


def read_ip_adapter(shapes: Mapping[str, Shape], label: str) -> IpAdapterLayout:
    """The layout of a whole file. `label` names the adapter in messages: `adapter look`.

    Raises:
        WeightsError: E640 it is no IP-Adapter that is applied, E641 it is one and not whole.
    """
    layout = identify_ip_adapter(shapes)
    if isinstance(layout, str):
        hint = "name an IP-Adapter file for Stable Diffusion or SDXL, such as those of h94/IP-Adapter"
        raise misfit("E640", f"{label}: {layout}", hint)
    if layout.faults:
        count = len(layout.faults)
        rest = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
        message = f"{label}: the {layout.name} file is not whole: {'; '.join(layout.faults[:_SHOWN])}{rest}"
        hint = "download or export the file again; it is applied whole or not at all"
        raise misfit("E641", message, hint)
    return layout


def _no_projection(shapes: Mapping[str, Shape]) -> str:
    if any(key.startswith(ATTENTION) for key in shapes):
        return "it has no image projection (no tensor begins with image_proj.)"
    first = next(iter(shapes), None)
    return f"it is no IP-Adapter (its first tensor is {first[:120]!r})" if first else "it is empty"


def _layout(sizes: Sizes, image: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> IpAdapterLayout:
    rows = expected(sizes)
    faults = list(_differences(rows, image))
    pairs: dict[int, dict[str, Shape]] = {}
    factors: dict[tuple[int, Projection], dict[str, Shape]] = {}
    for key, shape in shapes.items():
        if key.startswith(IMAGE):
            continue
        if match := _KEY_VALUE.fullmatch(key):
            pairs.setdefault(int(match[1]), {})[match[2]] = shape
        elif match := _LORA.fullmatch(key):
            factors.setdefault((int(match[1]), cast("Projection", match[2])), {})[match[3]] = shape
        else:
            faults.append(f"{key} belongs to no part of it")
    faults += _pair_faults(pairs, sizes.cross_width)
    faults += _factor_faults(factors)
    if not pairs:
        faults.append("it has no keys and values for any cross-attention (ip_adapter.1.to_k_ip.weight, …)")
    return IpAdapterLayout(
        variant=sizes.variant,
        tokens=sizes.tokens,
        image_width=sizes.image_width,
        face_width=sizes.face_width,
        cross_width=sizes.cross_width,
        resampler=sizes.resampler,
        projection_hidden=sizes.hidden,
        projection={f"{IMAGE}{key}": names for key, (_, names) in rows.items()},
        attentions={number: _width(pair) for number, pair in sorted(pairs.items())},
        lora={place: pair["down"][0] for place, pair in sorted(factors.items()) if pair.get("down")},
        faults=tuple(faults),
        tensor_count=len(shapes),
    )


def _width(pair: Mapping[str, Shape]) -> int:
    """Width of an attention's keys, or of its values where it has no keys; 0 of what is no matrix."""
    shape = next(iter(pair.values()))
    return shape[0] if shape else 0


def _differences(rows: Mapping[str, tuple[Shape, tuple[str, ...]]], image: Mapping[str, Shape]) -> Iterator[str]:
    for key, (shape, _) in rows.items():
        if key not in image:
            yield f"{IMAGE}{key} is missing"
        elif image[key] != shape:
            yield f"{IMAGE}{key} has the shape {_shown(image[key])} and not {_shown(shape)}"
    yield from (f"{IMAGE}{key} belongs to no part of it" for key in image if key not in rows)


def _pair_faults(pairs: Mapping[int, Mapping[str, Shape]], cross_width: int) -> Iterator[str]:
    for number, pair in sorted(pairs.items()):
        for letter in "kv":
            key = f"{ATTENTION}{number}.to_{letter}_ip.weight"
            shape = pair.get(letter)
            if shape is None:
                yield f"{key} is missing"
            elif len(shape) != _MATRIX or shape[1] != cross_width:
                yield f"{key} has the shape {_shown(shape)}, and its image tokens have {cross_width} features"
        if len({shape[:1] for shape in pair.values()}) > 1:
            yield f"{ATTENTION}{number} has keys and values of different widths"


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
