"""The table of operations: nodes have what it says and nothing else, and the runtime carries out each."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from support import resolved as make

from recipe_runner.plan.compile import compile_plan
from recipe_runner.plan.operations import ADDS, OPERATIONS
from recipe_runner.plan.resolved import (
    ResolvedAdapter,
    ResolvedImagePrompt,
    ResolvedIpAdapter,
    ResolvedLora,
    ResolvedMerge,
    ResolvedTextualInversion,
)
from recipe_runner.plan.resolved_base import ResolvedComponent
from recipe_runner.runtime.operations import PlanOperations
from recipe_runner.weights.ip_adapter import ImagePromptShape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recipe_runner.plan.compile import Plan


def plan() -> Plan:
    """A plan in which every operation takes all that it can."""
    file, other = make.source("a", "a" * 64), make.source("b", "b" * 64)
    encoder = ResolvedComponent(source=other)
    shown = ImagePromptShape(count=1, features="hidden_states", faces=True, patches=True, negative=True, paired=True)
    prompt = ResolvedImagePrompt(
        name="look",
        shown=shown,
        pictures=(file, other),
        embeds=(file,),
        encoder=encoder,
        faces=other,
        paths=("", "", ""),
    )
    members = (ResolvedLora(name="a", source=file, config=other), ResolvedLora(name="b", source=other, alpha=2.0))
    adapters: tuple[ResolvedAdapter, ...] = (
        ResolvedTextualInversion(name="t", source=file, token="bear"),  # noqa: S106 - no password
        ResolvedMerge(name="m", members=members, weights=(1.0, 1.0), combination_type="dare_ties_svd"),
        ResolvedIpAdapter(name="one", source=other, masks=(file,)),
        ResolvedIpAdapter(name="look", source=file, masks=(file, other), image_prompts={"bear": prompt}),
    )
    base = make.base(weight_name="x", config=other, components={"vae": encoder, "image_encoder": None})
    sampling = {**make.SAMPLING, "clip_skip": 1, "max_sequence_length": 77}
    return compile_plan(make.recipe(make.variant(base=base, adapters=adapters, sampling=sampling)))


def without_numbers(names: Iterable[str]) -> set[str]:
    return {re.sub(r"\[\d+\]", "[*]", re.sub(r"\.[\w.]+$", ".*", name)) for name in names}


def test_nodes_have_what_their_operation_takes_and_nothing_else() -> None:
    found: dict[str, tuple[set[str], set[str], set[str]]] = {}
    for node in plan().graph:
        constants, inputs, files = found.setdefault(node.operation, (set(), set(), set()))
        constants.update(node.constants)
        inputs.update(without_numbers(node.inputs))
        files.update(without_numbers(node.files))
    assert found == {
        name: (set(operation.constants), set(operation.inputs), set(operation.files))
        for name, operation in OPERATIONS.items()
    }


def test_every_kind_of_adapter_is_added_by_an_operation_of_its_own() -> None:
    kinds = (ResolvedLora, ResolvedTextualInversion, ResolvedIpAdapter, ResolvedMerge)
    assert {kind.kind for kind in kinds} == set(ADDS)
    assert len({operation.name for operation in ADDS.values()}) == len(ADDS)


def test_the_runtime_carries_out_each_operation() -> None:
    made = replace(plan(), recipe=make.recipe(device="cpu"))
    with PlanOperations(made, lambda *_: None, lambda *_: None) as workshop:
        assert workshop.operations.keys() == OPERATIONS.keys()
