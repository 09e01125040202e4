"""ResolvedRecipe to build graph: one chain of operations per image, sharing everything that is equal.

Handles of two sorts are compiled. The denoiser's handle has all adapters. The text encoders' handle has only those
that touch a text encoder, so that a sweep over a UNet's scale encodes each prompt once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from recipe_runner.canonical import Json, digest
from recipe_runner.graph.graph import BuildGraph
from recipe_runner.pipelines.guidance import read_texts
from recipe_runner.plan.operations import (
    ADDS,
    DECODE,
    DENOISE,
    ENCODE_IMAGE,
    ENCODE_PROMPT,
    LOAD_BASE,
    SAVE,
    SET_SCALES,
)
from recipe_runner.plan.resolved import AnySource, ResolvedAdapter, ResolvedBase, ResolvedImagePrompt, ResolvedIpAdapter
from recipe_runner.plan.resolved_recipe import ResolvedPrompt, ResolvedRecipe, ResolvedVariant
from recipe_runner.problems.place import Place

TEXT_SAMPLING = ("clip_skip", "max_sequence_length")
"""Sampling arguments that belong to encoding a prompt."""

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
    """Adds nodes, remembering by number what variants share: a section that no axis changes is compiled once."""

    def __init__(self, recipe: ResolvedRecipe) -> None:
        self.graph = BuildGraph()
        self.bases: dict[str, ResolvedBase] = {}
        self.adapters: dict[str, ResolvedAdapter] = {}
        self.image_prompts: dict[str, ResolvedImagePrompt] = {}
        self._recipe = recipe
        self._numbered = len(recipe.variants) > 1
        self._digits = max(3, len(str(len(recipe.variants))))
        self._memo: dict[tuple[Hashable, ...], str] = {}

    def variant(self, variant: ResolvedVariant) -> list[PlannedImage]:
        size = self._recipe.batch_size if self._recipe.reproducibility == "fast" else 1
        # The prompts of a batch share a denoiser, and so the adapters of all of them.
        shared = None if size == 1 else self._handles(variant.base, variant.adapters)[0]
        arguments = {name: variant.sampling[name] for name in TEXT_SAMPLING if name in variant.sampling}
        wanted = []
        for prompt in variant.prompts:
            # What cannot change an image is not a part of its key.
            guided = variant.is_guided(prompt)
            texts = read_texts(variant.base.pipeline, prompt.texts, guided=guided)
            adapters = tuple(adapter for adapter in variant.adapters if adapter.acts_on(texts))
            denoiser, encoder = self._handles(variant.base, adapters)
            conditioning = self._encode(encoder, prompt, texts, {"guided": guided, **arguments})
            shown = self._show(variant.adapters, prompt)
            images, counts = tuple(key for key, _ in shown), tuple(count for _, count in shown)
            # A call guides its whole batch or none of it.
            alike = (counts, guided)
            wanted += [_Member(prompt, seed, conditioning, images, shared or denoiser, alike) for seed in variant.seeds]
        sampling = {name: value for name, value in variant.sampling.items() if name not in TEXT_SAMPLING}
        return [image for batch in _batches(wanted, size) for image in self._batch(variant, sampling, batch)]

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
        memo = (sort, base.number, *(adapter.number for adapter in adapters))
        if memo not in self._memo:
            key = alone = self._load_base(base)
            for adapter in adapters:
                key = self._add(key, adapter, alone)
            if adapters:
                key = SET_SCALES.add_to(
                    self.graph,
                    constants={"scales": scales},
                    inputs={"model": key},
                    origin=adapters[-1].origin,
                )
            self._memo[memo] = key
        return self._memo[memo]

    def _add(self, model: str, adapter: ResolvedAdapter, base: str) -> str:
        # An adapter's name is no part of what it does: renaming one makes no image anew. Neither is its scale.
        memo = ("add", model, adapter.at_any_scale)
        if memo not in self._memo:
            inputs = {"model": model}
            # A merge takes what its members are on the base alone.
            for number, member in enumerate(adapter.with_members()[:-1]):
                inputs[f"member.{number}"] = self._add(base, member, base)
            self._memo[memo] = ADDS[adapter.kind].add_to(
                self.graph,
                constants=adapter.constants(),
                inputs=inputs,
                files={role: source.digest for role, source in adapter.sources.items()},
                origin=adapter.origin,
            )
            self.adapters.setdefault(self._memo[memo], adapter)
        return self._memo[memo]

    def _load_base(self, base: ResolvedBase) -> str:
        if ("base", base.number) not in self._memo:
            self._memo["base", base.number] = self._add_base(base)
        return self._memo["base", base.number]

    def _add_base(self, base: ResolvedBase) -> str:
        files = {role: source.digest for role, source in base.sources.items()}
        key = LOAD_BASE.add_to(self.graph, constants=base.constants(), files=files, origin=base.origin)
        self.bases.setdefault(key, base)
        return key

    def _encode(
        self, handle: str, prompt: ResolvedPrompt, texts: Mapping[str, str], arguments: Mapping[str, Json]
    ) -> str:
        # The handle names the pipeline, and with the arguments decides which texts are read.
        memo = ("encode", handle, prompt.number, *arguments.items())
        if memo not in self._memo:
            constants: dict[str, Json] = {"texts": texts, **arguments}
            self._memo[memo] = ENCODE_PROMPT.add_to(
                self.graph,
                constants=constants,
                inputs={"model": handle},
                origin=prompt.origin,
            )
        return self._memo[memo]

    def _show(self, adapters: Sequence[ResolvedAdapter], prompt: ResolvedPrompt) -> tuple[tuple[str, int], ...]:
        """What each image prompt adapter that is not off is shown: the key of its encoding, and how many images."""
        found = []
        for adapter in adapters:
            shown = adapter.image_prompts.get(prompt.id) if isinstance(adapter, ResolvedIpAdapter) else None
            if shown is None:
                continue
            memo = ("show", shown.number)
            if memo not in self._memo:
                self._memo[memo] = ENCODE_IMAGE.add_to(
                    self.graph,
                    constants=shown.constants(),
                    files={name: source.digest for name, source in shown.sources.items()},
                    origin=shown.origin,
                )
                self.image_prompts.setdefault(self._memo[memo], shown)
            found.append((self._memo[memo], shown.count))
        return tuple(found)

    def _batch(
        self, variant: ResolvedVariant, sampling: Mapping[str, Json], members: Sequence[_Member]
    ) -> list[PlannedImage]:
        handle = members[0].denoiser
        inputs = {"model": handle}
        inputs |= {f"conditioning.{n}": member.conditioning for n, member in enumerate(members)}
        for n, member in enumerate(members):
            inputs |= {f"image.{n}.{number}": key for number, key in enumerate(member.images)}
        origin = members[0].prompt.origin
        latents = DENOISE.add_to(
            self.graph,
            constants={
                "seeds": [member.seed for member in members],
                "sampling": sampling,
                "reproducibility": self._recipe.reproducibility,
            },
            inputs=inputs,
            origin=origin,
        )
        return [
            self._image(variant, handle, latents, index, member.prompt, member.seed)
            for index, member in enumerate(members)
        ]

    def _image(
        self, variant: ResolvedVariant, handle: str, latents: str, index: int, prompt: ResolvedPrompt, seed: int
    ) -> PlannedImage:
        origin: Place = prompt.origin
        picture = DECODE.add_to(
            self.graph,
            constants={"index": index},
            inputs={"model": handle, "latents": latents},
            origin=origin,
        )
        key = SAVE.add_to(self.graph, constants=variant.output, inputs={"picture": picture}, origin=origin)
        prefix = f"{variant.index + 1:0{self._digits}d}-" if self._numbered else ""
        suffix = SUFFIXES[str(variant.output["format"])]
        path = f"{prefix}{prompt.id}-{seed}{suffix}"
        return PlannedImage(path=path, variant=variant.index, prompt=prompt.id, seed=seed, key=key)


def text_scale(scale: Json) -> Json:
    """The part of a scale that text encoders see: what a recipe sets for the denoiser does not encode anew."""
    if not isinstance(scale, Mapping):
        return scale
    return {name: value for name, value in scale.items() if name.startswith("text_encoder")}
