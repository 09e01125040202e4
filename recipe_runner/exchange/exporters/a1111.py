"""A recipe's pictures as the `parameters` texts that A1111 and its relatives read, and what these do not say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from recipe_runner.exchange.exporters.exported import Exported
from recipe_runner.exchange.exporters.prompt_text import file_name, foreign_prompt
from recipe_runner.exchange.importers.size import picture_size, size_note
from recipe_runner.images.parameters_text import parameters_text
from recipe_runner.images.sampler_names import sampler_name, schedule_type, scheduler_named
from recipe_runner.pipelines import table as diffusers_table
from recipe_runner.plan.resolved import ResolvedTextualInversion
from recipe_runner.record.generation import Describer
from recipe_runner.sources.source import Source

if TYPE_CHECKING:
    from recipe_runner.images.parameters_text import Generation
    from recipe_runner.plan.compile import Plan
    from recipe_runner.plan.resolved import ResolvedAdapter
    from recipe_runner.plan.resolved_recipe import ResolvedVariant

_SAID = ("num_inference_steps", "guidance_scale", "height", "width", "clip_skip", "eta")
_OWN_VERSION = ", Version: recipe_runner"


def to_a1111(plan: Plan) -> Exported:
    """One text for each picture, by the picture's name."""
    describer = Describer(plan)
    texts: dict[str, str] = {}
    notes: dict[str, None] = {}
    for image in plan.images:
        variant = plan.recipe.variants[image.variant]
        notes.update(dict.fromkeys(_unsaid(variant)))
        height, width = picture_size(variant.base, variant.sampling)
        if guess := size_note(variant.base, variant.sampling):
            notes[guess] = None
        made = _known_hashes(describer.generation(image, width, height))
        notes.update(dict.fromkeys(_scheduler(made)))
        negative = None if made.negative_prompt is None else foreign_prompt(made.negative_prompt, variant, "a1111")
        prompt = foreign_prompt(made.prompt, variant, "a1111")
        text = parameters_text(
            replace(made, prompt=prompt, negative_prompt=negative, embeddings=_embeddings(made, variant))
        )
        # The brackets are escaped as A1111 wants them; in this package's own pictures they stand as they are.
        texts[image.path.rpartition(".")[0] + ".txt"] = text.replace(_OWN_VERSION, "") + "\n"
    return Exported(texts=texts, notes=tuple(notes))


def _known_hashes(made: Generation) -> Generation:
    """Without digests of files that are not on this machine."""
    return replace(
        made,
        model_sha256=_digest(made.model_sha256),
        vae_sha256=_digest(made.vae_sha256),
        loras=tuple(replace(lora, autov3=_digest(lora.autov3) or "") for lora in made.loras),
        embeddings=tuple((token, _digest(sha256) or "") for token, sha256 in made.embeddings),
    )


def _embeddings(made: Generation, variant: ResolvedVariant) -> tuple[tuple[str, str], ...]:
    """Embeddings by the name of their file, which is what stands in the prompt."""
    names = {
        str(adapter.token): file_name(adapter).rpartition(".")[0]
        for adapter in variant.adapters
        if isinstance(adapter, ResolvedTextualInversion)
    }
    return tuple((names.get(token, token), sha256) for token, sha256 in made.embeddings)


def _digest(value: str | None) -> str | None:
    return None if value is None or value.startswith("unresolved") else value


def _unsaid(variant: ResolvedVariant) -> Iterator[str]:
    base = variant.base
    if not isinstance(base.source, Source):
        yield "the base is not on this machine: it has no hash"
    for name, component in base.components.items():
        if component is not None and name != "vae":
            yield f"base.components.{name}: there is no word for it"
    for adapter in variant.adapters:
        yield from _unsaid_adapter(adapter)
    for prompt in variant.prompts:
        more = [name for name in prompt.texts if name not in ("prompt", "negative_prompt")]
        if more:
            yield f"prompt {prompt.id}: there is no word for {', '.join(more)}"
    defaults = diffusers_table.call_defaults(base.pipeline)
    for name, value in variant.sampling.items():
        if name not in _SAID and defaults.get(name) != value:
            yield f"sampling.{name}: there is no word for it"


def _unsaid_adapter(adapter: ResolvedAdapter) -> Iterator[str]:
    if adapter.kind not in ("lora", "textual_inversion"):
        yield f"adapter {adapter.name}: there is no word for kind {adapter.kind}"
    elif isinstance(adapter.scale, Mapping) and any(isinstance(part, Mapping) for part in adapter.scale.values()):
        yield f"adapter {adapter.name}: a scale for each block cannot be written"
    if not all(isinstance(source, Source) for source in adapter.sources.values()):
        yield f"adapter {adapter.name}: not on this machine: it has no hash"


def _scheduler(made: Generation) -> Iterator[str]:
    """Whether the sampler's name says the scheduler."""
    name = sampler_name(made.scheduler_class, made.scheduler_config)
    if scheduler_named(name, schedule_type(made.scheduler_class, made.scheduler_config) or "") is None:
        yield f"A1111 has no name for the scheduler {made.scheduler_class}"
