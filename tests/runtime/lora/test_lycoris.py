"""Every LoRA-like kind, on every sort of module, equals its closed form in float64; scale 0 is the base itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lycoris import LycorisNetwork, create_lycoris
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from peft import LoHaConfig, LoKrConfig, LoraConfig
from peft.tuners import loha as peft_loha
from peft.tuners import lokr as peft_lokr
from peft.tuners import lora as peft_lora
from safetensors.torch import save_file
from support import lycoris as kinds
from support.handles import base_model, handle, lora_model
from support.plain import plain_pipeline
from support.tuned import loaded, translated

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.lora.tuners import Tuners

if TYPE_CHECKING:
    from pathlib import Path

    from support.lycoris import Make

MATRIX = ("linear", "plain", "conv1", "conv3", "table")
CASES: dict[str, tuple[Make, tuple[str, ...]]] = {
    "lora": (kinds.lora, MATRIX),
    "lora and bias": (kinds.with_biases, ("linear", "plain", "conv3")),
    "tucker": (kinds.tucker, ("conv1", "conv3")),
    "loha": (kinds.loha, MATRIX),
    "loha tucker": (kinds.loha_tucker, ("conv1", "conv3")),
    "lokr": (kinds.lokr("whole", "factors"), MATRIX),
    "lokr of factors": (kinds.lokr("factors", "factors"), MATRIX),
    "lokr whole": (kinds.lokr("whole", "whole"), MATRIX),
    "lokr half": (kinds.lokr("factors", "whole"), MATRIX),
    "lokr tucker": (kinds.lokr("whole", "tucker"), ("conv1", "conv3")),
    "full": (kinds.full, ("linear", "plain", "conv1", "conv3")),
    "norm": (kinds.norm, ("norm",)),
    "dora": (kinds.dora(kinds.lora, 0), MATRIX),
    "dora per input": (kinds.dora(kinds.lora, 1), MATRIX),
    "dora of a tucker": (kinds.dora(kinds.tucker, 0), ("conv3",)),
    "dora of a loha": (kinds.dora(kinds.loha, 0), ("linear", "conv3")),
    "dora of a lokr": (kinds.dora(kinds.lokr("whole", "factors"), 1), ("linear", "conv3")),
}


def inputs(module: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    if module == "table":
        return torch.arange(20)[None]
    if module in ("linear", "plain"):
        return torch.randn(5, 24, generator=generator)
    return torch.randn(2, {"norm": 12, "square": 6}.get(module, 8), 6, 6, generator=generator)


def right(model: torch.nn.Module, module: str, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The module's output on `inputs`, in float64, with another weight and bias."""
    found: Any = model.get_submodule(module)
    value = inputs(module)
    if module == "table":
        return torch.nn.functional.embedding(value, weight)
    if module == "norm":
        return torch.nn.functional.group_norm(value.double(), found.num_groups, weight, bias, found.eps)
    if module in ("linear", "plain"):
        return torch.nn.functional.linear(value.double(), weight, bias)
    return torch.nn.functional.conv2d(value.double(), weight, bias, padding=weight.shape[-1] // 2)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("alpha", [2.0, None])
@pytest.mark.parametrize(("case", "module"), [(case, module) for case, (_, on) in CASES.items() for module in on])
def test_a_kind_equals_its_closed_form(case: str, module: str, alpha: float | None, tmp_path: Path) -> None:
    model = kinds.Small()
    own: Any = model.get_submodule(module)
    weight, bias = own.weight, getattr(own, "bias", None)
    tensors, made = kinds.file_of({module: CASES[case][0]}, model, 1, alpha)
    roles = made[module]
    tuners = loaded(model, x=translated(model, tensors, tmp_path / "x.safetensors"))
    delta = kinds.closed_form(roles, weight, alpha)
    shift = sum((roles[role].double() for role in ("diff_b", "b_norm") if role in roles), torch.zeros(()).double())
    for scale in (1.0, 0.4, -0.7):
        tuners.activate([("x", {module: scale})])
        changed = weight.double() + scale * delta
        moved = scale * shift + (0.0 if bias is None else bias.double())
        expected = right(model, module, changed, None if moved.ndim == 0 else moved)
        assert error(model.get_submodule(module)(inputs(module)), expected) < 1e-6
        if own.weight is not weight:
            # Half a unit in the last place of the true value, and as much of what is added: for its delta, for the
            # scale, and for their product.
            unit = 1.0001 * 2**-24
            assert (own.weight.double() - changed).abs().le(unit * (changed.abs() + 3 * (scale * delta).abs())).all()
            assert error(own.weight.double() - weight.double(), scale * delta) < 1e-5
    tuners.activate([("x", {module: 0.0})])
    assert model.get_submodule(module) is own
    assert own.weight is weight
    assert getattr(own, "bias", None) is bias


def test_differences_of_all_kinds_on_one_module_add_up(tmp_path: Path) -> None:
    model = kinds.Small()
    own = model.conv3
    weight, bias = own.weight, own.bias
    assert bias is not None
    makes = {"a": "lora", "b": "loha", "c": "dora", "d": "lokr tucker", "e": "full"}
    files, deltas = {}, {}
    for number, (name, case) in enumerate(makes.items()):
        tensors, made = kinds.file_of({"conv3": CASES[case][0]}, model, number)
        files[name] = translated(model, tensors, tmp_path / f"{name}.safetensors")
        deltas[name] = kinds.closed_form(made["conv3"], weight, 2.0), made["conv3"].get("diff_b", torch.zeros(12))
    tuners = loaded(model, **files)
    for scales in ({"a": 0.5, "b": 1.0, "c": -0.3, "d": 2.0, "e": 0.25}, {"e": 1.0, "a": -1.0}, {"c": 1.0}, {"b": 1.0}):
        tuners.activate([(name, {"conv3": scale}) for name, scale in scales.items()])
        changed = weight.double() + sum(scale * deltas[name][0] for name, scale in scales.items())
        moved = bias.double() + scales.get("e", 0.0) * deltas["e"][1].double()
        assert error(model.get_submodule("conv3")(inputs("conv3")), right(model, "conv3", changed, moved)) < 1e-6
    tuners.activate([])
    assert model.conv3 is own
    assert own.weight is weight
    assert own.bias is bias


def test_half_precision_is_rounded_once(tmp_path: Path) -> None:
    model = kinds.Small().to(torch.bfloat16)
    tensors, made = kinds.file_of({"conv3": CASES["dora of a lokr"][0]}, model, 3)
    weight = model.conv3.weight
    tuners = loaded(model, x=translated(model, tensors, tmp_path / "x.safetensors"))
    tuners.activate([("x", {"conv3": 0.6})])
    expected = weight.double() + 0.6 * kinds.closed_form(made["conv3"], weight, 2.0)
    assert torch.allclose(model.conv3.weight.double(), expected, rtol=1.0001 * 2**-8, atol=0)


def test_peft_s_own_layers_agree(tmp_path: Path) -> None:
    model = kinds.Small()
    for case, module, config, wrapper in (
        ("loha", "linear", LoHaConfig(r=3, alpha=2), peft_loha.layer.Linear),
        ("lokr", "linear", LoKrConfig(r=3, alpha=2, decompose_factor=2), peft_lokr.layer.Linear),
        ("loha tucker", "conv3", LoHaConfig(r=3, alpha=2, use_effective_conv2d=True), peft_loha.layer.Conv2d),
    ):
        tensors, made = kinds.file_of({module: CASES[case][0]}, model, 4)
        (change,) = translated(model, tensors, tmp_path / "x.safetensors").parts["unet"]
        layer: Any = wrapper(model.get_submodule(module), "x", config=config, r=3, alpha=2)
        for role, tensor in made[module].items():
            getattr(layer, role)["x"] = torch.nn.Parameter(tensor)
        expected = layer.get_delta_weight("x").double().detach()
        assert error(change.of_weight(model.get_submodule(module).weight), expected) < 1e-6  # type: ignore[union-attr, arg-type]


LYCORIS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "loha": (LohaModule, {}),
    "loha tucker": (LohaModule, {"use_tucker": True}),
    "lokr": (LokrModule, {"factor": 2, "lora_dim": 2}),
    "lokr tucker": (LokrModule, {"factor": 2, "lora_dim": 2, "use_tucker": True}),
    "lokr of factors": (LokrModule, {"factor": 8, "lora_dim": 1, "decompose_both": True}),
    "lokr whole": (LokrModule, {"factor": 2, "full_matrix": True}),
    "locon": (LoConModule, {}),
    "locon tucker": (LoConModule, {"use_tucker": True}),
    "full": (FullModule, {}),
    "dora": (LoConModule, {"weight_decompose": True}),
    "dora per input": (LoConModule, {"weight_decompose": True, "wd_on_out": False}),
    "dora of a loha": (LohaModule, {"weight_decompose": True}),
    "dora of a lokr": (LokrModule, {"factor": 2, "weight_decompose": True}),
    "glora": (GLoRAModule, {}),
    "ia3": (IA3Module, {}),
    "ia3 on inputs": (IA3Module, {"train_on_input": True}),
    "oft": (DiagOFTModule, {"lora_dim": 4}),
    "oft rescaled": (DiagOFTModule, {"lora_dim": 4, "rescaled": True, "constraint": 0.01}),
}


@pytest.mark.parametrize("module", ["plain", "conv1", "conv3"])
@pytest.mark.parametrize("case", LYCORIS)
def test_what_lycoris_saves_does_what_lycoris_does(case: str, module: str, tmp_path: Path) -> None:
    made, settings = LYCORIS[case]
    if module == "plain" and settings.get("use_tucker"):
        pytest.skip("a linear layer has no kernel")
    model, theirs = kinds.Small(), kinds.Small()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        trained = made(
            "x", theirs.get_submodule(module), **{"multiplier": 1.0, "lora_dim": 3, "alpha": 2.0, **settings}
        )
        for parameter in trained.parameters():
            parameter.data = torch.randn_like(parameter) * 0.5 + (1.0 if parameter.ndim > 2 else 0.0)
    trained.apply_to()
    tensors = trained.custom_state_dict() or trained.state_dict()
    stem = f"lora_unet_{module}"
    tensors = {f"{stem}.{role}": tensor.detach().clone() for role, tensor in tensors.items()}
    with torch.no_grad():
        expected = theirs.get_submodule(module)(inputs(module)).double()
    tuners = loaded(model, x=translated(model, tensors, tmp_path / "x.safetensors"))
    tuners.activate([("x", {module: 1.0})])
    assert error(model.get_submodule(module)(inputs(module)), expected) < 2e-6


@pytest.mark.parametrize("case", ["glora", "ia3", "ia3 on inputs", "oft"])
def test_what_is_made_of_the_base_goes_in_a_straight_line_too(case: str, tmp_path: Path) -> None:
    model = kinds.Small()
    made, settings = LYCORIS[case]
    trained = made("x", model.conv3, **{"multiplier": 1.0, "lora_dim": 4, "alpha": 2.0, **settings})
    for parameter in trained.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    tensors = {f"lycoris_conv3.{role}": tensor.detach().clone() for role, tensor in trained.state_dict().items()}
    own, weight = model.conv3, model.conv3.weight
    tuners = loaded(model, x=translated(model, tensors, tmp_path / "x.safetensors"))
    found = {}
    for scale in (1.0, 0.25, 0.0):
        tuners.activate([("x", {"conv3": scale})])
        found[scale] = own.weight.detach().double() - weight.double()
    assert error(found[0.25], found[1.0] / 4) < 1e-6
    assert own.weight is weight


def test_a_block_s_scale_is_its_modules_and_a_zero_leaves_the_base_s_own_weight(
    sd15_folder: Path, tmp_path: Path
) -> None:
    unet = plain_pipeline(sd15_folder).unet
    places = [
        f"{block}_blocks.{n}.attentions.0.transformer_blocks.0.attn1.to_q" for block, n in (("down", 1), ("up", 0))
    ]
    tensors, made = kinds.file_of(dict.fromkeys(places, kinds.loha), unet, 1)
    save_file(tensors, tmp_path / "x.safetensors")
    live, base = LivePipeline("cpu", "strict", 1), base_model(sd15_folder)
    own = {place: live.require(handle(base)).unet.get_submodule(place).weight for place in places}
    scale = {"unet": {"down": 0.5, "up": {"block_0": 0.0}}}
    changed = live.require(handle(base, lora_model(tmp_path / "x.safetensors"), style=scale)).unet
    down, up = (changed.get_submodule(place).weight for place in places)
    assert up is own[places[1]]
    weight = own[places[0]].detach()
    assert error(down.detach(), weight.double() + 0.5 * kinds.closed_form(made[places[0]], weight, 2.0)) < 1e-7


NETWORKS: dict[str, dict[str, Any]] = {
    "lora": {"use_tucker": True, "train_norm": True},
    "loha": {"dora_wd": True, "wd_on_out": False},
    "lokr": {"factor": 4, "unbalanced_factorization": True, "dora_wd": True},
    "full": {"train_norm": True},
    "glora": {},
    "ia3": {},
    "diag-oft": {"rescaled": True},
    "boft": {"rescaled": True, "constraint": 0.01},
}


@pytest.mark.parametrize("algo", NETWORKS)
def test_what_lycoris_saves_of_a_whole_unet_does_what_lycoris_does(
    algo: str, sd15_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TARGET_REPLACE_MODULE", "ENABLE_CONV"):
        monkeypatch.setattr(LycorisNetwork, name, getattr(LycorisNetwork, name))
    LycorisNetwork.apply_preset({"target_module": ["Transformer2DModel", "ResnetBlock2D"], "enable_conv": True})
    theirs, ours = (plain_pipeline(sd15_folder).unet for _ in range(2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_lycoris(theirs, 1.0, linear_dim=2, linear_alpha=1.0, algo=algo, **NETWORKS[algo])
        network.apply_to()
        for parameter in network.parameters():
            parameter.data += torch.randn_like(parameter) * 0.1
    file = translated(ours, {key: tensor.detach() for key, tensor in network.state_dict().items()}, tmp_path / "x")
    tuners = loaded(ours, x=file)
    tuners.activate([("x", {change.module: 1.0 for change in file.parts["unet"]})])
    generator = torch.Generator().manual_seed(1)
    latents, text = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 7, 32, generator=generator)
    with torch.no_grad():
        expected, found = (unet(latents, 5, text).sample for unet in (theirs, ours))
        untouched = plain_pipeline(sd15_folder).unet(latents, 5, text).sample
    assert error(found, expected.double()) < 3e-6
    assert error(untouched, expected.double()) > 0.01


@pytest.mark.parametrize("module", ["linear", "square"])
def test_a_dora_of_peft_at_scale_1_is_peft_s(module: str, tmp_path: Path) -> None:
    # The magnitude of a square convolution, [1, out, 1, 1], looks like one per input, and is not.
    model = kinds.Small()
    own: Any = model.get_submodule(module)
    roles = kinds.lora(own.weight.shape, torch.Generator().manual_seed(2))
    down, up = roles["lora_down.weight"], roles["lora_up.weight"]
    magnitude = torch.rand(1, own.weight.shape[0], *(1 for _ in own.weight.shape[2:])) + 0.5
    magnitude = magnitude.flatten() if module == "linear" else magnitude
    tensors = {
        f"unet.{module}.lora_A.weight": down,
        f"unet.{module}.lora_B.weight": up,
        f"unet.{module}.lora_magnitude_vector": magnitude,
    }
    config = LoraConfig(r=3, lora_alpha=3, use_dora=True, init_lora_weights=False)
    wrapper = peft_lora.Linear if module == "linear" else peft_lora.Conv2d
    layer: Any = wrapper(own, "x", config=config, r=3, lora_alpha=3).eval()
    layer.lora_A["x"].weight, layer.lora_B["x"].weight = torch.nn.Parameter(down), torch.nn.Parameter(up)
    layer.lora_magnitude_vector["x"].weight = torch.nn.Parameter(magnitude)
    with torch.no_grad():
        expected = layer(inputs(module)).double()
        tuners = loaded(model, x=translated(model, tensors, tmp_path / "x.safetensors"))
        tuners.activate([("x", {module: 1.0})])
        assert error(own(inputs(module)), expected) < 1e-6


def test_an_embedding_table_s_lora_as_peft_has_it(tmp_path: Path) -> None:
    model = kinds.Small()
    down, up = torch.randn(3, 20), torch.randn(12, 3)
    tensors = {"unet.table.lora_embedding_A": down, "unet.table.lora_embedding_B": up}
    weight = model.table.weight
    tuners = loaded(model, x=translated(model, tensors, tmp_path / "x.safetensors"))
    tuners.activate([("x", {"table": 0.5})])
    expected = weight.double() + 0.5 * (up.double() @ down.double()).T
    assert error(model.table(torch.arange(20)), expected) < 1e-6


def test_a_class_that_peft_has_no_layer_for_gets_a_whole_difference(tmp_path: Path) -> None:
    class Video(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv3d(4, 6, (3, 1, 1))

    model = Video()
    weight = model.conv.weight
    tensors, made = kinds.file_of({"conv": kinds.with_biases}, model, 1)
    tuners = loaded(model, x=translated(model, tensors, tmp_path / "x.safetensors"))
    tuners.activate([("x", {"conv": 1.0})])
    roles = made["conv"]
    expected = torch.einsum(
        "or,r...->o...", roles["lora_up.weight"].flatten(1).double(), roles["lora_down.weight"].double()
    )
    assert error(model.conv.weight.detach(), weight.detach().double() + 2 / 3 * expected) < 1e-7


def test_a_bias_that_is_no_part_of_the_class_is_refused(tmp_path: Path) -> None:
    class Root(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.RMSNorm(12)

    model = Root()
    tensors, _ = kinds.file_of({"norm": kinds.norm}, model, 1)
    file = translated(model, tensors, tmp_path / "x.safetensors")
    with pytest.raises(RecipeRunnerError, match="norm is a RMSNorm, which has no bias") as caught:
        Tuners(model).add("x", file.parts["unet"])
    assert caught.value.problems[0].code == "E631"


def test_an_alpha_needs_a_rank(tmp_path: Path) -> None:
    model = kinds.Small()
    tensors, _ = kinds.file_of({"norm": kinds.norm, "linear": kinds.full}, model, 1)
    with pytest.raises(RecipeRunnerError) as caught:
        translated(model, tensors, tmp_path / "x.safetensors", alpha=4.0)
    assert caught.value.problems[0].code == "E632"
    tensors, made = kinds.file_of({"linear": kinds.loha}, model, 1, alpha=None)
    (change,) = translated(model, tensors, tmp_path / "x.safetensors", alpha=4.0).parts["unet"]
    expected = kinds.closed_form(made["linear"], model.linear.weight, 4.0)
    assert error(change.of_weight(model.linear.weight), expected) < 1e-12  # type: ignore[union-attr, arg-type]
