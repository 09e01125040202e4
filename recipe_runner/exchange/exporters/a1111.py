"""Export the images of a recipe as `parameters` texts for A1111 and similar programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from recipe_runner.exchange.exporters.exported import Exported
from recipe_runner.exchange.exporters.prompt_text import embedding_names, foreign_prompt, unusual_arguments
from recipe_runner.exchange.importers.size import picture_size, size_note
from recipe_runner.images.parameters_text import parameters_text
from recipe_runner.images.sampler_names import sampler_name, schedule_type, scheduler_named
from recipe_runner.record.generation import Describer
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from recipe_runner.images.parameters_text import Generation
    from recipe_runner.plan.compile import Plan
    from recipe_runner.plan.resolved import ResolvedAdapter
    from recipe_runner.plan.resolved_recipe import ResolvedVariant

_WRITTEN = ("num_inference_steps", "guidance_scale", "height", "width", "clip_skip", "eta")
_OWN_VERSION = ", Version: recipe_runner"


def to_a1111(plan: Plan) -> Exported:
    """One text for each image, by the name of the image, and notes on what the texts leave out."""
    describer = Describer(plan)
    texts: dict[str, str] = {}
    notes: dict[str, None] = {}
    for image in plan.images:
        variant = plan.recipe.variants[image.variant]
        notes.update(dict.fromkeys(_left_out(variant)))
        height, width = picture_size(variant.base, variant.sampling)
        if guess := size_note(variant.base, variant.sampling):
            notes[guess] = None
        made = _known_hashes(describer.generation(image, width, height))
        notes.update(dict.fromkeys(_scheduler(made)))
        prompt, negative = foreign_prompt(made.prompt, variant, "a1111"), made.negative_prompt
        if negative is not None:
            negative = foreign_prompt(negative, variant, "a1111")
        text = parameters_text(
            replace(made, prompt=prompt, negative_prompt=negative, embeddings=_embeddings(made, variant))
        )
        # The brackets are escaped for A1111, which they are not in the images of a run.
        texts[image.path.rpartition(".")[0] + ".txt"] = text.replace(_OWN_VERSION, "") + "\n"
    return Exported(texts=texts, notes=tuple(notes))


def _known_hashes(made: Generation) -> Generation:
    """The generation without digests of files that are not on this machine."""
    return replace(
        made,
        model_sha256=_digest(made.model_sha256),
        vae_sha256=_digest(made.vae_sha256),
        loras=tuple([replace(lora, autov3=_digest(lora.autov3) or "") for lora in made.loras]),
        embeddings=tuple([(token, _digest(sha256) or "") for token, sha256 in made.embeddings]),
    )


def _embeddings(made: Generation, variant: ResolvedVariant) -> tuple[tuple[str, str], ...]:
    """Embeddings by the names of their files, which the prompt contains."""
    names = embedding_names(variant)
    return tuple([(names.get(token, token), sha256) for token, sha256 in made.embeddings])


def _digest(value: str | None) -> str | None:
    if value is None or value.startswith("unresolved"):
        return None
    return value


def _left_out(variant: ResolvedVariant) -> Iterator[str]:
    """A sentence for each part of a variant that the texts cannot contain."""
    base = variant.base
    if not isinstance(base.source, Source):
        yield "the base is not on this machine, so its hash is missing"
    for name, component in base.components.items():
        if component is not None and name != "vae":
            yield f"base.components.{name}: A1111 has no equivalent"
    for adapter in variant.adapters:
        yield from _left_out_of_adapter(adapter)
    for prompt in variant.prompts:
        more = [name for name in prompt.texts if name not in ("prompt", "negative_prompt")]
        if more:
            yield f"prompt {prompt.id}: A1111 has no equivalent of {', '.join(more)}"
    for name in unusual_arguments(variant, _WRITTEN):
        yield f"sampling.{name}: A1111 has no equivalent"


def _left_out_of_adapter(adapter: ResolvedAdapter) -> Iterator[str]:
    if adapter.kind not in ("lora", "textual_inversion"):
        yield f"adapter {adapter.name}: A1111 has no equivalent of kind {adapter.kind}"
    elif isinstance(adapter.scale, Mapping) and any(isinstance(part, Mapping) for part in adapter.scale.values()):
        yield f"adapter {adapter.name}: A1111 has no scales for single blocks"
    if not all(isinstance(source, Source) for source in adapter.sources.values()):
        yield f"adapter {adapter.name}: not on this machine, so its hash is missing"


def _scheduler(made: Generation) -> Iterator[str]:
    """A sentence when A1111 has no sampler for the scheduler."""
    name = sampler_name(made.scheduler_class, made.scheduler_config)
    if scheduler_named(name, schedule_type(made.scheduler_class, made.scheduler_config) or "") is None:
        yield f"A1111 has no sampler for the scheduler {made.scheduler_class}"
