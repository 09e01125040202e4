"""Tensors of any shapes are laid out or told apart: never a traceback, and nothing is left out of the account."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipe_runner.weights.files.contents import Contents
from recipe_runner.weights.identify.identity import identify_contents
from recipe_runner.weights.lora import read_layout
from recipe_runner.weights.lora.roles import OPTIONAL, ROLES, kind_of

WRITTEN = {
    **{role: f"lora_{role}.weight" for role in ("down", "up", "mid")},
    "rows_down": "lora_embedding_A",
    "rows_up": "lora_embedding_B",
    "scaling": "weight",
    "up_bias": "lora_B.bias",
    **{role: f"{role}.weight" for role in ("a1", "a2", "b1", "b2", "bm")},
}
"""How the roles are written that are not called as they are written."""
MODULES = {"linear": (8, 16), "conv": (16, 8, 3, 3), "point": (8, 8, 1, 1), "norm": (8,), "table": (20, 8)}

sizes = st.sampled_from([0, 1, 2, 4, 8, 16])
shapes = st.lists(sizes, max_size=5).map(tuple) | st.sampled_from([*MODULES.values(), (2, 2), (2, 16), (8, 2), ()])


@st.composite
def files(draw: st.DrawFn) -> dict[str, tuple[int, ...]]:
    """One to three modules, each with the roles of a kind and a few more, of any shapes."""
    found: dict[str, tuple[int, ...]] = {}
    for module in draw(st.lists(st.sampled_from([*MODULES, "nowhere"]), min_size=1, max_size=3, unique=True)):
        kind = draw(st.sampled_from(list(ROLES)))
        roles = [
            *sorted(draw(st.sampled_from(ROLES[kind]))),
            *draw(st.lists(st.sampled_from(sorted(OPTIONAL[kind] or {"alpha"})), unique=True)),
        ]
        for role in roles:
            found[f"lora_unet_{module}.{WRITTEN.get(role, role)}"] = draw(shapes)
    return found


@settings(max_examples=300, deadline=None, database=None)
@given(file=files())
def test_every_tensor_lands_or_is_told(file: dict[str, tuple[int, ...]]) -> None:
    layout = read_layout(file, {"unet": MODULES})
    landed = {key for module in layout.modules for key in module.tensors.values()}
    told = [key for key, reason in layout.unmatched if reason]
    assert sorted([*landed, *told]) == sorted(file)
    for module in layout.modules:
        assert all(0 not in file[key] for key in module.tensors.values())
    assert identify_contents("", Contents(format="safetensors", shapes=file, dtypes=dict.fromkeys(file, "F32"))).kind


NUMBERED = [
    f"{part}:{number}:{role}" for part in ("unet", "text_encoder") for number in (0, 1, 99) for role in ("up", "down")
]
TOKENS = ["<s1>", *(f"bundle_emb.x.{part}" for part in ("clip_l", "clip_g", "emb_params", "string_to_param.*", "t5"))]


@settings(max_examples=300, deadline=None, database=None)
@given(
    file=st.dictionaries(st.sampled_from([*NUMBERED, *TOKENS]), shapes, min_size=1, max_size=6)
    | st.lists(shapes, min_size=1, max_size=8).map(
        lambda each: {str(number): shape for number, shape in enumerate(each)}
    )
)
def test_every_numbered_tensor_and_token_lands_or_is_told(file: dict[str, tuple[int, ...]]) -> None:
    block = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    modules = {"unet": {block: (8, 8)}, "text_encoder": {"embeddings.token_embedding": (20, 8)}}
    metadata = {"<s1>": "<embed>"}
    layout = read_layout(file, modules, metadata=metadata)
    landed = {key for module in layout.modules for key in module.tensors.values()}
    learned = [vectors.key for parts in layout.embeddings.values() for vectors in parts.values()]
    assert sorted([*landed, *learned, *(key for key, _ in layout.unmatched)]) == sorted(file)
    contents = Contents(format="safetensors", shapes=file, dtypes=dict.fromkeys(file, "F32"), metadata=metadata)
    assert identify_contents("", contents).kind


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        # Two forms of one kind at once: each role is one of the kind's own.
        ({"down", "up", "rows_down"}, "a lora cannot have rows_down"),
        ({"lokr_w1", "lokr_w2", "lokr_t2"}, "a lokr cannot have lokr_t2"),
        ({"lokr_w1", "lokr_w2_a", "scaling"}, "the file lacks its lokr_w2_b"),
        ({"w_norm", "b_norm", "scalar"}, "a norm cannot have scalar"),
    ],
)
def test_roles_that_make_no_kind_are_named(roles: set[str], said: str) -> None:
    assert kind_of(frozenset(roles)) == said
