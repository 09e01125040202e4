"""What a difference adds to a weight and a bias, at the edges."""

from __future__ import annotations

import pytest
import torch

from recipe_runner.runtime.lora.deltas import WeightDelta

ONES = torch.ones(3)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({"up_bias": ONES}, 0.25),
        ({"diff_b": ONES}, 1.0),
        ({"b_norm": ONES}, 1.0),
        ({"up_bias": ONES, "diff_b": ONES}, 1.25),
    ],
)
def test_a_bias_of_the_factors_is_scaled_by_alpha_over_rank_and_others_are_not(
    tensors: dict[str, torch.Tensor], expected: float
) -> None:
    change = WeightDelta("module", "lora", tensors, factor=0.25)
    assert change.changes_bias
    assert change.of_weight(torch.ones(3, 4)) is None
    made = change.of_bias(torch.device("cpu"))
    assert made is not None
    assert made.tolist() == [expected] * 3


def test_a_bias_of_a_fused_projection_is_cut_for_its_module() -> None:
    change = WeightDelta("module", "lora", {"up_bias": torch.arange(6.0)}, factor=0.5, rows=((4, 6), (0, 1)))
    made = change.of_bias(torch.device("cpu"))
    assert made is not None
    assert made.tolist() == [2.0, 2.5, 0.0]


@pytest.mark.parametrize("magnitude", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_dora_leaves_what_is_zero_at_zero(axis: int, magnitude: float) -> None:
    # A pruned output, or input, of the base that the factors do not touch either.
    weight, down, up = torch.ones(3, 4), torch.ones(1, 4), torch.ones(3, 1)
    weight.select(axis, 1).zero_()
    (up if axis == 0 else down).select(axis, 1).zero_()
    tensors = {"down": down, "up": up, "dora_scale": torch.full((weight.shape[axis],), magnitude)}
    made = WeightDelta("module", "lora", tensors, factor=1.0, dora_axis=axis).of_weight(weight)
    assert made is not None
    assert bool(made.isfinite().all())
    assert made.select(axis, 1).tolist() == [0.0] * weight.shape[1 - axis]
    whole = made + weight
    norms = torch.linalg.vector_norm(whole, dim=1 - axis)
    assert [round(float(norm), 9) for place, norm in enumerate(norms) if place != 1] == [magnitude] * (len(norms) - 1)
