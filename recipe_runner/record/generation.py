"""What a planned image says about itself: its `Generation`, gathered from the resolved recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.images.parameters_text import Generation, UsedLora
from recipe_runner.plan.compile import Plan, PlannedImage
from recipe_runner.plan.resolved import ResolvedLora, ResolvedTextualInversion
from recipe_runner.plan.resolved_base import AnySource, ResolvedBase
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.digests import autov3

SCHEDULER = "scheduler/scheduler_config.json"


class Describer:
    """Makes the `Generation` of each image of a plan, reading each file it needs once."""

    def __init__(self, plan: Plan) -> None:
        """Describe images of this plan."""
        self._plan = plan
        self._schedulers: dict[int, tuple[str, Mapping[str, Json]]] = {}
        self._autov3: dict[str, str] = {}
        self._prompts = {
            (variant.index, prompt.id): prompt for variant in plan.recipe.variants for prompt in variant.prompts
        }

    def generation(self, image: PlannedImage, width: int, height: int) -> Generation:
        """How `image`, of this size in pixels, was made."""
        variant = self._plan.recipe.variants[image.variant]
        base, sampling = variant.base, variant.sampling
        texts = self._prompts[image.variant, image.prompt].texts
        if base.number not in self._schedulers:
            self._schedulers[base.number] = scheduler_of(base)
        scheduler_class, scheduler_config = self._schedulers[base.number]
        vae = base.components.get("vae")
        return Generation(
            prompt=texts["prompt"],
            negative_prompt=texts.get("negative_prompt"),
            steps=_number(sampling.get("num_inference_steps"), 0, int),
            scheduler_class=scheduler_class,
            scheduler_config=scheduler_config,
            guidance_scale=_number(sampling.get("guidance_scale"), None, float),
            seed=image.seed,
            width=width,
            height=height,
            model_name=_stem(base.weight_name or base.source.address),
            model_sha256=base.source.digest if base.weight_name else None,
            vae_name=_stem(vae.weight_name or vae.source.address) if vae else None,
            vae_sha256=vae.source.digest if vae and vae.weight_name else None,
            clip_skip=_number(sampling.get("clip_skip"), None, int),
            loras=tuple(self._lora(adapter) for adapter in variant.adapters if isinstance(adapter, ResolvedLora)),
            embeddings=tuple(
                (str(adapter.token), adapter.source.digest)
                for adapter in variant.adapters
                if isinstance(adapter, ResolvedTextualInversion) and adapter.acts_on(texts)
            ),
            others=tuple(
                f"{adapter.name} ({adapter.kind})"
                for adapter in variant.adapters
                if adapter.kind in ("merge", "ip_adapter")
            ),
        )

    def _lora(self, adapter: ResolvedLora) -> UsedLora:
        source = adapter.source
        if source.digest not in self._autov3:
            self._autov3[source.digest] = _short_hash(source)
        return UsedLora(name=adapter.name, autov3=self._autov3[source.digest], scale=adapter.scale)


def scheduler_of(base: ResolvedBase) -> tuple[str, Mapping[str, Json]]:
    """Class and configuration of the scheduler: the base's own, under what the recipe sets."""
    config: dict[str, Any] = {}
    for source in (base.config, base.source):
        if isinstance(source, Source) and any(file.name == SCHEDULER for file in source.files):
            config = json.loads(source.path(SCHEDULER).read_bytes())
            break
    own = config.get("_class_name")
    return base.scheduler_class or (own if isinstance(own, str) else ""), {**config, **base.scheduler_config}


def _short_hash(source: AnySource) -> str:
    if isinstance(source, Source) and source.files[0].name.endswith(".safetensors"):
        return autov3(source.path(source.files[0].name))
    return source.digest


def _stem(address: str) -> str:
    name = PurePosixPath(address.rstrip("/")).name
    return name.removesuffix(".safetensors").removesuffix(".ckpt")


def _number(value: Json, default: Any, kind: type) -> Any:
    return kind(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default
