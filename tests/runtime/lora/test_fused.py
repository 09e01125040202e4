"""A file with one tensor for several modules of the base (a fused q, k, v): each gets its own rows, in every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from support import lycoris as kinds
from support.handles import lora_model
from support.module_tables import modules_of
from support.plain import plain_pipeline

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.lora.file import Translated, translate
from recipe_runner.runtime.lora.tuners import Tuners

if TYPE_CHECKING:
    from pathlib import Path

STEM = "lora_unet_double_blocks_0_img_attn_qkv"
MODULES = [f"transformer_blocks.0.attn.to_{letter}" for letter in "qkv"]
MAKES = {
    "lora": kinds.lora,
    "loha": kinds.loha,
    "lokr": kinds.lokr("whole", "factors"),
    "full": kinds.full,
    "dora": kinds.dora(kinds.lora, 0),
    "dora of a lokr": kinds.dora(kinds.lokr("factors", "whole"), 0),
}


def file_of(make: kinds.Make, transformer: Any, path: Path) -> tuple[Translated, kinds.Roles]:
    """A file of `make` for the three modules together, read and laid out."""
    rows = sum(transformer.get_submodule(name).weight.shape[0] for name in MODULES)
    columns = transformer.get_submodule(MODULES[0]).weight.shape[1]
    roles = make(torch.Size((rows, columns)), torch.Generator().manual_seed(3))
    save_file({f"{STEM}.{role}": tensor.contiguous() for role, tensor in roles.items()}, path)
    return translate(lora_model(path), {"transformer": modules_of(transformer)}, allow_pickle=False), roles


@pytest.mark.parametrize("name", MAKES)
def test_each_module_gets_its_rows(name: str, flux_folder: Path, tmp_path: Path) -> None:
    transformer = plain_pipeline(flux_folder).transformer
    own = [transformer.get_submodule(module) for module in MODULES]
    weight = torch.cat([module.weight for module in own]).detach()
    bias = torch.cat([module.bias for module in own]).detach()
    file, roles = file_of(MAKES[name], transformer, tmp_path / "x.safetensors")
    assert file.layout.tensor_counts() == {"transformer": len(roles)}
    tuners = Tuners(transformer)
    tuners.add("x", file.parts["transformer"])
    tuners.activate([("x", dict.fromkeys(MODULES, 0.5))])
    changed = weight.double() + 0.5 * kinds.closed_form(roles, weight, None)
    moved = bias.double() + 0.5 * roles.get("diff_b", torch.zeros_like(bias)).double()
    inputs = torch.randn(3, weight.shape[1], generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        found = torch.cat([transformer.get_submodule(module)(inputs) for module in MODULES], dim=1).double()
    expected = torch.nn.functional.linear(inputs.double(), changed, moved)
    assert float((found - expected).norm() / expected.norm()) < 1e-6
    tuners.activate([])
    assert torch.equal(torch.cat([module.weight for module in own]), weight)


def blocks(weight: torch.Size, _: torch.Generator) -> kinds.Roles:
    return {"oft_blocks": torch.zeros(4, weight[0] // 4, weight[0] // 4)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (kinds.dora(kinds.lora, 1), "dora_scale is per input"),
        (blocks, "changes one weight, which the base has as several"),
    ],
)
def test_what_needs_the_whole_weight_is_refused_with_the_reason(
    make: kinds.Make, said: str, flux_folder: Path, tmp_path: Path
) -> None:
    transformer = plain_pipeline(flux_folder).transformer
    with pytest.raises(RecipeRunnerError, match=said):
        file_of(make, transformer, tmp_path / "x.safetensors")
