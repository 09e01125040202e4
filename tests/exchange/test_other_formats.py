"""InvokeAI's three ages, diffusers-workflow, Fooocus and SwarmUI."""

from __future__ import annotations

import json

import pytest

from recipe_runner.exchange.importers.read import read_text


@pytest.mark.parametrize(
    "text",
    [
        '"a bear [blurry, text] at sea" -s50 -W512 -H640 -C7.5 -Ak_euler_a -S42',
        "a bear [blurry, text] at sea -s 50 -S 42 -W 512 -H 640 -C 7.5 -A k_euler_a",
    ],
)
def test_a_dream_line(text: str) -> None:
    found = read_text(text)
    assert found is not None
    assert found.prompts == {"prompt": "a bear  at sea", "negative_prompt": "blurry, text"}
    assert found.seeds == (42,)
    assert found.sampling == {"num_inference_steps": 50, "guidance_scale": 7.5, "height": 640, "width": 512}
    assert (found.program, found.sampler, found.lost) == ("InvokeAI", "k_euler_a", ())


def test_an_initial_image_of_a_dream_is_told() -> None:
    found = read_text('"fire" -s 29 -S 1 -I /tmp/a.png -f 0.7')
    assert found is not None
    assert found.lost == ("the initial image (-I /tmp/a.png)", "the strength of the initial image (-f 0.7)")


def test_invokeai_metadata() -> None:
    text = json.dumps(
        {
            "app_version": "5.0", "generation_mode": "sdxl_txt2img", "positive_prompt": "a bear",
            "negative_prompt": "blurry", "positive_style_prompt": "film", "negative_style_prompt": "blurry",
            "width": 512,
            "height": 640, "seed": 5, "rand_device": "cpu", "cfg_scale": 6, "cfg_rescale_multiplier": 0.5, "steps": 30,
            "scheduler": "dpmpp_2m_sde_k", "clip_skip": 1, "vae": {"name": "fix", "base": "sdxl"},
            "model": {"key": "k", "hash": "blake3:12", "name": "Dream XL", "base": "sdxl", "type": "main"},
            "loras": [{"model": {"name": "style", "hash": "blake3:34"}, "weight": 0.6}], "controlnets": [],
            "hrf_enabled": True,
        }
    )  # fmt: skip
    found = read_text(text)
    assert found is not None
    assert found.prompts == {"prompt": "a bear", "negative_prompt": "blurry", "prompt_2": "film"}
    assert found.sampling == {
        "num_inference_steps": 30, "guidance_scale": 6.0, "height": 640, "width": 512, "guidance_rescale": 0.5,
        "clip_skip": 1,
    }  # fmt: skip
    assert found.base is not None
    assert found.base.name == "Dream XL"
    assert [(each.model.name, each.scale) for each in found.adapters] == [("style", 0.6)]
    assert found.components["vae"].name == "fix"
    assert found.lost == ("hrf_enabled: True",)


JOB = {
    "id": "FluxLora",
    "variables": {"prompt": "a bear", "lora": "XLabs-AI/flux-RealismLora", "steps": {"type": "integer", "default": 25}},
    "seed": 11,
    "steps": [
        {"name": "look", "task": {"command": "gather_images", "inputs": []}},
        {
            "name": "draw",
            "pipeline": {
                "configuration": {"component_type": "FluxPipeline", "offload": "model"},
                "from_pretrained_arguments": {"model_name": "black-forest-labs/FLUX.1-dev",
                "torch_dtype": "torch.bfloat16"},
                "scheduler": {
                    "configuration": {"scheduler_type": "diffusers.FlowMatchEulerDiscreteScheduler"},
                    "from_config_args": {"use_beta_sigmas": True},
                },
                "loras": [{"model_name": "variable:lora", "weight_name": "lora.safetensors", "scale": 0.9}],
                "arguments": {
                    "prompt": "variable:prompt", "num_inference_steps": "variable:steps", "guidance_scale": 3.5,
                    "num_images_per_prompt": 2, "max_sequence_length": 512, "image": {"location": "a.png"},
                },
            },
        },
    ],
}  # fmt: skip


def test_a_diffusers_workflow_job() -> None:
    found = read_text(json.dumps(JOB))
    assert found is not None
    assert found.prompts == {"prompt": "a bear"}
    assert (found.pipeline, found.dtype, found.seeds) == ("FluxPipeline", "bfloat16", (11,))
    assert found.sampling == {"num_inference_steps": 25, "guidance_scale": 3.5, "max_sequence_length": 512}
    assert found.scheduler == ("FlowMatchEulerDiscreteScheduler", {"use_beta_sigmas": True})
    (lora,) = found.adapters
    assert (lora.model.name, dict(lora.model.options), lora.scale) == (
        "XLabs-AI/flux-RealismLora", {"weight_name": "lora.safetensors"}, 0.9,
    )  # fmt: skip
    assert found.lost == (
        "the step look",
        "2 images from one generator: only the first has a seed of its own",
        "the argument image: {'location': 'a.png'}",
    )


def test_a_variable_that_names_itself_ends() -> None:
    job = {**JOB, "variables": {"prompt": "variable:prompt", "lora": "variable:lora"}}
    assert read_text(json.dumps(job)) is None


def test_fooocus_and_swarmui() -> None:
    fooocus = read_text(
        json.dumps(
            {
                "prompt": "a bear", "negative_prompt": "blurry", "guidance_scale": 4.0, "steps": 30, "seed": "7",
                "resolution": "(896, 1152)", "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras",
                "base_model": "juggernaut",
                "base_model_hash": "aeb7e9e689", "loras": [["offset.safetensors", 0.1, "4852686128"]], "sharpness": 2.0,
            }
        )
    )  # fmt: skip
    assert fooocus is not None
    assert fooocus.sampling == {"num_inference_steps": 30, "guidance_scale": 4, "height": 1152, "width": 896}
    assert (fooocus.seeds, fooocus.adapters[0].scale, fooocus.lost) == ((7,), 0.1, ("sharpness: 2.0",))
    swarm = read_text(
        json.dumps(
            {
                "sui_image_params": {
                    "prompt": "a bear", "negativeprompt": "", "model": "dream", "seed": 7, "steps": 20, "cfgscale": 5.0,
                    "width": 512, "height": 640, "loras": ["style"], "loraweights": ["0.5"], "clipstopatlayer": "-2",
                }
            }
        )
    )  # fmt: skip
    assert swarm is not None
    assert (swarm.adapters[0].scale, swarm.sampling["clip_skip"]) == (0.5, 1)


def test_swarmui_s_hashes_and_lists_as_text() -> None:
    found = read_text(
        json.dumps(
            {
                "sui_image_params": {
                    "prompt": "office <segment:face,0.6> detail", "model": "dream", "seed": 1, "steps": 16,
                    "cfgscale": 2.0,
                    "loras": "styleA,turbo", "loraweights": "0.4,0.7", "initimagecreativity": 0.6,
                },
                "sui_models": [
                    {"name": "dream.safetensors", "param": "model", "hash": "0x84fc41ea0821fa0a"},
                    {"name": "styleA.safetensors", "param": "loras", "hash": "0xe8055d97ec312203"},
                ],
            }
        )
    )  # fmt: skip
    assert found is not None
    assert found.base is not None
    assert dict(found.base.hashes) == {"hash": "0x84fc41ea0821fa0a"}
    assert [(each.model.name, each.scale, dict(each.model.hashes)) for each in found.adapters] == [
        ("styleA", 0.4, {"hash": "0xe8055d97ec312203"}),
        ("turbo", 0.7, {}),
    ]
    assert found.lost == (
        "the prompt: the tag `<segment:face,0.6>` is read as plain words",
        "initimagecreativity: 0.6",
    )


def test_empty_places_in_lists_of_loras_are_left_out() -> None:
    loras = [["None", 1.0], [None, 1.0], ["", 1.0], "x", ["style", "0.5"], ["bare", None]]
    found = read_text(
        json.dumps({"prompt": "a bear", "base_model": "m", "loras": loras, "lora_combined_1": "None : 1"})
    )
    assert found is not None
    assert [(each.model.name, each.scale) for each in found.adapters] == [("style", 0.5), ("bare", 1.0)]


def test_a_lora_tag_in_a_negative_prompt_is_an_adapter() -> None:
    values = {"prompt": "a bear", "negativeprompt": "blurry <lora:style:-0.5>", "steps": 20, "seed": 1}
    found = read_text(json.dumps({"sui_image_params": values}))
    assert found is not None
    assert found.prompts == {"prompt": "a bear", "negative_prompt": "blurry"}
    assert [(each.model.name, each.scale) for each in found.adapters] == [("style", -0.5)]


def test_novelai() -> None:
    text = {
        "prompt": "gigantic, {{tall}}", "uc": "lowres", "steps": 28, "sampler": "k_euler_ancestral", "scale": 5.0,
        "noise_schedule": "karras", "cfg_rescale": 0.4, "seed": 12345, "width": 832, "height": 1216,
    }  # fmt: skip
    found = read_text(json.dumps(text))
    assert found is not None
    assert (found.program, found.seeds, found.sampling["guidance_scale"]) == ("NovelAI", (12345,), 5)
    assert found.lost == ("NovelAI's model, which is not published", "cfg_rescale: 0.4")
