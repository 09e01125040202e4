"""Original names of transformers' modules lead where diffusers' own converters put their weights, row by row."""

from __future__ import annotations

import re

import diffusers
import pytest
import torch
from diffusers.loaders import lora_conversion_utils
from diffusers.loaders import single_file_utils as theirs
from support.module_tables import modules_of
from support.original_names import ORIGINALS, original_table

from recipe_runner.weights.lora import read_layout
from recipe_runner.weights.lora.flux_names import flux_names
from recipe_runner.weights.lora.original_names import original_names
from recipe_runner.weights.lora.sd3_names import sd3_names

NAMES = [
    "flux2-bfl",
    "wan-14b-original",
    "z-image-comfyui",
    "lumina2-original",
    "hunyuan-video-original",
    "krea2-original",
    "auraflow-original",
    "flux1-bfl",
    "chroma-comfyui",
    "sd3-medium-original",
]
OTHERS = {"flux1-bfl": flux_names, "chroma-comfyui": flux_names, "sd3-medium-original": sd3_names}
"""Families whose names stand in modules of their own."""


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_those_of_the_converter(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    # One block of each list, true rows, one column: the converters cut rows.
    tensors = {
        key: torch.randn(shape[0], *(1 for _ in shape[1:]), generator=generator)
        for key, shape in original_table(name).items()
        if all(number == "0" for number in re.findall(r"(?:blocks|layers|refiner)\.(\d+)\.", key))
    }
    converted = getattr(theirs, ORIGINALS[name][3])(dict(tensors))
    modules = {
        key.removesuffix(".weight"): tuple(tensor.shape)
        for key, tensor in converted.items()
        if key.endswith(".weight") and tensor.ndim > 1
    }
    reached: dict[str, None] = {}
    names = [*original_names(modules), *(OTHERS[name](modules) if name in OTHERS else ())]
    for original, pieces in names:
        for module, rows in pieces if f"{original}.weight" in tensors else ():
            whole = tensors[f"{original}.weight"]
            own = whole if rows is None else torch.cat([whole[start:stop] for start, stop in rows])
            assert torch.equal(own, converted[f"{module}.weight"]), (original, module)
            reached[module] = None
    # All others have one name on both sides.
    assert not [module for module in modules if module not in reached and f"{module}.weight" not in tensors]


def test_ideogram_s_names_are_those_of_diffusers_lora_converter() -> None:
    with torch.device("meta"):
        modules = modules_of(diffusers.Ideogram4Transformer2DModel(num_layers=2))
    tensors: dict[str, torch.Tensor] = {}
    for name, rows in (("attention.qkv", 3 * 4608), ("attention.o", 4608), ("feed_forward.w1", 12288)):
        stem = f"conditional_transformer.layers.1.{name}"
        tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"] = torch.ones(1, 4608), torch.randn(rows, 1)
    layout = read_layout({key: tuple(each.shape) for key, each in tensors.items()}, {"transformer": modules})
    found = {
        module.module: torch.cat(
            [tensors[module.tensors["up"]][start:stop] for start, stop in module.rows or ((0, None),)]
        )
        for module in layout.modules
    }
    converted = lora_conversion_utils._convert_non_diffusers_ideogram4_lora_to_diffusers(dict(tensors))
    theirs_too = {
        key.removeprefix("transformer.").removesuffix(".lora_B.weight"): each
        for key, each in converted.items()
        if "lora_B" in key
    }
    assert sorted(found) == sorted(theirs_too)
    assert all(torch.equal(found[name], theirs_too[name]) for name in found)
