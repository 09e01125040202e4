"""A merge is what peft's own `add_weighted_adapter` makes of the same factors, whatever the method."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import model as peft_model
from safetensors.torch import save_file
from support import lycoris as kinds
from support.handles import base_model, handle, lora_model
from support.loras import diffusers_file, factors
from support.plain import our_picture, plain_pipeline

from recipe_runner.plan.resolved import ResolvedMerge
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.lora.deltas import LowRankDelta
from recipe_runner.runtime.lora.file import Translated, translate
from recipe_runner.runtime.lora.merge import merge, module_seed

if TYPE_CHECKING:
    from pathlib import Path

MODULES = ("linear", "conv1", "conv3", "table")
WEIGHTS = (0.7, -0.4, 1.1)
NAMES = ("first", "second", "third")
Factors = dict[str, dict[str, tuple[torch.Tensor, torch.Tensor]]]

METHODS: dict[str, dict[str, Any]] = {
    "linear": {},
    "cat": {},
    "svd": {"svd_rank": 5},
    "ties": {"density": 0.6},
    "ties_svd": {"density": 0.6, "majority_sign_method": "frequency"},
    "dare_linear": {"density": 0.5},
    "dare_ties": {"density": 0.5, "majority_sign_method": "frequency"},
    "dare_linear_svd": {"density": 0.5},
    "dare_ties_svd": {"density": 0.5},
    "magnitude_prune": {"density": 0.4},
    "magnitude_prune_svd": {"density": 0.4, "svd_rank": 4},
}


def shapes_of(model: torch.nn.Module) -> dict[str, dict[str, tuple[int, ...]]]:
    return {"unet": {name: tuple(model.get_submodule(name).weight.shape) for name in MODULES}}  # type: ignore[arg-type]


def drawn(model: torch.nn.Module, ranks: dict[str, int], modules: tuple[str, ...] = MODULES) -> Factors:
    """Random (down, up) of each adapter and module."""
    generator = torch.Generator().manual_seed(0)
    found: Factors = {}
    for name, rank in ranks.items():
        for module in modules:
            weight: Any = model.get_submodule(module).weight
            down = torch.randn(rank, *weight.shape[1:], generator=generator)
            up = torch.randn(weight.shape[0], rank, *(1 for _ in weight.shape[2:]), generator=generator)
            found.setdefault(name, {})[module] = (down, up)
    return found


def ours(model: torch.nn.Module, made: Factors, alpha: float, folder: Path, method: str, **options: Any) -> Translated:
    members, files = [], []
    for name, pairs in made.items():
        tensors = {}
        for module, (down, up) in pairs.items():
            tensors[f"lora_unet_{module}.lora_down.weight"], tensors[f"lora_unet_{module}.lora_up.weight"] = down, up
            tensors[f"lora_unet_{module}.alpha"] = torch.tensor(alpha)
        save_file(tensors, folder / f"{name}.safetensors")
        members.append(lora_model(folder / f"{name}.safetensors", name))
        files.append(translate(members[-1], shapes_of(model), allow_pickle=False))
    scales = options.pop("scales", tuple(1.0 for _ in members))
    merged = ResolvedMerge(
        name="m",
        members=tuple(replace(member, scale=scale) for member, scale in zip(members, scales, strict=True)),
        weights=WEIGHTS[: len(members)],
        combination_type=method,
        **options,
    )
    return merge(merged, files, shapes_of(model))


def delta(factor: Any) -> torch.Tensor:
    assert isinstance(factor, LowRankDelta)
    assert factor.alpha == factor.rank
    return factor.up.flatten(1) @ factor.down.flatten(1)


def theirs(made: Factors, alpha: float, seed: int, method: str, **options: Any) -> dict[str, torch.Tensor]:
    """The merged difference of each module by peft; its dare methods draw from torch's global generator."""
    first, *others = made
    modules = tuple(made[first])
    config = {name: LoraConfig(r=pairs[modules[0]][0].shape[0], lora_alpha=alpha, target_modules=list(modules))
              for name, pairs in made.items()}  # fmt: skip
    model = get_peft_model(kinds.Small(), config[first], adapter_name=first)
    for name in others:
        model.add_adapter(name, config[name])
    layers: dict[str, Any] = {module: model.base_model.model.get_submodule(module) for module in modules}
    for name, pairs in made.items():
        for module, (down, up) in pairs.items():
            if module == "table":
                layers[module].lora_embedding_A[name].data = up.T.clone()
                layers[module].lora_embedding_B[name].data = down.T.clone()
            else:
                layers[module].lora_A[name].weight.data, layers[module].lora_B[name].weight.data = down, up
    freeze = peft_model._freeze_adapter

    def and_seed(*arguments: Any) -> None:
        # What peft draws for the new adapter's own layers comes before; here the merge itself begins.
        freeze(*arguments)
        torch.manual_seed(seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peft_model, "_freeze_adapter", and_seed)
        model.add_weighted_adapter(list(made), list(WEIGHTS[: len(made)]), "m", combination_type=method, **options)
    return {module: layers[module].get_delta_weight("m").detach().flatten(1) for module in modules}


@pytest.mark.parametrize("method", METHODS)
def test_a_merge_is_peft_s(method: str, tmp_path: Path) -> None:
    model = kinds.Small()
    equal = method in ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")
    ranks = {name: 3 if equal else rank for name, rank in zip(NAMES, (3, 2, 4), strict=True)}
    before = torch.get_rng_state()
    merged = ours(model, drawn(model, ranks), 2.0, tmp_path, method, **METHODS[method])
    assert torch.equal(torch.get_rng_state(), before)
    for factor in merged.parts["unet"]:
        if equal and factor.module == "table":
            # peft's layer for a table holds the two factors the other way round: a weight's sign goes elsewhere.
            continue
        alone = {name: {factor.module: pairs[factor.module]} for name, pairs in drawn(model, ranks).items()}
        expected = theirs(alone, 2.0, module_seed(0, f"unet.{factor.module}"), method, **METHODS[method])
        error = (delta(factor) - expected[factor.module]).norm() / expected[factor.module].norm()
        assert error < 1e-5, factor.module


def test_the_seed_decides_what_dare_prunes(tmp_path: Path) -> None:
    model = kinds.Small()
    made = drawn(model, dict.fromkeys(NAMES, 3))
    one, same, other = (
        delta(ours(model, made, 2.0, tmp_path, "dare_linear", density=0.5, seed=seed).parts["unet"][0])
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_merge_of_one_is_linear_as_in_peft_and_a_density_of_1_prunes_nothing(tmp_path: Path) -> None:
    model = kinds.Small()
    made = drawn(model, {"a": 3})
    (expected, ties) = (
        delta(ours(model, made, 2.0, tmp_path, method, density=0.3).parts["unet"][0]) for method in ("linear", "ties")
    )
    assert torch.equal(expected, ties)
    whole = drawn(model, {"a": 3, "b": 3})
    pruned, linear = (
        delta(ours(model, whole, 2.0, tmp_path, method, density=1.0).parts["unet"][0])
        for method in ("magnitude_prune", "linear")
    )
    assert torch.equal(pruned, linear)


def test_cat_is_the_sum_with_scales_and_modules_that_one_member_lacks(tmp_path: Path) -> None:
    model = kinds.Small()
    made = drawn(model, {"a": 3, "b": 2})
    del made["b"]["conv1"]
    merged = ours(model, made, 3.0, tmp_path, "cat", scales=(0.5, {"unet": 2.0}))
    for factor in merged.parts["unet"]:
        expected: Any = sum(
            weight * scale * 3.0 / len(made[name][factor.module][0])
            * (made[name][factor.module][1].flatten(1) @ made[name][factor.module][0].flatten(1))
            for name, weight, scale in (("a", 0.7, 0.5), ("b", -0.4, 2.0))
            if factor.module in made[name]
        )  # fmt: skip
        assert torch.allclose(delta(factor), expected, rtol=1e-5, atol=1e-5)
    assert merged.layout.tensor_counts() == {"unet": 3 * (4 + 3)}


def test_unequal_ranks_and_other_kinds_are_refused(tmp_path: Path) -> None:
    model = kinds.Small()
    with pytest.raises(RecipeRunnerError) as caught:
        ours(model, drawn(model, {"a": 3, "b": 2}), 2.0, tmp_path, "ties", density=0.5)
    (problem,) = caught.value.problems
    assert problem.code == "E634"
    assert problem.message == "adapter m: unet conv1 has rank 3 in `a`, 2 in `b`, and `ties` needs one rank"
    tensors, _ = kinds.file_of({"linear": kinds.loha}, model, 0)
    save_file(tensors, tmp_path / "x.safetensors")
    member = lora_model(tmp_path / "x.safetensors", "x")
    merged = ResolvedMerge(name="m", members=(member,), weights=(1.0,), combination_type="cat")
    with pytest.raises(RecipeRunnerError) as caught:
        merge(merged, [translate(member, shapes_of(model), allow_pickle=False)], shapes_of(model))
    (problem,) = caught.value.problems
    assert problem.code == "E630"
    assert problem.message == "adapter m: `x` has a loha difference for unet linear"


def test_a_merge_acts_and_leaves_as_a_lora_does(sd15_folder: Path, tmp_path: Path) -> None:
    pipeline = plain_pipeline(sd15_folder)
    for number, name in enumerate("ab"):
        diffusers_file(tmp_path / f"{name}.safetensors", factors(pipeline, number, rank=2 + number))
    members = tuple(lora_model(tmp_path / f"{name}.safetensors", name) for name in "ab")
    merged = ResolvedMerge(name="m", members=members, weights=(0.5, 0.25), combination_type="cat")
    live, base = LivePipeline("cpu", "strict", 1), base_model(sd15_folder)
    settings = {"num_inference_steps": 2}
    untouched = our_picture(live, handle(base), "a bear", 1, **settings)
    found = our_picture(live, handle(base, merged, m=0.8), "a bear", 1, **settings)
    apart = our_picture(live, handle(base, *members, a=0.4, b=0.2), "a bear", 1, **settings)
    # Two sums of rounded numbers: at most a grey level apart.
    assert np.abs(found.astype(int) - apart).max() <= 1
    assert not np.array_equal(found, untouched)
    assert np.array_equal(our_picture(live, handle(base, merged, m=0.0), "a bear", 1, **settings), untouched)
    counts = live.tensor_counts(handle(base, merged))["m"]
    assert {
        part: sum(live.tensor_counts(handle(base, each))[each.name][part][0] for each in members) for part in counts
    } == {part: landed for part, (landed, _) in counts.items()}
