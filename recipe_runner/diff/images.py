"""What a change of a recipe costs: which images change, stay, appear and vanish, and which input is the reason.

Images are compared by node key, the digest of all their inputs. If a recipe cannot be planned, because a source of an
old recipe no longer exists, images are compared by what the recipes say about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from recipe_runner.canonical import Json, canonical, digest
from recipe_runner.diff.difference import Cost, Fate, ImageFate, Word
from recipe_runner.diff.recipe import spoken
from recipe_runner.diff.tree_diff import alike, kept, without
from recipe_runner.diff.word_diff import compare_words
from recipe_runner.document.document import Document
from recipe_runner.document.paths import prompt_id
from recipe_runner.graph.changed_inputs import changes, flat, inputs_of
from recipe_runner.plan.compile import Plan
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedIpAdapter
from recipe_runner.plan.resolved_base import AnySource
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.recipe.matrix import variants
from recipe_runner.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All inputs of an image except its seed, by the recipe's paths: those of each adapter in order, and the rest."""

    adapters: Mapping[str, Mapping[str, Json]]
    rest: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class AskedImage:
    """An image that a recipe asks for. `inputs` and `graph` are called only if its key has changed, to say why."""

    key: str
    prompt: str
    seed: int
    variant: Mapping[str, Json]
    steps: int
    inputs: Callable[[], Inputs]
    graph: Callable[[], Mapping[str, Json]] = dict

    @property
    def place(self) -> bytes:
        """What identifies an image across changes: its prompt's id, seed and variant."""
        return canonical([self.prompt, self.seed, alike(self.variant)])


def planned(plan: Plan) -> tuple[list[AskedImage], list[str]]:
    """The images of a plan, and why its keys are provisional."""
    missing: list[str] = []
    for role, source in plan.sources().items():
        if not isinstance(source, Source):
            missing.append(f"{role} is not on this machine")

    @cache
    def inputs(variant: int, prompt: str) -> Inputs:
        return _resolved(plan.recipe.variants[variant], prompt, plan.recipe.reproducibility)

    pictures: list[AskedImage] = []
    for image in plan.images:
        variant = plan.recipe.variants[image.variant]
        picture = AskedImage(
            key=image.key,
            prompt=image.prompt,
            seed=image.seed,
            variant=variant.values,
            steps=_steps(variant.sampling),
            inputs=partial(inputs, image.variant, image.prompt),
            graph=partial(inputs_of, plan.graph, image.key),
        )
        pictures.append(picture)
    return pictures, missing


def said(document: Document, values: Sequence[Mapping[str, Json]] = ()) -> list[AskedImage]:
    """The images of a checked recipe; their keys are digests of what the recipe says about them.

    `values` replace the values of each variant, if given.
    """
    return list(_said(document, values))


def _said(document: Document, values: Sequence[Mapping[str, Json]]) -> Iterator[AskedImage]:
    for number, variant in enumerate(variants(document)):
        own_values = variant.values
        if values:
            own_values = values[number]
        tree = spoken(variant.tree)
        for position, entry in enumerate(tree["prompts"]):
            name = prompt_id(entry, position)
            texts = without(entry, ("id",))
            runtime = {"reproducibility": tree["runtime"]["reproducibility"]}
            decides = {"base": tree["base"], "sampling": tree["sampling"], "output": tree["output"], "runtime": runtime}
            contents = digest([decides, list(tree["adapters"].values()), texts])
            inputs = partial(_inputs, tree["adapters"], {**decides, "prompts": {name: texts}})
            for seed in tree["seeds"]:
                yield AskedImage(
                    key=f"said:{digest([contents, seed])}",
                    prompt=name,
                    seed=seed,
                    variant=own_values,
                    steps=_steps(tree["sampling"]),
                    inputs=inputs,
                )


def cost(old: Sequence[AskedImage], new: Sequence[AskedImage], provisional: Sequence[str]) -> Cost:
    """The fate of each image: in the new recipe's order, then the images that vanish."""
    had, has = _by_key(old), _by_key(new)
    free: dict[bytes, AskedImage] = {}
    for picture in old:
        if picture.key not in has:
            free[picture.place] = picture
    known = _Known(old)
    images: list[ImageFate] = []
    for picture in new:
        if picture.key in had:
            images.append(_fate("stays", had[picture.key], picture))
            continue
        before = free.pop(picture.place, None)
        if before is not None:
            images.append(_fate("changes", before, picture, _why(before, picture)))
        else:
            images.append(_fate("appears", None, picture, known.lacks(picture)))
    now = _Known(new)
    images += [_fate("vanishes", picture, None, now.lacks(picture)) for picture in free.values()]
    made = without(has, had).values()
    return Cost(
        images=tuple(images),
        provisional=tuple(dict.fromkeys(provisional)),
        to_make=len(made),
        denoising_steps=sum(picture.steps for picture in made),
    )


def _by_key(pictures: Sequence[AskedImage]) -> dict[str, AskedImage]:
    return {picture.key: picture for picture in pictures}


def _why(old: AskedImage, new: AskedImage) -> Sequence[str]:
    reasons = reasons_between(old.inputs(), new.inputs())
    if reasons:
        return reasons
    # Some inputs have no path in a recipe, such as which images share a batch: only the build graph has them.
    return changes(old.graph(), new.graph())


class _Known:
    """The prompts, seeds, axes and values of a recipe's images, to say what is new in another image."""

    def __init__(self, pictures: Sequence[AskedImage]) -> None:
        self._prompts: set[str] = set()
        self._seeds: set[int] = set()
        self._variants: set[bytes] = set()
        self._values: set[tuple[str, bytes]] = set()
        self._axes: set[str] = set()
        for picture in pictures:
            self._prompts.add(picture.prompt)
            self._seeds.add(picture.seed)
            self._variants.add(canonical(alike(picture.variant)))
            for axis, value in picture.variant.items():
                self._axes.add(axis)
                self._values.add((axis, canonical(alike(value))))

    def lacks(self, picture: AskedImage) -> tuple[str, ...]:
        """The prompt, seed, axes and values of `picture` that no image here has."""
        if not self._prompts:
            return ()
        found: list[str] = []
        if picture.prompt not in self._prompts:
            found.append(f"prompt {picture.prompt}")
        if picture.seed not in self._seeds:
            found.append(f"seed {picture.seed}")
        if canonical(alike(picture.variant)) not in self._variants:
            found += self._new_values(picture) or self._axes_gone(picture)
        # An id that counts positions can name another prompt on each side; then nothing else is known to be new.
        return tuple(found) or (f"prompt {picture.prompt}",)

    def _new_values(self, picture: AskedImage) -> list[str]:
        found: list[str] = []
        for axis, value in picture.variant.items():
            if axis not in self._axes:
                found.append(f"axis {axis}")
            elif (axis, canonical(alike(value))) not in self._values:
                found.append(f"{axis} = {value}")
        return found

    def _axes_gone(self, picture: AskedImage) -> list[str]:
        return [f"axis {axis} gone" for axis in self._axes if axis not in picture.variant]


def _fate(fate: Fate, old: AskedImage | None, new: AskedImage | None, reasons: Sequence[str] = ()) -> ImageFate:
    shown = new or old
    if shown is None:
        raise AssertionError("BUG: an image on neither side")
    return ImageFate(
        fate=fate,
        prompt=shown.prompt,
        seed=shown.seed,
        variant=shown.variant,
        old_key=_key(old),
        new_key=_key(new),
        reasons=tuple(reasons),
    )


def _key(picture: AskedImage | None) -> str | None:
    if picture is None:
        return None
    return picture.key


def reasons_between(old: Inputs, new: Inputs) -> tuple[str, ...]:
    """The inputs of an image that differ, by the recipe's paths."""
    phrases: list[str] = []
    reworded: list[str] = []
    for name, text in new.rest.items():
        before = old.rest.get(name, text)
        if name.startswith("prompts.") and before != text:
            reworded.append(name)
            phrases.append(f"{name}: {_words(str(before), str(text))}")
    phrases += changes(without(old.rest, reworded), without(new.rest, reworded))
    phrases += _adapter_reasons(old.adapters, new.adapters)
    return tuple(phrases)


def _adapter_reasons(old: Mapping[str, Mapping[str, Json]], new: Mapping[str, Mapping[str, Json]]) -> Iterator[str]:
    for name, adapter in new.items():
        if name in old:
            yield from changes(old[name], adapter)
        else:
            yield f"adapters.{name} (new)"
    for name in without(old, new):
        yield f"adapters.{name} (gone)"
    before, after = list(kept(old, new)), list(kept(new, old))
    if before != after:
        yield f"order of adapters: {', '.join(before)} → {', '.join(after)}"


def _words(old: str, new: str) -> str:
    """The words that only one of the texts has: two long prompts may begin alike."""
    words = compare_words(old, new)
    return f"{_words_of(words, '-')} → {_words_of(words, '+')}"


def _words_of(words: Sequence[Word], sign: str) -> str:
    texts = [word.text.strip() for word in words if word.sign == sign]
    return " … ".join(texts) or "(nothing)"


def _resolved(variant: ResolvedVariant, prompt: str, reproducibility: str) -> Inputs:
    """The inputs of the images of a prompt, with digests for the contents of files."""
    base = variant.base
    config = None
    if base.config:
        config = base.config.digest
    components: dict[str, Json] = {}
    for name, part in base.components.items():
        components[name] = "left out"
        if part is not None:
            components[name] = {"contents": part.source.digest, "dtype": part.dtype}
    adapters: dict[str, Json] = {}
    for adapter in variant.adapters:
        adapters[adapter.name] = _adapter(adapter, prompt)
    prompts: dict[str, Json] = {}
    for entry in variant.prompts:
        if entry.id == prompt:
            prompts[prompt] = entry.texts
    rest: dict[str, Json] = {
        "base": {
            "contents": base.source.digest,
            "config": config,
            "pipeline": base.pipeline,
            "dtype": base.dtype,
            "variant": base.variant,
            "scheduler": {"class": base.scheduler_class, "config": base.scheduler_config},
            "components": components,
        },
        "prompts": prompts,
        "sampling": variant.sampling,
        "output": variant.output,
        "runtime": {"reproducibility": reproducibility},
    }
    return _inputs(adapters, rest)


def _adapter(adapter: ResolvedAdapter, prompt: str) -> Json:
    """The inputs that an adapter adds to the images of a prompt."""
    shown = None
    if isinstance(adapter, ResolvedIpAdapter):
        shown = adapter.image_prompts.get(prompt)
    images: dict[str, Json] = {"contents": {}}
    if shown is not None:
        images = {**shown.constants(), "contents": _digests(shown.sources)}
    return {
        "contents": _digests(adapter.sources),
        "scale": adapter.scale,
        "members": {member.name: _adapter(member, prompt) for member in adapter.with_members()[:-1]},
        "images": images,
        **adapter.constants(),
    }


def _digests(sources: Mapping[str, AnySource]) -> dict[str, Json]:
    return {name: source.digest for name, source in sources.items()}


def _inputs(adapters: Mapping[str, Json], rest: Mapping[str, Json]) -> Inputs:
    leaves: dict[str, Json] = {}
    for name, part in rest.items():
        leaves |= _leaves(name, part)
    return Inputs(
        adapters={name: _leaves(f"adapters.{name}", adapter) for name, adapter in adapters.items()}, rest=leaves
    )


def _leaves(name: str, tree: Json) -> dict[str, Json]:
    """The leaves that have a value."""
    return {path: leaf for path, leaf in flat(name, tree).items() if leaf is not None and leaf != {}}


def _steps(sampling: Mapping[str, Json]) -> int:
    steps = sampling.get("num_inference_steps")
    if not isinstance(steps, int):
        return 0
    return steps
