"""ComfyUI graphs in both formats."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipe_runner.exchange.importers.comfyui import read_comfyui
from recipe_runner.exchange.importers.recipe_text import ImportContext, recipe_of

API: dict[str, Any] = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sub\\dream.safetensors"}},
    "10": {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "first.safetensors", "strength_model": 0.8, "strength_clip": 0.5, "model": ["4", 0],
            "clip": ["4", 1],
        },
    },
    "11": {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "second.safetensors", "strength_model": 1, "strength_clip": 1, "model": ["10", 0],
            "clip": ["10", 1],
        },
    },
    "12": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2, "clip": ["11", 1]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a bear, embedding:nice", "clip": ["12", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ["20", 0], "clip": ["12", 0]}},
    "20": {"class_type": "String", "inputs": {"value": "blurry"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 2**64 - 1, "steps": 25, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras",
            "denoise": 1.0, "model": ["11", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["13", 0]}},
    "13": {"class_type": "VAELoader", "inputs": {"vae_name": "ft-mse.safetensors"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
}  # fmt: skip


def changed(**nodes: Any) -> dict[str, Any]:
    """The graph with nodes added or replaced (`n3=…` is node 3)."""
    return copy.deepcopy(API) | {name[1:]: node for name, node in nodes.items()}


def test_a_text_to_image_graph() -> None:
    found = read_comfyui(API)
    assert found is not None
    assert found.prompts == {"prompt": "a bear, nice", "negative_prompt": "blurry"}
    assert found.base is not None
    assert found.base.name == "sub\\dream.safetensors"
    assert found.seeds == (2**64 - 1,)
    assert found.sampling == {
        "num_inference_steps": 25, "guidance_scale": 6.5, "height": 768, "width": 512, "clip_skip": 1,
    }  # fmt: skip
    assert (found.sampler, found.schedule) == ("dpmpp_2m", "karras")
    assert found.components["vae"].name == "ft-mse.safetensors"
    assert [(each.kind, each.model.name, each.scale) for each in found.adapters] == [
        ("lora", "first.safetensors", {"unet": 0.8, "text_encoder": 0.5}),
        ("lora", "second.safetensors", 1.0),
        ("textual_inversion", "nice", 1.0),
    ]
    assert found.lost == ()


def test_a_second_pass_and_what_it_needs_are_told() -> None:
    second = copy.deepcopy(API["3"])
    second["inputs"] |= {"latent_image": ["30", 0], "denoise": 0.5, "seed": 5}
    found = read_comfyui(
        changed(
            n30={"class_type": "LatentUpscale", "inputs": {"samples": ["3", 0], "width": 1024, "height": 1536}},
            n31=second,
        )
    )
    assert found is not None
    assert found.seeds == (2**64 - 1,)
    assert found.sampling["height"] == 768
    assert [sentence.split(" (")[0] for sentence in found.lost] == ["the node LatentUpscale", "the node KSampler"]


def test_a_control_net_is_told_and_the_text_behind_it_is_read() -> None:
    control = {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {
            "positive": ["6", 0],
            "negative": ["7", 0],
            "strength": 0.9,
            "control_net": ["41", 0],
            "image": ["42", 0],
        },
    }
    graph = changed(n40=control, n41={"class_type": "ControlNetLoader", "inputs": {"control_net_name": "canny"}})
    graph["3"]["inputs"] |= {"positive": ["40", 0], "negative": ["40", 1]}
    found = read_comfyui(graph)
    assert found is not None
    assert found.prompts == {"prompt": "a bear, nice", "negative_prompt": "blurry"}
    assert any("ControlNetApplyAdvanced (strength=0.9)" in sentence for sentence in found.lost)
    assert "the node ControlNetLoader (control_net_name=canny)" in found.lost


def test_flux_s_separate_nodes() -> None:
    graph = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "t5", "clip_name2": "l", "type": "flux"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a bear", "clip": ["2", 0]}},
        "4": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["3", 0]}},
        "5": {"class_type": "BasicGuider", "inputs": {"model": ["11", 0], "conditioning": ["4", 0]}},
        "6": {"class_type": "RandomNoise", "inputs": {"noise_seed": 42}},
        "7": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "8": {
            "class_type": "BasicScheduler",
            "inputs": {"scheduler": "simple", "steps": 20, "denoise": 1.0, "model": ["1", 0]},
        },
        "9": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
        "10": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["6", 0], "guider": ["5", 0], "sampler": ["7", 0], "sigmas": ["8", 0], "latent_image": ["9", 0]
            },
        },
        "11": {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {"lora_name": "x.safetensors", "strength_model": 0.7, "model": ["1", 0]},
        },
    }  # fmt: skip
    found = read_comfyui(graph)
    assert found is not None
    assert found.prompts == {"prompt": "a bear"}
    assert (found.flow, found.seeds, found.sampler, found.schedule) == (True, (42,), "euler", "simple")
    assert found.sampling == {"num_inference_steps": 20, "guidance_scale": 3.5, "height": 1024, "width": 1024}
    assert found.base is not None
    assert found.base.name == "flux1-dev.safetensors"
    assert [(each.model.name, each.scale) for each in found.adapters] == [("x.safetensors", 0.7)]
    assert found.lost == ()


WORKFLOW: dict[str, Any] = {
    "nodes": [
        {"id": 1, "type": "CheckpointLoaderSimple", "inputs": [], "widgets_values": ["dream.safetensors"]},
        {"id": 2, "type": "CLIPTextEncode", "inputs": [{"name": "clip", "link": 1}], "widgets_values": ["a bear"]},
        {"id": 3, "type": "CLIPTextEncode", "inputs": [{"name": "clip", "link": 2}], "widgets_values": ["blurry"]},
        {"id": 4, "type": "EmptyLatentImage", "inputs": [], "widgets_values": [512, 640, 1]},
        {"id": 8, "type": "Reroute", "inputs": [{"name": "", "link": 8}], "outputs": []},
        {
            "id": 9, "type": "LoraLoader", "mode": 4,
            "inputs": [{"name": "model", "link": 9}, {"name": "clip", "link": None}],
            "widgets_values": ["off.safetensors", 1, 1],
        },
        {
            "id": 5, "type": "KSampler",
            "inputs": [
                {"name": "model", "link": 3}, {"name": "positive", "link": 4}, {"name": "negative", "link": 5},
                {"name": "latent_image", "link": 6},
            ],
            "widgets_values": [7, "randomize", 20, 8, "euler_ancestral", "normal", 1],
        },
        {"id": 6, "type": "CLIPTextEncode", "mode": 2, "inputs": [], "widgets_values": ["muted"]},
    ],
    "links": [
        [1, 1, 1, 2, 0, "CLIP"], [2, 1, 1, 3, 0, "CLIP"], [3, 8, 0, 5, 0, "MODEL"], [4, 2, 0, 5, 1, "CONDITIONING"],
        [5, 3, 0, 5, 2, "CONDITIONING"], [6, 4, 0, 5, 3, "LATENT"], [8, 9, 0, 8, 0, "MODEL"], [9, 1, 0, 9, 0, "MODEL"],
    ],
}  # fmt: skip


def test_the_editor_s_workflow() -> None:
    found = read_comfyui(WORKFLOW)
    assert found is not None
    assert found.prompts == {"prompt": "a bear", "negative_prompt": "blurry"}
    assert found.seeds == (7,)
    assert found.sampling == {"num_inference_steps": 20, "guidance_scale": 8.0, "height": 640, "width": 512}
    assert found.base is not None
    assert found.base.name == "dream.safetensors"
    # A bypassed node does nothing, a muted one is not there.
    assert (found.adapters, found.lost) == ((), ())


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"1": {"class_type": "SaveImage", "inputs": {}}},
        {"nodes": [], "links": []},
        {"nodes": [{"id": [1]}, 7], "links": [[[1], 2, 3, 4, 5], {"id": {}}, 9]},
        {"a": 1},
    ],
)
def test_what_samples_nothing_is_no_generation(tree: dict[str, Any]) -> None:
    assert read_comfyui(tree) is None


def test_circles_end() -> None:
    graph = copy.deepcopy(API)
    graph["6"] = {
        "class_type": "ConditioningCombine",
        "inputs": {"conditioning_1": ["6", 0], "conditioning_2": ["7", 0]},
    }
    graph["10"]["inputs"]["model"] = ["11", 0]
    graph["20"]["inputs"]["value"] = ["20", 0]
    graph["5"] = {"class_type": "Reroute", "inputs": {"": ["5", 0]}}
    found = read_comfyui(graph)
    assert found is not None
    assert found.base is None


def test_a_graph_inside_a_node_is_laid_out() -> None:
    inner = {
        "id": "a-uuid",
        "nodes": [
            {"id": 2, "type": "CLIPTextEncode", "inputs": [
                {"name": "clip", "link": 11}, {"name": "text", "link": 12, "widget": {"name": "text"}}],
             "widgets_values": ["the inner text"]},
            {"id": 3, "type": "CLIPTextEncode", "inputs": [{"name": "clip", "link": 13}], "widgets_values": ["blurry"]},
        ],
        "links": [
            {"id": 11, "origin_id": -10, "origin_slot": 0, "target_id": 2, "target_slot": 0},
            {"id": 12, "origin_id": -10, "origin_slot": 1, "target_id": 2, "target_slot": 1},
            {"id": 13, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 0},
            {"id": 14, "origin_id": 2, "origin_slot": 0, "target_id": -20, "target_slot": 0},
            {"id": 15, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 1},
        ],
    }  # fmt: skip
    outer = copy.deepcopy(WORKFLOW)
    outer["nodes"] = [node for node in outer["nodes"] if node["id"] not in (2, 3)]
    outer["nodes"].append({
        "id": 20, "type": "a-uuid", "widgets_values": ["the outer text"],
        "inputs": [{"name": "clip", "link": 1}, {"name": "text", "link": None, "widget": {"name": "text"}}],
    })  # fmt: skip
    ends = {4: [4, 20, 0, 5, 1, "CONDITIONING"], 5: [5, 20, 1, 5, 2, "CONDITIONING"], 1: [1, 1, 1, 20, 0, "CLIP"]}
    outer["links"] = [ends.get(link[0], link) for link in outer["links"] if link[0] != 2]
    found = read_comfyui({**outer, "definitions": {"subgraphs": [inner]}})
    assert found is not None
    assert found.prompts == {"prompt": "the outer text", "negative_prompt": "blurry"}
    assert found.lost == ()


def test_a_graph_inside_itself_ends() -> None:
    node = {"id": 1, "type": "me", "inputs": []}
    tree = {
        "nodes": [node, node],
        "links": [],
        "definitions": {"subgraphs": [{"id": "me", "nodes": [node] * 9, "links": []}]},
    }
    assert read_comfyui(tree) is None


def test_loaders_that_do_everything() -> None:
    found = read_comfyui(
        {
            "1": {
                "class_type": "Efficient Loader",
                "inputs": {
                    "ckpt_name": "dream.safetensors", "lora_name": "style.safetensors", "lora_model_strength": 0.5,
                    "positive": "a bear", "negative": "blurry", "empty_latent_width": 512, "empty_latent_height": 640,
                },
            },
            "3": {
                "class_type": "LoRA Stacker",
                "inputs": {"lora_name_1": "a.safetensors", "lora_wt_1": 0.4, "lora_name_2": "None", "model": ["1", 0]},
            },
            "2": {
                "class_type": "KSampler (Efficient)",
                "inputs": {
                    "seed": 5, "steps": 20, "cfg": 7, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
                    "model": ["3", 0], "positive": ["1", 1], "negative": ["1", 2], "latent_image": ["1", 3],
                },
            },
        }
    )  # fmt: skip
    assert found is not None
    assert found.prompts == {"prompt": "a bear", "negative_prompt": "blurry"}
    assert (found.sampling["height"], found.sampling["width"]) == (640, 512)
    assert [(each.model.name, each.scale) for each in found.adapters] == [
        ("style.safetensors", 0.5),
        ("a.safetensors", 0.4),
    ]


@pytest.mark.parametrize(
    ("strengths", "scale"),
    [
        ({"lora_model_strength": 0.5, "lora_clip_strength": 0.25}, {"unet": 0.5, "text_encoder": 0.25}),
        ({"lora_model_strength": 0.5, "lora_clip_strength": 0.5}, 0.5),
        ({"strength_model": 0.5}, 0.5),
        ({"strength_model": 0.5, "strength_clip": None}, 0.5),
        ({}, 1.0),
    ],
)
def test_strengths_of_a_lora_for_the_model_and_the_text_encoder(strengths: dict[str, Any], scale: Any) -> None:
    loader = {"ckpt_name": "a.safetensors", "lora_name": "b.safetensors", "positive": "a bear", **strengths}
    sampler = {"model": ["1", 0], "positive": ["1", 1], "latent_image": ["1", 3], "sampler_name": "euler"}
    found = read_comfyui(
        {
            "1": {"class_type": "Efficient Loader", "inputs": loader},
            "2": {"class_type": "KSampler (Efficient)", "inputs": sampler},
        }
    )
    assert found is not None
    assert [adapter.scale for adapter in found.adapters] == [scale]


SCRAPS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-5, 9) | st.floats() | st.text(max_size=9) | st.just({}) | st.just([])
)
LINKS: st.SearchStrategy[Any] = st.tuples(st.sampled_from([*API, "99"]), st.integers(-1, 3)).map(list)


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(st.tuples(st.sampled_from(sorted(API)), st.integers(0, 9), SCRAPS | LINKS), max_size=8),
    kinds=st.dictionaries(st.sampled_from(sorted(API)), st.sampled_from(["Reroute", "KSampler", "X", "FluxGuidance"])),
)
def test_any_change_of_a_graph_is_read_or_not(changes: list[tuple[str, int, Any]], kinds: dict[str, str]) -> None:
    graph = copy.deepcopy(API)
    for key, number, value in changes:
        names = sorted(graph[key]["inputs"])
        graph[key]["inputs"][names[number % len(names)]] = value
    for key, kind in kinds.items():
        graph[key]["class_type"] = kind
    found = read_comfyui(graph)
    if found is not None:
        recipe_of(found, "x", ImportContext(folder=Path()))


def test_a_huge_graph_costs_no_time() -> None:
    graph: dict[str, Any] = {
        f"x{n}": {"class_type": "Reroute", "inputs": {"": [f"x{n + 1}", 0], "latent_image": [f"x{n + 1}", 0]}}
        for n in range(30_000)
    }
    samplers = {
        f"s{n}": {"class_type": "KSampler", "inputs": {"latent_image": ["x0", 0], "positive": ["x0", 0]}}
        for n in range(3_000)
    }
    assert read_comfyui(graph | samplers) is not None
