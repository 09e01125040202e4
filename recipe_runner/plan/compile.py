"""Compile a resolved recipe to a build graph: one chain of operations per image, which shares every equal node.

Each variant has two model handles. The denoiser's handle has all adapters. The text encoders' handle has only those
that change a text encoder, so that a sweep over a UNet's scale encodes each prompt once.
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
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedImagePrompt, ResolvedIpAdapter
from recipe_runner.plan.resolved_base import AnySource, ResolvedBase
from recipe_runner.plan.resolved_recipe import ResolvedPrompt, ResolvedRecipe, ResolvedVariant
from recipe_runner.problems.place import Place

TEXT_SAMPLING = ("clip_skip", "max_sequence_length")
"""Sampling arguments that belong to encoding a prompt."""

SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """An image of the recipe. `key` is the node key of the operation that saves it."""

    path: str
    variant: int
    prompt: str
    seed: int
    key: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The build graph of a recipe, and its images in the recipe's order: variants, then prompts, then seeds.

    A node knows only the contents of its files. `bases`, `adapters` and `image_prompts` map the keys of load_base,
    add_… and encode_image nodes to the resolved values, which also know where the files are.
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
    images: list[PlannedImage] = []
    for variant in recipe.variants:
        images += compiler.variant(variant)
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
    """An image of a batch: prompt, seed, and the keys of its inputs.

    `images` are the keys of each IP-Adapter's encoded images. All members of a batch have the same `alike`.
    """

    prompt: ResolvedPrompt
    seed: int
    conditioning: str
    images: tuple[str, ...]
    denoiser: str
    alike: tuple[object, ...]


def _batches(members: Sequence[_Member], size: int) -> Iterator[list[_Member]]:
    """The members in batches of at most `size`; members of one batch have the same `alike`."""
    batch: list[_Member] = []
    for member in members:
        if batch and (len(batch) == size or batch[0].alike != member.alike):
            yield batch
            batch = []
        batch.append(member)
    if batch:
        yield batch


class _Compiler:
    """Adds nodes, and remembers them by the numbers of their sections, so that unchanged sections are compiled once."""

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
        size = 1
        if self._recipe.reproducibility == "fast":
            size = self._recipe.batch_size
        text_sampling, sampling = _split_sampling(variant.sampling)
        members = self._members(variant, text_sampling, in_batches=size > 1)
        images: list[PlannedImage] = []
        for batch in _batches(members, size):
            images += self._batch(variant, sampling, batch)
        return images

    def _members(
        self, variant: ResolvedVariant, text_sampling: Mapping[str, Json], *, in_batches: bool
    ) -> list[_Member]:
        """The images of a variant with the keys of what each is made from: prompts, then seeds."""
        shared = None
        if in_batches:
            # The prompts of a batch share a denoiser, and so the adapters of all of them.
            shared, _ = self._handles(variant.base, variant.adapters)
        members: list[_Member] = []
        for prompt in variant.prompts:
            # What cannot change an image is not a part of its key.
            guided = variant.is_guided(prompt)
            texts = read_texts(variant.base.pipeline, prompt.texts, guided=guided)
            adapters = tuple(adapter for adapter in variant.adapters if adapter.acts_on(texts))
            denoiser, encoder = self._handles(variant.base, adapters)
            conditioning = self._encode(encoder, prompt, texts, {"guided": guided, **text_sampling})
            images, counts = self._encode_images(variant.adapters, prompt)
            # A call guides its whole batch or none of it.
            alike = (counts, guided)
            model = shared or denoiser
            members += [_Member(prompt, seed, conditioning, images, model, alike) for seed in variant.seeds]
        return members

    def _handles(self, base: ResolvedBase, adapters: tuple[ResolvedAdapter, ...]) -> tuple[str, str]:
        """The denoiser's handle and the text encoders'."""
        scales = [adapter.scale for adapter in adapters]
        denoiser = self._handle("denoiser", base, adapters, scales)
        texts = tuple(adapter for adapter in adapters if adapter.touches_text)
        text_scales = [text_scale(adapter.scale) for adapter in texts]
        if len(texts) == len(adapters) and text_scales == scales:
            return denoiser, denoiser
        return denoiser, self._handle("text", base, texts, text_scales)

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
        # The key has neither an adapter's name, so that renaming it remakes no image, nor its scale.
        memo = ("add", model, adapter.at_any_scale)
        if memo not in self._memo:
            inputs = {"model": model}
            # The members of a merge are loaded on the base alone.
            for number, member in enumerate(adapter.with_members()[:-1]):
                inputs[f"member.{number}"] = self._add(base, member, base)
            self._memo[memo] = ADDS[adapter.kind].add_to(
                self.graph,
                constants=adapter.constants(),
                inputs=inputs,
                files=_digests(adapter.sources),
                origin=adapter.origin,
            )
            self.adapters.setdefault(self._memo[memo], adapter)
        return self._memo[memo]

    def _load_base(self, base: ResolvedBase) -> str:
        if ("base", base.number) not in self._memo:
            self._memo["base", base.number] = self._add_base(base)
        return self._memo["base", base.number]

    def _add_base(self, base: ResolvedBase) -> str:
        key = LOAD_BASE.add_to(self.graph, constants=base.constants(), files=_digests(base.sources), origin=base.origin)
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

    def _encode_images(
        self, adapters: Sequence[ResolvedAdapter], prompt: ResolvedPrompt
    ) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """For each IP-Adapter that is not off, the key of its encoded images and how many images they are."""
        keys: list[str] = []
        counts: list[int] = []
        for adapter in adapters:
            if not isinstance(adapter, ResolvedIpAdapter) or prompt.id not in adapter.image_prompts:
                continue
            shown = adapter.image_prompts[prompt.id]
            memo = ("show", shown.number)
            if memo not in self._memo:
                self._memo[memo] = ENCODE_IMAGE.add_to(
                    self.graph,
                    constants=shown.constants(),
                    files=_digests(shown.sources),
                    origin=shown.origin,
                )
                self.image_prompts.setdefault(self._memo[memo], shown)
            keys.append(self._memo[memo])
            counts.append(shown.count)
        return tuple(keys), tuple(counts)

    def _batch(
        self, variant: ResolvedVariant, sampling: Mapping[str, Json], members: Sequence[_Member]
    ) -> list[PlannedImage]:
        handle = members[0].denoiser
        inputs = {"model": handle}
        for n, member in enumerate(members):
            inputs[f"conditioning.{n}"] = member.conditioning
            for number, key in enumerate(member.images):
                inputs[f"image.{n}.{number}"] = key
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
        return [self._image(variant, member, latents, index) for index, member in enumerate(members)]

    def _image(self, variant: ResolvedVariant, member: _Member, latents: str, index: int) -> PlannedImage:
        prompt, seed = member.prompt, member.seed
        origin: Place = prompt.origin
        picture = DECODE.add_to(
            self.graph,
            constants={"index": index},
            inputs={"model": member.denoiser, "latents": latents},
            origin=origin,
        )
        key = SAVE.add_to(self.graph, constants=variant.output, inputs={"picture": picture}, origin=origin)
        prefix = ""
        if self._numbered:
            prefix = f"{variant.index + 1:0{self._digits}d}-"
        suffix = SUFFIXES[str(variant.output["format"])]
        path = f"{prefix}{prompt.id}-{seed}{suffix}"
        return PlannedImage(path=path, variant=variant.index, prompt=prompt.id, seed=seed, key=key)


def _split_sampling(sampling: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """The sampling arguments that belong to encoding a prompt, and those that belong to denoising."""
    text: dict[str, Json] = {}
    rest: dict[str, Json] = {}
    for name, value in sampling.items():
        if name in TEXT_SAMPLING:
            text[name] = value
        else:
            rest[name] = value
    return text, rest


def _digests(sources: Mapping[str, AnySource]) -> dict[str, str]:
    return {role: source.digest for role, source in sources.items()}


def text_scale(scale: Json) -> Json:
    """The part of a scale for text encoders, so that a change of the denoiser's part does not encode prompts again."""
    if not isinstance(scale, Mapping):
        return scale
    return {name: value for name, value in scale.items() if name.startswith("text_encoder")}
