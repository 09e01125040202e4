"""Where the tensors of LoRA files land: key tables of every layout, mismatches, and files from the wild."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as theirs
from support.module_tables import SHARED, table, unet

from recipe_runner.problems.problem import WeightsError
from recipe_runner.weights.files.header import read_header
from recipe_runner.weights.lora import AdapterMismatch, LoraLayout, LoraModule, read_layout, require_whole
from recipe_runner.weights.lora.sgm_names import sgm_names
from recipe_runner.weights.modules import Shape, component_modules

LAYOUTS = sorted((Path(__file__).parent / "layouts").glob("*.json"))
REAL = SHARED / "adapters"


def read_table(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(path.read_text())
    return tree


def lay_out(tree: dict[str, Any]) -> LoraLayout:
    shapes = {key: tuple(shape) for key, shape in tree["tensors"].items()}
    return read_layout(shapes, table(tree["base"]), metadata=tree.get("metadata"), target=tree.get("target"))


def accounted(layout: LoraLayout) -> list[str]:
    """Every key that the layout speaks of; a key twice would be a key accounted for twice."""
    landed = dict.fromkeys(key for module in layout.modules for key in module.tensors.values())
    learned = [vectors.key for parts in layout.embeddings.values() for vectors in parts.values()]
    return [*landed, *learned, *(key for key, _ in layout.unmatched), *(key for key, _ in layout.dropped)]


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_layout(path: Path) -> None:
    tree = read_table(path)
    layout = lay_out(tree)
    assert sorted(accounted(layout)) == sorted(tree["tensors"])
    expected = tree["expect"]
    found = {
        "layout": layout.layout,
        "landed": layout.tensor_counts(),
        "kinds": sorted({module.kind for module in layout.modules}),
        "modules": {f"{m.component}.{m.module}": dict(m.tensors) for m in layout.modules},
    }
    assert {key: found[key] for key in found if key in expected} == {k: v for k, v in expected.items() if k in found}
    assert layout.unmatched == tuple(map(tuple, expected.get("unmatched", [])))
    assert dict(layout.dropped) == expected.get("dropped", {})
    learned = {token: {part: v.key for part, v in parts.items()} for token, parts in layout.embeddings.items()}
    assert learned == expected.get("embeddings", {})


def kohya(name: str, down: Shape, up: Shape) -> dict[str, Shape]:
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": ()}


def lora_shapes(weight: Shape, rank: int = 4) -> tuple[Shape, Shape]:
    return (rank, *weight[1:]), (weight[0], rank, *(1 for _ in weight[2:]))


def whole_kohya(family: str, components: dict[str, str]) -> dict[str, Shape]:
    """A Kohya file on every linear and convolution of the components."""
    shapes: dict[str, Shape] = {}
    for component, prefix in components.items():
        for module, weight in table(family)[component].items():
            if len(weight) > 1 and "embed" not in module.split(".")[-1]:
                shapes |= kohya(f"{prefix}_{module.replace('.', '_')}", *lora_shapes(weight))
    return shapes


@pytest.mark.parametrize(
    ("family", "components"),
    [
        ("sd1", {"unet": "lora_unet", "text_encoder": "lora_te"}),
        ("sd2", {"unet": "lora_unet", "text_encoder": "lora_te_text_model"}),
        ("sdxl", {"unet": "lora_unet", "text_encoder": "lora_te1_text_model", "text_encoder_2": "lora_te2"}),
    ],
)
def test_every_module_of_a_base_can_be_named_as_kohya_does(family: str, components: dict[str, str]) -> None:
    shapes = whole_kohya(family, components)
    layout = require_whole(read_layout(shapes, table(family)), "adapter x")
    assert sum(layout.tensor_counts().values()) == len(shapes)
    assert len({(m.component, m.module) for m in layout.modules}) == len(layout.modules) == len(shapes) // 3


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_sgm_names_are_those_that_diffusers_knows(family: str) -> None:
    names = {
        name: module
        for name, module in sgm_names(table(family)["unet"])
        if name.startswith(("input_blocks", "middle_block", "output_blocks"))
        # Their map, made for SDXL, has conv_in elsewhere and takes the upsampler of a block without attention for one.
        and name not in ("input_blocks.0.0", "output_blocks.2.1.conv")
    }
    keys = {f"lora_unet_{name.replace('.', '_')}.alpha": module for name, module in names.items()}
    config = unet(family).config
    for key, module in keys.items():
        mapped = theirs._maybe_map_sgm_blocks_to_diffusers({key: 0}, config)
        (diffusers_key,) = mapped
        converted = theirs._convert_unet_lora_key(diffusers_key.replace(".alpha", ".lora_down.weight"))
        plain = re.sub(r"[._]lora\.down\.weight$", "", converted).replace("processor.", "").replace("_", ".")
        plain = re.sub(r"attn(\d)\.to\.out$", r"attn\1.to.out.0", plain)
        if plain != module.replace("_", "."):
            # Their map is for linear layers and convolutions; norms keep the original's numbers there.
            assert len(table(family)["unet"][module]) == 1, (key, plain, module)
    assert len(keys) > 150


def test_an_sdxl_file_with_sgm_names_lands_whole() -> None:
    unet_table = table("sdxl")["unet"]
    shapes: dict[str, Shape] = {}
    for name, module in sgm_names(unet_table):
        if len(unet_table[module]) > 1:
            shapes |= kohya(f"lora_unet_{name.replace('.', '_')}", *lora_shapes(unet_table[module]))
    layout = require_whole(read_layout(shapes, table("sdxl")), "adapter x")
    linear = [module for module, weight in unet_table.items() if len(weight) > 1]
    assert sorted(module.module for module in layout.modules) == sorted(linear)
    assert layout.layout == "kohya (sgm names)"


def delta(module: LoraModule, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    made = tensors[module.tensors["up"]] @ tensors[module.tensors["down"]]
    if module.rows is not None:
        made = torch.cat([made[start:stop] for start, stop in module.rows])
    return made


def test_fused_flux_tensors_are_cut_as_diffusers_cuts_them() -> None:
    transformer = table("flux1")["transformer"]
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    sizes = {
        "double_blocks_1_img_attn_qkv": (9216, 3072), "double_blocks_1_txt_attn_qkv": (9216, 3072),
        "double_blocks_1_img_attn_proj": (3072, 3072), "double_blocks_1_txt_mlp_2": (3072, 12288),
        "double_blocks_0_img_mod_lin": (18432, 3072), "single_blocks_1_linear1": (21504, 3072),
        "single_blocks_1_linear2": (3072, 15360), "single_blocks_0_modulation_lin": (9216, 3072),
    }  # fmt: skip
    for name, (out, width) in sizes.items():
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.randn(1, width, generator=generator)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.randn(out, 1, generator=generator)
    layout = read_layout({key: tuple(tensor.shape) for key, tensor in tensors.items()}, table("flux1"))
    require_whole(layout, "adapter x")
    assert layout.layout == "kohya (bfl names)"
    converted = theirs._convert_kohya_flux_lora_to_diffusers(dict(tensors))
    expected = {
        key.removeprefix("transformer.").removesuffix(".lora_A.weight"): converted[key.replace("lora_A", "lora_B")]
        @ converted[key]
        for key in converted
        if "lora_A" in key
    }
    found = {module.module: delta(module, tensors) for module in layout.modules}
    assert sorted(found) == sorted(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert all(found[name].shape == transformer[name] for name in found)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files of ../shared/data are not here")
@pytest.mark.parametrize(
    ("name", "layout", "landed", "kind"),
    [
        ("lora-pokemon-peft", "diffusers", {"unet": 256}, "lora"),
        ("lora-attn-procs", "bare attention processors", {"unet": 256}, "lora"),
        ("lora-kohya-prefixed", "kohya", {"unet": 256}, "lora"),
        ("lora-cloneofsimo-disney", "cloneofsimo", {"text_encoder": 98, "unet": 288}, "lora"),
        ("lycoris-lokr-smart-falcon-4", "kohya", {"text_encoder": 360, "unet": 1390}, "lokr"),
    ],
)
def test_a_real_file_lands_whole(name: str, layout: str, landed: dict[str, int], kind: str) -> None:
    header = read_header(REAL / f"{name}.safetensors")
    found = require_whole(read_layout(header.shapes, table("sd1"), metadata=header.metadata), f"adapter {name}")
    assert (found.layout, found.tensor_counts()) == (layout, landed)
    assert {module.kind for module in found.modules} == {kind}
    assert sorted(accounted(found)) == sorted(header.tensors)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files of ../shared/data are not here")
def test_a_real_file_of_another_family_is_refused_with_the_reason() -> None:
    header = read_header(REAL / "lora-sd21.safetensors")
    layout = read_layout(header.shapes, table("sd1"), metadata=header.metadata)
    with pytest.raises(AdapterMismatch) as caught:
        require_whole(layout, "adapter x")
    (problem,) = caught.value.problems
    assert problem.code == "E601"
    assert problem.message.startswith(
        "adapter x: 64 of 256 tensors do not fit the base: unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2."
        "to_k.lora.down.weight (on unet down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k: the delta "
        "(320x1024) and the module's weight (320x768) have different shapes) and 1 more; "
    )
    assert problem.hint == (
        "this LoRA was trained on SD 2.x (cross-attention width 1024); the base is SD 1.x (cross-attention width 768)"
    )
    assert require_whole(read_layout(header.shapes, table("sd2")), "adapter x").tensor_counts() == {"unet": 256}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files of ../shared/data are not here")
def test_a_textual_inversion_is_no_lora() -> None:
    header = read_header(REAL / "ti-EasyNegative-a1111.safetensors")
    with pytest.raises(AdapterMismatch, match="none of 1 tensors fits the base: emb_params") as caught:
        require_whole(read_layout(header.shapes, table("sd1")), "adapter x")
    assert caught.value.problems[0].code == "E602"


def test_families_that_do_not_fit_are_told_by_shape() -> None:
    module = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    shapes = {f"unet.{module}.lora_A.weight": (4, 2048), f"unet.{module}.lora_B.weight": (640, 4)}
    assert read_layout(shapes, table("sd1")).advice == (
        "this LoRA was trained on SDXL (cross-attention width 2048); the base is SD 1.x (cross-attention width 768)"
    )
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    flux = {f"{stem}.lora_down.weight": (4, 3072), f"{stem}.lora_up.weight": (9216, 4)}
    assert read_layout(flux, table("sd1")).advice == "this LoRA was trained on FLUX.1; the base is SD 1.x"


def test_a_stranger_s_names_stay_on_one_short_line() -> None:
    shapes = {"x\x1b[31m\n.lora_A.weight": (4, 4), f"{'y' * 5000}.lora_A.weight": (4, 4)}
    with pytest.raises(AdapterMismatch) as caught:
        require_whole(read_layout(shapes, table("sd1")), "adapter x")
    message = caught.value.problems[0].message
    assert message.isprintable()
    assert "x\ufffd[31m\ufffd.lora_A.weight" in message
    assert len(message) < 1200


def test_a_lora_that_reads_a_further_image_is_told() -> None:
    shapes = {"img_in.lora_A.weight": (4, 128), "img_in.lora_B.weight": (3072, 4)}
    found = read_layout(shapes, table("flux1"))
    assert [reason for _, reason in found.unmatched] == [
        "on transformer x_embedder: the delta (3072x128) and the module's weight (3072x64) have different shapes"
    ] * 2
    assert found.advice.endswith(
        "a further image input (control, fill, edit): its img_in reads 128 channels and the base's 64"
    )


def test_a_lora_of_what_the_base_lacks_is_told() -> None:
    name = "time_text_embed.guidance_embedder.linear_1"
    shapes = {f"transformer.{name}.lora_A.weight": (4, 256), f"transformer.{name}.lora_B.weight": (3072, 4)}
    block = "transformer.transformer_blocks.0.attn.to_q"
    shapes |= {f"{block}.lora_A.weight": (4, 3072), f"{block}.lora_B.weight": (3072, 4)}
    assert not read_layout(shapes, table("flux1")).advice
    modules = {own: shape for own, shape in table("flux1")["transformer"].items() if "guidance" not in own}
    found = read_layout(shapes, {"transformer": modules})
    assert found.tensor_counts() == {"transformer": 2}
    assert found.advice.startswith("this LoRA was trained on a model with a guidance embedding, such as FLUX.1 dev")
    motion = "down_blocks.0.motion_modules.0.temporal_transformer.proj_in"
    shapes = {f"{motion}.lora_A.weight": (4, 320), f"{motion}.lora_B.weight": (320, 4)}
    assert read_layout(shapes, table("sd1")).advice.startswith("this LoRA is for AnimateDiff's motion modules")


@pytest.mark.parametrize(
    "stem",
    [
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q",
        "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q",
    ],
)
@pytest.mark.parametrize("component", ["text_encoder", "text_encoder_2", "text_encoder_3"])
def test_t5_is_found_wherever_the_base_has_it(stem: str, component: str) -> None:
    modules = {"encoder.block.0.layer.0.SelfAttention.q": (64, 64)}
    base = {"transformer": {"x": (4, 4)}, "text_encoder": {"encoder.layers.0.mlp.fc1": (4, 4)}, component: modules}
    assert read_layout(kohya(stem, (4, 64), (64, 4)), base).tensor_counts() == {component: 3}


ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def peft(metadata: dict[str, Any], rank: int = 4) -> LoraLayout:
    shapes = {f"unet.{ATTENTION}.lora_A.weight": (rank, 320), f"unet.{ATTENTION}.lora_B.weight": (320, rank)}
    return read_layout(shapes, table("sd1"), metadata={"lora_adapter_metadata": json.dumps(metadata)})


@pytest.mark.parametrize(
    ("metadata", "alpha"),
    [
        ({"unet.r": 4, "unet.lora_alpha": 8}, 8.0),
        ({"r": 4, "lora_alpha": 2}, 2.0),
        ({"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 1.5}}, 1.5),
        ({"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {"to_k": 1.5}}, 8.0),
        ({"unet.r": 8, "unet.lora_alpha": 8, "unet.rank_pattern": {f"^{ATTENTION}": 4}}, 8.0),
        ({"unet.r": 4, "unet.lora_alpha": 8, "unet.use_rslora": True}, 16.0),
        (
            {"unet.r": 8, "unet.lora_alpha": 8, "unet.rank_pattern": {r"down.*\\.to_q": 4}, "unet.use_rslora": True},
            16.0,
        ),
        ({"text_encoder.r": 4, "text_encoder.lora_alpha": 8}, None),
    ],
)
def test_alpha_of_peft_metadata(metadata: dict[str, Any], alpha: float | None) -> None:
    (module,) = peft(metadata).modules
    assert module.alpha == alpha


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"unet.r": 8, "unet.lora_alpha": 8}, "the metadata states rank 8 for .*, and its tensors have rank 4"),
        ({"unet.r": 0}, "the metadata states the rank 0, which is not a positive integer"),
        ({"unet.r": True}, "the metadata states the rank True, which is not a positive integer"),
        ({"unet.r": 4, "unet.lora_alpha": "8"}, "the metadata states the lora_alpha '8', which is not a number"),
        (
            {"unet.r": 4, "unet.alpha_pattern": {"(.*)+x": 1}},
            r"has a key in alpha_pattern that is not the name of a module: '\(\.\*\)\+x'",
        ),
        ({"unet.r": 4, "unet.layer_replication": [[0, 1]]}, "sets layer_replication, which is not supported"),
    ],
)
def test_metadata_that_cannot_be_true_is_refused(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        peft(metadata)
    assert caught.value.problems[0].code == "E605"


def test_broken_metadata_and_two_alphas_are_refused() -> None:
    shapes = kohya("lora_unet_" + ATTENTION.replace(".", "_"), (4, 320), (320, 4))
    with pytest.raises(WeightsError, match="not JSON"):
        read_layout(shapes, table("sd1"), metadata={"lora_adapter_metadata": "{"})
    with pytest.raises(WeightsError, match=r"the metadata states the alpha of .*, and so does a tensor"):
        read_layout(shapes, table("sd1"), metadata={"lora_adapter_metadata": '{"r": 4}'})


def test_clip_names_are_those_in_memory() -> None:
    on_disk = {"text_model.encoder.layers.0.mlp.fc1.weight": (8, 4), "text_model.encoder.layers.0.mlp.fc1.bias": (8,)}
    assert component_modules(on_disk) == {"encoder.layers.0.mlp.fc1": (8, 4)}
    assert component_modules(on_disk, "CLIPTextModelWithProjection") == {"text_model.encoder.layers.0.mlp.fc1": (8, 4)}
    projected = on_disk | {"text_projection.weight": (4, 4)}
    assert "text_model.encoder.layers.0.mlp.fc1" in component_modules(projected)


def test_a_tensor_without_a_name_is_called_so() -> None:
    with pytest.raises(AdapterMismatch, match=r"none of 1 tensors fits the base: a tensor without a name \("):
        require_whole(read_layout({"": (3, 8)}, {"unet": {"to_q": (8, 8)}}), "adapter a")
