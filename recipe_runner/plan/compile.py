"""ResolvedRecipe to build graph: one chain of operations per image, sharing everything that is equal.

Handles of two sorts are compiled. The denoiser's handle has all adapters. The text encoders' handle has only those
that touch a text encoder, so that a sweep over a UNet's scale encodes each prompt once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from recipe_runner.canonical import Json, digest
from recipe_runner.graph.graph import BuildGraph
from recipe_runner.plan.resolved import (
    AnySource,
    ResolvedAdapter,
    ResolvedBase,
    ResolvedImagePrompt,
    ResolvedPrompt,
    ResolvedRecipe,
    ResolvedVariant,
)
from recipe_runner.problems.place import Place

VERSIONS = {
    "load_base": 1,
    "add_lora": 4,
    "add_textual_inversion": 1,
    "merge_loras": 3,
    "add_ip_adapter": 2,
    "set_scales": 1,
    "encode_prompt": 1,
    "encode_image": 1,
    "denoise": 1,
    "decode": 1,
    "save": 1,
}
"""The version of each operation: raised when its result changes, so that nothing made with the old one is reused."""

TEXT_SAMPLING = ("clip_skip", "max_sequence_length")
"""Sampling arguments that belong to encoding a prompt."""

GUIDED_BY_NEGATIVES = ("FluxPipeline",)
"""Pipelines that guide a prompt only where it has a negative one, and a batch as a whole."""

SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """An image that the recipe asks for. `key` is the node key of the operation that saves it."""

    path: str
    variant: int
    prompt: str
    seed: int
    key: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The build graph of a recipe, and its images in the recipe's order: variants, then prompts, then seeds.

    `bases`, `adapters` and `image_prompts` say, by node key, what the load_base, add_… and encode_image operations
    stand for, with the places of files that a node itself knows only the contents of.
    """

    recipe: ResolvedRecipe
    graph: BuildGraph
    images: tuple[PlannedImage, ...]
    bases: Mapping[str, ResolvedBase]
    adapters: Mapping[str, ResolvedAdapter]
    image_prompts: Mapping[str, ResolvedImagePrompt] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """The identity of the plan: of the recipe's name, and of every image's path and key."""
        images = [[image.path, image.key] for image in self.images]
        return digest({"name": self.recipe.name, "images": images})

    def sources(self) -> Mapping[str, AnySource]:
        """Every source by its role."""
        return self.recipe.sources()


def compile_plan(recipe: ResolvedRecipe) -> Plan:
    """Compile the graph and name the images."""
    compiler = _Compiler(recipe)
    images = [image for variant in recipe.variants for image in compiler.variant(variant)]
    return Plan(
        recipe=recipe,
        graph=compiler.graph,
        images=tuple(images),
        bases=compiler.bases,
        adapters=compiler.adapters,
        image_prompts=compiler.image_prompts,
    )


@dataclass(frozen=True, slots=True)
class _Member:
    """An image of a batch: prompt, seed, and the keys of what it is made from.

    `images` are those of what each IP-Adapter is shown. `alike` is what the members of a batch have in common.
    """

    prompt: ResolvedPrompt
    seed: int
    conditioning: str
    images: tuple[str, ...]
    denoiser: str
    alike: tuple[object, ...]


def _batches(members: Sequence[_Member], size: int) -> Iterator[list[_Member]]:
    """The members in batches of at most `size`; those of one batch are alike."""
    batch: list[_Member] = []
    for member in members:
        if batch and (len(batch) == size or batch[0].alike != member.alike):
            yield batch
            batch = []
        batch.append(member)
    if batch:
        yield batch


class _Compiler:
    """Adds nodes, remembering by identity what variants share: a section that no axis changes is compiled once."""

    def __init__(self, recipe: ResolvedRecipe) -> None:
        self.graph = BuildGraph()
        self.bases: dict[str, ResolvedBase] = {}
        self.adapters: dict[str, ResolvedAdapter] = {}
        self.image_prompts: dict[str, ResolvedImagePrompt] = {}
        self._recipe = recipe
        self._numbered = len(recipe.variants) > 1
        self._digits = max(3, len(str(len(recipe.variants))))
        self._memo: dict[tuple[object, ...], str] = {}
        self._arguments: dict[int, Mapping[str, Json]] = {}
        # Memo keys hold identities, so what they identify must stay alive.
        self._alive: list[object] = [recipe]

    def variant(self, variant: ResolvedVariant) -> list[PlannedImage]:
        size = self._recipe.batch_size if self._recipe.reproducibility == "fast" else 1
        # The prompts of a batch share a denoiser, and so the adapters of all of them.
        shared = None if size == 1 else self._handles(variant.base, variant.adapters)[0]
        wanted = []
        for prompt in variant.prompts:
            # What cannot change an image is no part of it.
            adapters = tuple(adapter for adapter in variant.adapters if adapter.acts_on(prompt.texts))
            denoiser, encoder = self._handles(variant.base, adapters)
            conditioning = self._encode(encoder, prompt, variant.sampling)
            shown = self._show(variant.adapters, prompt)
            images, counts = tuple(key for key, _ in shown), tuple(count for _, count in shown)
            apart = variant.base.pipeline in GUIDED_BY_NEGATIVES and "negative_prompt" in prompt.texts
            made = shared or denoiser, (counts, apart)
            wanted += [_Member(prompt, seed, conditioning, images, *made) for seed in variant.seeds]
        return [image for batch in _batches(wanted, size) for image in self._batch(variant, batch)]

    def _handles(self, base: ResolvedBase, adapters: tuple[ResolvedAdapter, ...]) -> tuple[str, str]:
        """The denoiser's handle and the text encoders'."""
        scales = [adapter.scale for adapter in adapters]
        denoiser = self._handle("denoiser", base, adapters, scales)
        texts = tuple(adapter for adapter in adapters if adapter.touches_text)
        text_scales = [text_scale(adapter.scale) for adapter in texts]
        same = len(texts) == len(adapters) and text_scales == scales
        return denoiser, denoiser if same else self._handle("text", base, texts, text_scales)

    def _handle(
        self, sort: str, base: ResolvedBase, adapters: Sequence[ResolvedAdapter], scales: Sequence[Json]
    ) -> str:
        # An adapter at another scale is another object, so that the two sorts' scales need no comparing.
        memo = (sort, id(base), *(id(adapter) for adapter in adapters))
        if memo not in self._memo:
            key = alone = self._load_base(base)
            for adapter in adapters:
                key = self._add(key, adapter, alone)
            if adapters:
                key = self.graph.add(
                    "set_scales",
                    VERSIONS["set_scales"],
                    constants={"scales": scales},
                    inputs={"model": key},
                    origin=adapters[-1].origin,
                )
            self._memo[memo] = key
        return self._memo[memo]

    def _add(self, model: str, adapter: ResolvedAdapter, base: str) -> str:
        # An adapter's name is no part of what it does: renaming one makes no image anew. Variants that differ in its
        # scale share its sources.
        memo = ("add", model, id(adapter.sources), id(adapter.constants))
        if memo not in self._memo:
            self._alive.append(adapter)
            self._memo[memo] = self.graph.add(
                adapter.operation,
                VERSIONS[adapter.operation],
                constants=adapter.constants,
                # A merge takes what its members are on the base alone.
                inputs={
                    "model": model,
                    **{f"member.{n}": self._add(base, member, base) for n, member in enumerate(adapter.members)},
                },
                files={role: source.digest for role, source in adapter.sources.items()},
                origin=adapter.origin,
            )
            self.adapters.setdefault(self._memo[memo], adapter)
        return self._memo[memo]

    def _load_base(self, base: ResolvedBase) -> str:
        if ("base", id(base)) not in self._memo:
            self._memo["base", id(base)] = self._add_base(base)
        return self._memo["base", id(base)]

    def _add_base(self, base: ResolvedBase) -> str:
        components: dict[str, Json] = {}
        files = {"base": base.source.digest}
        if base.config is not None:
            files["config"] = base.config.digest
        for name, component in base.components.items():
            if component is None:
                components[name] = None
                continue
            files[f"components.{name}"] = component.source.digest
            components[name] = {
                "subfolder": component.subfolder,
                "weight_name": component.weight_name,
                "variant": component.variant,
                "dtype": component.dtype,
            }
        constants = {
            "pipeline": base.pipeline,
            "dtype": base.dtype,
            "variant": base.variant,
            "single_file": base.weight_name is not None,
            "scheduler": {"class": base.scheduler_class, "config": base.scheduler_config},
            "components": components,
        }
        key = self.graph.add("load_base", VERSIONS["load_base"], constants=constants, files=files, origin=base.origin)
        self.bases.setdefault(key, base)
        return key

    def _encode(self, handle: str, prompt: ResolvedPrompt, sampling: Mapping[str, Json]) -> str:
        memo = ("encode", handle, id(prompt), id(sampling))
        if memo not in self._memo:
            constants = {
                "texts": prompt.texts,
                "guided": is_guided(sampling),
                **{name: sampling[name] for name in TEXT_SAMPLING if name in sampling},
            }
            self._alive += [prompt, sampling]
            self._memo[memo] = self.graph.add(
                "encode_prompt",
                VERSIONS["encode_prompt"],
                constants=constants,
                inputs={"model": handle},
                origin=prompt.origin,
            )
        return self._memo[memo]

    def _show(self, adapters: Sequence[ResolvedAdapter], prompt: ResolvedPrompt) -> tuple[tuple[str, int], ...]:
        """What each image prompt adapter that is not off is shown: the key of its encoding, and how many images."""
        found = []
        for adapter in adapters:
            shown = adapter.image_prompts.get(prompt.id)
            if shown is None:
                continue
            memo = ("show", id(shown))
            if memo not in self._memo:
                self._alive.append(shown)
                self._memo[memo] = self.graph.add(
                    "encode_image",
                    VERSIONS["encode_image"],
                    constants=shown.constants,
                    files={name: source.digest for name, source in shown.sources.items()},
                    origin=shown.origin,
                )
                self.image_prompts.setdefault(self._memo[memo], shown)
            found.append((self._memo[memo], shown.count))
        return tuple(found)

    def _batch(self, variant: ResolvedVariant, members: Sequence[_Member]) -> list[PlannedImage]:
        handle = members[0].denoiser
        inputs = {"model": handle}
        inputs |= {f"conditioning.{n}": member.conditioning for n, member in enumerate(members)}
        for n, member in enumerate(members):
            inputs |= {f"image.{n}.{number}": key for number, key in enumerate(member.images)}
        origin = members[0].prompt.origin
        latents = self.graph.add(
            "denoise",
            VERSIONS["denoise"],
            constants={
                "seeds": [member.seed for member in members],
                "sampling": self._denoising(variant.sampling),
                "reproducibility": self._recipe.reproducibility,
            },
            inputs=inputs,
            origin=origin,
        )
        return [
            self._image(variant, handle, latents, index, member.prompt, member.seed)
            for index, member in enumerate(members)
        ]

    def _denoising(self, sampling: Mapping[str, Json]) -> Mapping[str, Json]:
        if id(sampling) not in self._arguments:
            arguments = {name: value for name, value in sampling.items() if name not in TEXT_SAMPLING}
            self._alive.append(sampling)
            self._arguments[id(sampling)] = arguments
        return self._arguments[id(sampling)]

    def _image(
        self, variant: ResolvedVariant, handle: str, latents: str, index: int, prompt: ResolvedPrompt, seed: int
    ) -> PlannedImage:
        origin: Place = prompt.origin
        picture = self.graph.add(
            "decode",
            VERSIONS["decode"],
            constants={"index": index},
            inputs={"model": handle, "latents": latents},
            origin=origin,
        )
        key = self.graph.add(
            "save", VERSIONS["save"], constants=variant.output, inputs={"picture": picture}, origin=origin
        )
        prefix = f"{variant.index + 1:0{self._digits}d}-" if self._numbered else ""
        suffix = SUFFIXES[str(variant.output["format"])]
        path = f"{prefix}{prompt.id}-{seed}{suffix}"
        return PlannedImage(path=path, variant=variant.index, prompt=prompt.id, seed=seed, key=key)


def text_scale(scale: Json) -> Json:
    """The part of a scale that text encoders see: what a recipe sets for the denoiser does not encode anew."""
    if not isinstance(scale, Mapping):
        return scale
    return {name: value for name, value in scale.items() if name.startswith("text_encoder")}


def is_guided(sampling: Mapping[str, Json]) -> bool:
    """Whether classifier-free guidance is on: `guidance_scale` or `true_cfg_scale` above 1, as the pipelines decide."""
    scales = (sampling.get("guidance_scale"), sampling.get("true_cfg_scale"))
    return any(isinstance(scale, (int, float)) and scale > 1 for scale in scales)
