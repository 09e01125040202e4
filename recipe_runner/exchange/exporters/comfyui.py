"""Export a recipe as one ComfyUI graph in API format: one sampler for each image, with shared loaders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from recipe_runner.canonical import mapping
from recipe_runner.exchange.exporters.exported import Exported, ExportRefused
from recipe_runner.exchange.exporters.prompt_text import file_name, foreign_prompt, unusual_arguments, with_suffix
from recipe_runner.exchange.importers.size import picture_size, size_note
from recipe_runner.images.sampler_names import comfyui_names
from recipe_runner.pipelines.family import PIPELINE_FAMILIES
from recipe_runner.pipelines.guidance import guidance_argument
from recipe_runner.plan.resolved import ResolvedLora
from recipe_runner.problems.problem import Problem
from recipe_runner.record.generation import scheduler_of

if TYPE_CHECKING:
    from recipe_runner.plan.compile import Plan
    from recipe_runner.plan.resolved import ResolvedAdapter
    from recipe_runner.plan.resolved_base import ResolvedBase
    from recipe_runner.plan.resolved_recipe import ResolvedPrompt, ResolvedVariant

_LATENTS = {name: family.latent_node for name, family in PIPELINE_FAMILIES.items()}
_PIPELINES = tuple(_LATENTS)
_LATENTS["auto"] = _LATENTS["StableDiffusionPipeline"]
"""The node that makes empty latents; a base that is not on this machine is assumed to be Stable Diffusion."""
_WRITTEN = ("num_inference_steps", "guidance_scale", "height", "width", "clip_skip", "true_cfg_scale")
Link = list[Any]


def to_comfyui(plan: Plan) -> Exported:
    """The graph that `POST /prompt` takes as its `prompt`.

    Raises:
        ExportRefused: E861 ComfyUI has no nodes for the pipeline.
    """
    return _Graph(plan).exported()


class _Graph:
    """Nodes by their contents, so that images share equal nodes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._nodes: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str] = {}
        self._notes: dict[str, None] = {}

    def exported(self) -> Exported:
        self._notes["ComfyUI has its own samplers: images are similar, not equal"] = None
        prompts = {}
        for variant in self._plan.recipe.variants:
            for prompt in variant.prompts:
                prompts[variant.index, prompt.id] = prompt
        for image in self._plan.images:
            variant = self._plan.recipe.variants[image.variant]
            name = f"{self._plan.recipe.name}/{image.path.rpartition('.')[0]}"
            self._image(variant, prompts[image.variant, image.prompt], image.seed, name)
        text = json.dumps(self._nodes, indent=2, ensure_ascii=False) + "\n"
        return Exported(texts={f"{self._plan.recipe.name}.json": text}, notes=tuple(self._notes))

    def _add(self, kind: str, **inputs: Any) -> str:
        contents = json.dumps([kind, inputs], sort_keys=True)
        if contents not in self._keys:
            self._keys[contents] = str(len(self._nodes) + 1)
            self._nodes[self._keys[contents]] = {"class_type": kind, "inputs": inputs}
        return self._keys[contents]

    def _image(self, variant: ResolvedVariant, prompt: ResolvedPrompt, seed: int, name: str) -> None:
        base, sampling = variant.base, variant.sampling
        if base.pipeline not in _LATENTS:
            hint = f"it has nodes for {', '.join(_PIPELINES)}"
            raise ExportRefused(Problem(code="E861", message=f"ComfyUI has no nodes for {base.pipeline}", hint=hint))
        self._note_left_out(variant)
        model, clip, vae = self._base(base)
        for adapter in variant.adapters:
            model, clip = self._adapter(adapter, model, clip)
        skip = sampling.get("clip_skip")
        if isinstance(skip, int):
            clip = [self._add("CLIPSetLastLayer", stop_at_clip_layer=-(skip + 1), clip=clip), 0]
        texts = {key: foreign_prompt(text, variant, "comfyui") for key, text in prompt.texts.items()}
        height, width = picture_size(base, sampling)
        if guess := size_note(base, sampling):
            self._notes[guess] = None
        latent = [self._add(_LATENTS[base.pipeline], width=width, height=height, batch_size=1), 0]
        positive = self._text(clip, texts, "", (height, width))
        negative = self._text(clip, texts, "negative_", (height, width))
        cfg = sampling.get("guidance_scale", 1.0)
        if guidance_argument(base.pipeline) == "true_cfg_scale":
            positive = [self._add("FluxGuidance", guidance=cfg, conditioning=positive), 0]
            cfg = sampling.get("true_cfg_scale", 1.0)
        sampler, schedule = self._sampler(base)
        sampled = self._add(
            "KSampler",
            seed=seed, steps=sampling.get("num_inference_steps", 20), cfg=cfg, sampler_name=sampler, scheduler=schedule,
            denoise=1.0, model=model, positive=positive, negative=negative, latent_image=latent,
        )  # fmt: skip
        decoded = self._add("VAEDecode", samples=[sampled, 0], vae=vae)
        self._add("SaveImage", filename_prefix=name, images=[decoded, 0])

    def _base(self, base: ResolvedBase) -> tuple[Link, Link, Link]:
        if base.weight_name is not None:
            key = self._add("CheckpointLoaderSimple", ckpt_name=PurePosixPath(base.weight_name).name)
        else:
            name = PurePosixPath(base.source.address.rstrip("/")).name
            key = self._add("DiffusersLoader", model_path=name)
            self._notes[f"the base is a folder: put it into ComfyUI's models/diffusers as {name}"] = None
        vae: Link = [key, 2]
        own = base.components.get("vae")
        if own is not None:
            name = PurePosixPath(own.weight_name or own.source.address).name
            vae = [self._add("VAELoader", vae_name=with_suffix(name)), 0]
        return [key, 0], [key, 1], vae

    def _adapter(self, adapter: ResolvedAdapter, model: Link, clip: Link) -> tuple[Link, Link]:
        if not isinstance(adapter, ResolvedLora):
            return model, clip
        strengths = self._strengths(adapter)
        if adapter.target is not None or strengths[1] is None:
            name = file_name(adapter)
            key = self._add("LoraLoaderModelOnly", lora_name=name, strength_model=strengths[0], model=model)
            return [key, 0], clip
        key = self._add(
            "LoraLoader",
            lora_name=file_name(adapter), strength_model=strengths[0], strength_clip=strengths[1], model=model,
            clip=clip,
        )  # fmt: skip
        return [key, 0], [key, 1]

    def _strengths(self, adapter: ResolvedAdapter) -> tuple[float, float | None]:
        scale = adapter.scale
        if isinstance(scale, (int, float)):
            return float(scale), float(scale)
        parts = mapping(scale)
        model = parts.get("unet", parts.get("transformer", 1.0))
        if not isinstance(model, (int, float)):
            self._notes[f"adapter {adapter.name}: ComfyUI has no scales for single blocks, so 1.0 is written"] = None
            model = 1.0
        texts = [value for name, value in parts.items() if name.startswith("text_encoder")] or [1.0]
        if any(value != texts[0] for value in texts):
            self._notes[f"adapter {adapter.name}: ComfyUI has only one scale for all text encoders"] = None
        if not isinstance(texts[0], (int, float)):
            return float(model), 1.0
        return float(model), float(texts[0])

    def _text(self, clip: Link, texts: Mapping[str, str], side: str, size: tuple[int, int]) -> Link:
        first, second = texts.get(f"{side}prompt", ""), texts.get(f"{side}prompt_2")
        if second is None:
            return [self._add("CLIPTextEncode", text=first, clip=clip), 0]
        height, width = size
        key = self._add(
            "CLIPTextEncodeSDXL",
            width=width, height=height, crop_w=0, crop_h=0, target_width=width, target_height=height, text_g=second,
            text_l=first, clip=clip,
        )  # fmt: skip
        return [key, 0]

    def _sampler(self, base: ResolvedBase) -> tuple[str, str]:
        name, config = scheduler_of(base)
        if not name:
            self._notes["the base is not on this machine, so its scheduler is not known, and Euler is written"] = None
            return "euler", "normal"
        sampler, schedule = comfyui_names(name, config)
        if sampler is None:
            self._notes[f"ComfyUI has no sampler for {name}, so Euler is written"] = None
        return sampler or "euler", schedule

    def _note_left_out(self, variant: ResolvedVariant) -> None:
        for name in unusual_arguments(variant, _WRITTEN):
            self._notes[f"sampling.{name}: ComfyUI's sampler has no equivalent"] = None
        for name, component in variant.base.components.items():
            if component is not None and name != "vae":
                self._notes[f"base.components.{name} is left out"] = None
        for adapter in variant.adapters:
            if adapter.kind not in ("lora", "textual_inversion"):
                self._notes[f"adapter {adapter.name}: ComfyUI itself has no node for kind {adapter.kind}"] = None
