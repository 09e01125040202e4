"""A ComfyUI graph, read from its sampler backwards: text, adapters, checkpoint, size.

A graph can do anything; a recipe draws from text. So the first sampler that starts from empty latents becomes the
recipe, and every node that it does not need is named as lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.comfy_graph import ComfyNode, api_graph
from recipe_runner.exchange.importers.comfy_models import comfy_models, comfy_vae
from recipe_runner.exchange.importers.comfy_prompts import comfy_prompt
from recipe_runner.exchange.importers.comfy_walk import ComfyWalk
from recipe_runner.exchange.importers.comfy_workflow import workflow_graph
from recipe_runner.exchange.importers.foreign_json import float_of, given, integer_of, number_of, text_of
from recipe_runner.exchange.importers.generation import (
    ForeignGeneration,
    ForeignModel,
    clip_skip_of,
    guidance_of,
    single_seed,
    with_vae,
)
from recipe_runner.exchange.importers.prompt_syntax import plain_prompts

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_LATENTS = ("latent_image", "latent", "samples")
_PIXELS = ("pixels", "image", "samples")
_GUIDANCE = ("FluxGuidance", "CLIPTextEncodeFlux")
_FLOW_NODES = re.compile("Flux|SD3|AuraFlow|DualCLIPLoader|TripleCLIPLoader|QwenImage|Chroma|HiDream|Lumina")
_FLOW_BASES = re.compile("flux|sd3", re.IGNORECASE)
_MOST_SAMPLERS = 50


def read_comfyui(tree: Mapping[str, Any]) -> ForeignGeneration | None:
    """What a graph in the API or the editor's format says; None when `tree` is not a graph or samples nothing."""
    inner = tree.get("prompt")
    if isinstance(inner, Mapping):
        # The body of a request, and what a file of Civitai's has.
        return read_comfyui(inner)
    graph = workflow_graph(tree) or api_graph(tree)
    if graph is None:
        return None
    walk = ComfyWalk(graph)
    sampler = _first_sampler(walk)
    if sampler is None:
        return None
    return _generation(walk, sampler)


def _first_sampler(walk: ComfyWalk) -> ComfyNode | None:
    """The sampler that the others build on: one whose latents come from no other sampler, else the first."""
    samplers = [node for node in walk.graph.values() if _is_sampler(node)][:_MOST_SAMPLERS]
    for node in samplers:
        if not any(map(_is_sampler, walk.upstream(node, _LATENTS))):
            return node
    return next(iter(samplers), None)


def _is_sampler(node: ComfyNode) -> bool:
    inputs = node.inputs
    return "latent_image" in inputs and ("positive" in inputs or "guider" in inputs or "sampler_name" in inputs)


def _generation(walk: ComfyWalk, sampler: ComfyNode) -> ForeignGeneration:
    walk.used.add(sampler.key)
    adapters, base = comfy_models(walk, sampler)
    clip_skip = _clip_skip(walk)
    prompts = plain_prompts(comfy_prompt(walk, sampler, "positive"), comfy_prompt(walk, sampler, "negative"), "comfyui")
    sampling = _sampling(walk, sampler, clip_skip)
    vae = comfy_vae(walk, sampler)
    seeds = single_seed(walk.value(sampler, "seed", "noise_seed"))
    sampler_name = text_of(walk.value(sampler, "sampler_name"))
    schedule = str(walk.value(sampler, "scheduler") or "")
    walk.lose_the_rest()
    return ForeignGeneration(
        program="ComfyUI",
        prompts=prompts.texts,
        seeds=seeds,
        sampling=sampling,
        sampler=sampler_name,
        schedule=schedule,
        flow=_is_flow(walk, base),
        base=base,
        components=with_vae(vae),
        adapters=(*adapters, *prompts.adapters),
        lost=(*prompts.lost, *walk.lost),
    )


def _is_flow(walk: ComfyWalk, base: ForeignModel | None) -> bool:
    if any(_FLOW_NODES.search(node.kind) for node in walk.graph.values()):
        return True
    return base is not None and _FLOW_BASES.search(base.name) is not None


def _clip_skip(walk: ComfyWalk) -> int | None:
    nodes = walk.of_kinds("CLIPSetLastLayer")
    if not nodes:
        return None
    walk.used.update(node.key for node in nodes)
    return clip_skip_of(integer_of(walk.value(nodes[0], "stop_at_clip_layer")))


def _sampling(walk: ComfyWalk, sampler: ComfyNode, clip_skip: int | None) -> dict[str, Json]:
    guidance = _guidance(walk, sampler)
    steps = integer_of(walk.value(sampler, "steps"))
    _lose_partial_sampling(walk, sampler, steps)
    height, width, count = _size(walk, sampler)
    if count is not None and count > 1:
        walk.lost.append(f"a batch of {count}: one seed is written")
    return given({"num_inference_steps": steps, **guidance, "height": height, "width": width, "clip_skip": clip_skip})


def _guidance(walk: ComfyWalk, sampler: ComfyNode) -> dict[str, Json]:
    cfg, distilled = float_of(walk.value(sampler, "cfg")), None
    nodes = walk.of_kinds(*_GUIDANCE)
    if nodes:
        walk.used.add(nodes[0].key)
        distilled = float_of(walk.value(nodes[0], "guidance"))
    return guidance_of(cfg, distilled)


def _lose_partial_sampling(walk: ComfyWalk, sampler: ComfyNode, steps: int | None) -> None:
    """Note a sampler that takes only some of the steps, or does not begin with pure noise."""
    start, end = walk.value(sampler, "start_at_step"), walk.value(sampler, "end_at_step")
    starts_late = (integer_of(start) or 0) > 0
    ends_early = steps is not None and (integer_of(end) or steps) < steps
    if starts_late or ends_early:
        walk.lost.append(f"only the steps from {start} to {end} are taken")
    denoise = number_of(walk.value(sampler, "denoise"))
    if denoise is not None and denoise != 1:
        walk.lost.append(f"denoise {denoise}: the image did not begin as pure noise")


def _size(walk: ComfyWalk, sampler: ComfyNode) -> tuple[int | None, int | None, int | None]:
    """Height and width in pixels, and the number of images, of the node that makes the empty latents."""
    for node in walk.upstream(sampler, _LATENTS):
        if any(name in _PIXELS for name, _ in node.links()):
            walk.lose(node, "the latents come from an image:")
            continue
        prefix = "empty_latent_" if "empty_latent_width" in node.inputs else ""
        height, width = f"{prefix}height", f"{prefix}width"
        if height in node.inputs and width in node.inputs:
            walk.used.add(node.key)
            return _integer(walk, node, height), _integer(walk, node, width), _integer(walk, node, "batch_size")
    return None, None, None


def _integer(walk: ComfyWalk, node: ComfyNode, name: str) -> int | None:
    return integer_of(walk.value(node, name))
