"""The `Generation` of a planned image, from the resolved recipe: how it was made, for its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from recipe_runner.canonical import Json
from recipe_runner.images.parameters_text import Generation, UsedLora
from recipe_runner.plan.compile import Plan, PlannedImage
from recipe_runner.plan.resolved import ResolvedLora, ResolvedTextualInversion
from recipe_runner.plan.resolved_base import AnySource, ResolvedBase, ResolvedComponent
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.digests import autov3

SCHEDULER = "scheduler/scheduler_config.json"


class Describer:
    """Returns the `Generation` of each image of a plan; reads each file only once."""

    def __init__(self, plan: Plan) -> None:
        """Describe images of this plan."""
        self._plan = plan
        self._schedulers: dict[int, tuple[str, Mapping[str, Json]]] = {}
        self._autov3: dict[str, str] = {}
        self._texts: dict[tuple[int, str], Mapping[str, str]] = {}
        for variant in plan.recipe.variants:
            for prompt in variant.prompts:
                self._texts[variant.index, prompt.id] = prompt.texts

    def generation(self, image: PlannedImage, width: int, height: int) -> Generation:
        """How `image` was made; `width` and `height` are in pixels."""
        variant = self._plan.recipe.variants[image.variant]
        base, sampling = variant.base, variant.sampling
        texts = self._texts[image.variant, image.prompt]
        if base.number not in self._schedulers:
            self._schedulers[base.number] = scheduler_of(base)
        scheduler_class, scheduler_config = self._schedulers[base.number]
        model_sha256 = None
        if base.weight_name:
            model_sha256 = base.source.digest
        vae_name, vae_sha256 = _name_and_digest(base.components.get("vae"))
        loras, embeddings, others = self._adapters(variant, texts)
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
            model_sha256=model_sha256,
            vae_name=vae_name,
            vae_sha256=vae_sha256,
            clip_skip=_number(sampling.get("clip_skip"), None, int),
            loras=tuple(loras),
            embeddings=tuple(embeddings),
            others=tuple(others),
        )

    def _adapters(
        self, variant: ResolvedVariant, texts: Mapping[str, str]
    ) -> tuple[list[UsedLora], list[tuple[str, str]], list[str]]:
        """The LoRAs, the embeddings that the prompt uses (token and digest), and the names of other adapters."""
        loras: list[UsedLora] = []
        embeddings: list[tuple[str, str]] = []
        others: list[str] = []
        for adapter in variant.adapters:
            if isinstance(adapter, ResolvedLora):
                loras.append(self._lora(adapter))
            elif not isinstance(adapter, ResolvedTextualInversion):
                others.append(f"{adapter.name} ({adapter.kind})")
            elif adapter.acts_on(texts):
                embeddings.append((str(adapter.token), adapter.source.digest))
        return loras, embeddings, others

    def _lora(self, adapter: ResolvedLora) -> UsedLora:
        source = adapter.source
        if source.digest not in self._autov3:
            self._autov3[source.digest] = _short_hash(source)
        return UsedLora(name=adapter.name, autov3=self._autov3[source.digest], scale=adapter.scale)


def scheduler_of(base: ResolvedBase) -> tuple[str, Mapping[str, Json]]:
    """Class and configuration of the scheduler: the base's own, with the recipe's values over it."""
    config: dict[str, Any] = {}
    for source in (base.config, base.source):
        if isinstance(source, Source) and SCHEDULER in {file.name for file in source.files}:
            config = json.loads(source.path(SCHEDULER).read_bytes())
            break
    name = base.scheduler_class or config.get("_class_name")
    if not isinstance(name, str):
        name = ""
    return name, {**config, **base.scheduler_config}


def _short_hash(source: AnySource) -> str:
    if isinstance(source, Source) and source.files[0].name.endswith(".safetensors"):
        return autov3(source.path(source.files[0].name))
    return source.digest


def _name_and_digest(component: ResolvedComponent | None) -> tuple[str | None, str | None]:
    """A component's name, and its digest if it is one file."""
    if component is None:
        return None, None
    if not component.weight_name:
        return _stem(component.source.address), None
    return _stem(component.weight_name), component.source.digest


def _stem(address: str) -> str:
    name = PurePosixPath(address.rstrip("/")).name
    return name.removesuffix(".safetensors").removesuffix(".ckpt")


def _number(value: Json, default: Any, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    return kind(value)
