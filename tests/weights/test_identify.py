"""What weights files are, told from their headers: key tables of every kind, real files, pickles, folders."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.containers import gguf_bytes, torch_zip
from support.key_tables import read_key_table, shorten
from support.safetensors_bytes import whole

from recipe_runner.weights.checkpoint.original_layout import expand
from recipe_runner.weights.files.contents import Contents
from recipe_runner.weights.identify.folder import identify
from recipe_runner.weights.identify.identity import Identity, identify_contents, identify_file

TABLES = sorted((Path(__file__).parent / "layouts" / "identify").glob("*.json"))
REAL = Path(__file__).parents[3] / "shared" / "data" / "adapters"


def of_shapes(shapes: Mapping[str, tuple[int, ...]], **more: Any) -> Identity:
    return identify_contents(
        "x", Contents(format="safetensors", shapes=shapes, dtypes=dict.fromkeys(shapes, "F16"), **more)
    )


def said(identity: Identity) -> dict[str, Any]:
    return {
        "kind": identity.kind,
        "layout": identity.layout,
        "family": identity.family,
        "variety": identity.tree.get("variety"),
    }


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_key_table_is_told_for_what_it_is(path: Path) -> None:
    tree = read_key_table(path)
    identity = of_shapes(tree["tensors"])
    found = said(identity)
    assert {key: found[key] for key in tree["expect"]} == tree["expect"]
    matches = [reason.kind for reason in identity.reasons if reason.verdict == "match"]
    assert len(matches) == (identity.kind != "unknown"), matches
    assert not identity.broken
    assert all(reason.reason for reason in identity.reasons)


def test_the_tables_are_many_and_small() -> None:
    expected = [read_key_table(path)["expect"] for path in TABLES]
    assert len({(e["kind"], e.get("layout"), e.get("family")) for e in expected}) >= 40
    assert len({e["family"] for e in expected if e.get("family")}) >= 20
    assert sum(path.stat().st_size for path in TABLES) < 900_000


def test_short_names_stand_for_what_they_say() -> None:
    shapes = {f"a.{i}.b{j}.{k}.weight": (2, 3) for i in (0, 1, 3) for j in (1, 2) for k in range(3)}
    short = shorten(shapes)
    assert short == {"a.{0-1,3}.b1.{0-2}.weight": [2, 3], "a.{0-1,3}.b2.{0-2}.weight": [2, 3]}
    assert expand(short) == shapes


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files of ../shared/data are not here")
@pytest.mark.parametrize(
    ("name", "kind", "layout", "family", "count", "details"),
    [
        ("lora-pokemon-peft.safetensors", "lora", "diffusers", "sd1", 256, {"ranks": {"4": 128}}),
        ("lora-attn-procs.safetensors", "lora", "diffusers", "sd1", 256, {"targets": {"unet": 128}}),
        ("lora-kohya-prefixed.safetensors", "lora", "kohya", "sd1", 256, {}),
        ("lora-cloneofsimo-disney.safetensors", "lora", "cloneofsimo", "sd1", 386, {"tokens": ["<s1>", "<s2>"]}),
        ("lora-sd21.safetensors", "lora", "diffusers", "sd2", 256, {}),
        ("lycoris-lokr-smart-falcon-4.safetensors", "lycoris", "kohya", "sd1", 1750, {"alphas": {"4": 350}}),
        ("ti-gta5-artwork.bin", "textual_inversion", "diffusers", "sd1", 1, {"token": "<gta5-artwork>"}),
        ("ti-learned-embeds.safetensors", "textual_inversion", "diffusers", "sd1", 1, {"vectors": 1}),
        ("ti-EasyNegative-a1111.safetensors", "textual_inversion", "a1111", "sd1", 1, {"vectors": 8}),
        ("ti-bad-artist-a1111.pt", "textual_inversion", "a1111", "sd1", 1, {"token": "bad-artist", "step": 1875}),
        ("ti-UnrealisticDream.pt", "textual_inversion", "a1111", "sd1", 1, {"vectors": 37}),
    ],
)
def test_a_real_file(name: str, kind: str, layout: str, family: str, count: int, details: dict[str, Any]) -> None:
    identity = identify_file(REAL / name)
    assert (identity.kind, identity.layout, identity.family, identity.tensor_count) == (kind, layout, family, count)
    found = identity.tree["details"]
    assert isinstance(found, dict)
    assert {key: found[key] for key in details} == details


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files of ../shared/data are not here")
def test_trainer_metadata_and_its_trigger_words_are_shown() -> None:
    identity = identify_file(REAL / "lycoris-lokr-smart-falcon-4.safetensors")
    words = identity.tree["trigger_words"]
    assert isinstance(words, list)
    assert words[0] == "smart falcon \\(umamusume\\)"
    metadata = identity.tree["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["ss_network_module"] == "lycoris.kohya"
    assert str(metadata["ss_tag_frequency"]).endswith(" characters)")


def test_metadata_is_shown_and_never_believed() -> None:
    stem = "lora_unet_single_blocks_0_linear1"
    shapes = {f"{stem}.lora_down.weight": (4, 3072), f"{stem}.lora_up.weight": (21504, 4)}
    metadata = {"ss_base_model_version": "sd_1.5", "modelspec.trigger_phrase": "ohwx man, photo"}
    identity = of_shapes(shapes, metadata=metadata)
    assert identity.family == "flux1"
    assert identity.tree["trigger_words"] == ["ohwx man", "photo"]


@pytest.mark.parametrize(
    ("dtype", "data", "alpha"),
    [("F32", struct.pack("<f", 8.0), "8"), ("F16", struct.pack("<e", 0.5), "0.5"), ("BF16", b"\x80\x3f", "1")],
)
def test_alphas_are_read_from_their_scalars(tmp_path: Path, dtype: str, data: bytes, alpha: str) -> None:
    stem = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    shapes = {f"{stem}.alpha": (), f"{stem}.lora_down.weight": (4, 768), f"{stem}.lora_up.weight": (640, 4)}
    path = tmp_path / "a.safetensors"
    written = whole(shapes, dtype=dtype)
    start = 8 + int.from_bytes(written[:8], "little")
    path.write_bytes(written[:start] + data + written[start + len(data) :])
    details = identify_file(path).tree["details"]
    assert isinstance(details, dict)
    assert details["alphas"] == {alpha: 1}


class Hostile:
    """An object whose unpickling would run a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how this is made again."""
        import os

        return os.system, (f"touch {self.path}",)


def test_a_malicious_pickle_shows_what_it_would_run_and_nothing_runs(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    data = pickle.dumps({"state_dict": Hostile(proof)}, protocol=2)
    for path in (torch_zip(tmp_path / "a.ckpt", data), tmp_path / "b.pt"):
        if path.suffix == ".pt":
            path.write_bytes(data)
        identity = identify_file(path)
        assert identity.kind == "unknown"
        assert identity.tree["foreign_globals"] == ["posix.system"]
        assert not proof.exists()


def test_a_bomb_of_references_is_no_bomb(tmp_path: Path) -> None:
    nested: Any = ()
    for _ in range(200):
        nested = (nested, nested)
    path = torch_zip(tmp_path / "a.pt", pickle.dumps({"a": nested}, protocol=4))
    assert identify_file(path).kind == "unknown"


def test_a_pickle_of_the_old_layout_a_module_and_a_parameter_dict(tmp_path: Path) -> None:
    import torch

    vectors = torch.zeros(2, 768)
    old = tmp_path / "old.pt"
    torch.save({"<cat>": vectors}, old, _use_new_zipfile_serialization=False)
    assert said(identify_file(old))["kind"] == "textual_inversion"
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
    original = tmp_path / "original.pt"
    torch.save({"string_to_token": {"*": 265}, "string_to_param": parameters}, original)
    identity = identify_file(original)
    assert (identity.kind, identity.layout, identity.family) == ("textual_inversion", "a1111", "sd1")
    nested = tmp_path / "nested.ckpt"
    torch.save({"params_ema": {"body.0.weight": torch.zeros(4, 3, 3, 3), "body.1.weight": torch.zeros(4)}}, nested)
    assert identify_file(nested).kind == "upscaler"
    layers = {320: ({"linear.0.weight": torch.zeros(640, 320)},) * 2, "name": "anime", "step": 9}
    hyper = tmp_path / "hyper.pt"
    torch.save(layers, hyper)
    assert identify_file(hyper).kind == "hypernetwork"


def test_a_gguf_file_is_told_by_its_tensors(tmp_path: Path) -> None:
    shapes = {f"single_blocks.{n}.linear1.weight": (21504, 3072) for n in range(38)}
    path = tmp_path / "flux.gguf"
    path.write_bytes(gguf_bytes(shapes, {"general.architecture": "flux"}))
    identity = identify_file(path)
    assert (identity.kind, identity.family) == ("transformer", "flux1")
    assert identity.tree["quantisation"] == "gguf Q4_K"
    assert identity.tree["values"] == {"general.architecture": "flux"}
    whole_file = path.read_bytes()
    for cut in (5, 30, len(whole_file) // 2, len(whole_file) - 1):
        path.write_bytes(whole_file[:cut])
        assert identify_file(path).broken


def component(folder: Path, shapes: Mapping[str, tuple[int, ...]], config: dict[str, Any], shards: int = 1) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = list(shapes)
    for number in range(shards):
        part = {name: shapes[name] for name in names[number::shards]}
        suffix = f"-0000{number + 1}-of-0000{shards}" if shards > 1 else ""
        (folder / f"diffusion_pytorch_model{suffix}.safetensors").write_bytes(whole(part, dtype="F8_E4M3"))
    return folder


TINY_VAE = {
    "encoder.conv_in.weight": (8, 3, 3, 3),
    "decoder.conv_in.weight": (8, 4, 3, 3),
    "decoder.up_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3),
}


def test_folders_of_components_and_pipelines(tmp_path: Path) -> None:
    base = tmp_path / "base"
    config = {"_class_name": "AutoencoderKL", "scaling_factor": 0.13025}
    component(base / "vae", TINY_VAE, config, shards=2)
    (identity,) = identify(base / "vae")
    assert (identity.kind, identity.family, identity.tensor_count) == ("vae", "sdxl", 3)
    (base / "scheduler").mkdir()
    (base / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "DDIMScheduler"}')
    index = {"_class_name": "StableDiffusionXLPipeline", "vae": ["diffusers", "AutoencoderKL"],
             "scheduler": ["diffusers", "DDIMScheduler"], "safety_checker": [None, None]}  # fmt: skip
    (base / "model_index.json").write_text(json.dumps(index))
    (identity,) = identify(base)
    assert (identity.kind, identity.layout, identity.broken) == ("pipeline", "diffusers", "")
    details = identity.tree["details"]
    assert isinstance(details, dict)
    assert details["class"] == "StableDiffusionXLPipeline"
    index["unet"] = ["diffusers", "UNet2DConditionModel"]
    (base / "model_index.json").write_text(json.dumps(index))
    (identity,) = identify(base)
    assert identity.broken == "folder unet is missing"


def test_a_folder_of_files_tells_each(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(whole({"<a>": (1, 768)}))
    (tmp_path / "b.safetensors").write_bytes(whole({"clip_l": (1, 768), "clip_g": (1, 1280)}))
    found = identify(tmp_path)
    assert [(Path(identity.path).name, identity.family) for identity in found] == [
        ("a.safetensors", "sd1"),
        ("b.safetensors", "sdxl"),
    ]
    (nothing,) = identify(Path(tmp_path / "none"))
    assert "file not found" in nothing.broken


def test_an_index_stands_for_its_shards(tmp_path: Path) -> None:
    folder = component(tmp_path / "vae", TINY_VAE, {"_class_name": "AutoencoderKL"}, shards=2)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    index.write_text(json.dumps({"weight_map": dict(zip(TINY_VAE, [shards[0], shards[1], shards[0]], strict=True))}))
    (identity,) = identify(index)
    assert (identity.kind, identity.tensor_count) == ("vae", 3)
    (folder / shards[1]).unlink()
    (identity,) = identify(index)
    assert identity.broken == f"1 of the 2 shards that it lists are missing: {shards[1]}"
    for useless in ("{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'):
        index.write_text(useless)
        assert "has no weight_map" in identify(index)[0].broken


def test_cloneofsimo_s_pickled_lists(tmp_path: Path) -> None:
    import torch

    pairs = [torch.zeros(320, 4), torch.zeros(4, 320), torch.zeros(320, 4), torch.zeros(4, 768)]
    torch.save(pairs, tmp_path / "a.pt")
    identity = identify_file(tmp_path / "a.pt")
    assert (identity.kind, identity.layout, identity.family) == ("lora", "cloneofsimo", "sd1")


@pytest.mark.parametrize(
    ("table", "changes", "variety"),
    [
        ("flux1", {"x_embedder.weight": (3072, 384)}, "fill"),
        ("flux1-bfl", {"img_in.weight": (3072, 128)}, "control"),
        ("unet-sd1", {"conv_in.weight": (320, 9, 3, 3)}, "inpainting"),
        ("checkpoint-sd2", {"model.diffusion_model.input_blocks.0.0.weight": (320, 5, 3, 3)}, "depth"),
        ("wan-14b", {"blocks.0.attn2.add_k_proj.weight": (5120, 5120)}, "image to video"),
    ],
)
def test_varieties_of_a_model(table: str, changes: dict[str, tuple[int, ...]], variety: str) -> None:
    tensors = read_key_table(TABLES[0].with_name(f"{table}.json"))["tensors"]
    assert of_shapes({**tensors, **changes}).tree["variety"] == variety


def test_flux_schnell_has_no_guidance() -> None:
    tensors = read_key_table(TABLES[0].with_name("flux1.json"))["tensors"]
    plain = {name: shape for name, shape in tensors.items() if "guidance" not in name}
    assert of_shapes(plain).tree["variety"] == "schnell (no guidance)"
