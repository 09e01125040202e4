"""What a change of a recipe costs: which images change, stay, appear and vanish, and which input is the reason.

Images are compared by node key, the digest of everything that decides them. Where a plan cannot be made, because what
an old recipe names is no longer there, they are compared by what the recipes say of each image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from recipe_runner.canonical import Json, canonical, digest
from recipe_runner.diff.difference import Cost, Fate, ImageFate
from recipe_runner.diff.recipe import spoken
from recipe_runner.diff.tree_diff import alike
from recipe_runner.diff.word_diff import compare_words
from recipe_runner.document.document import Document
from recipe_runner.document.paths import prompt_id
from recipe_runner.graph.changed_inputs import changes, flat, inputs_of
from recipe_runner.plan.compile import Plan
from recipe_runner.plan.resolved import ResolvedAdapter, ResolvedIpAdapter
from recipe_runner.plan.resolved_recipe import ResolvedVariant
from recipe_runner.recipe.matrix import variants
from recipe_runner.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that decides an image but its seed, by the recipe's paths: of each adapter, in order, and the rest."""

    adapters: Mapping[str, Mapping[str, Json]]
    rest: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image that a recipe asks for. `inputs` and `graph` (see `reasons`) are asked for when its key has changed."""

    key: str
    prompt: str
    seed: int
    variant: Mapping[str, Json]
    steps: int
    inputs: Callable[[], Inputs]
    graph: Callable[[], Mapping[str, Json]] = dict

    @property
    def place(self) -> bytes:
        """What stays when an image changes: its prompt's id, seed and variant."""
        return canonical([self.prompt, self.seed, alike(self.variant)])


def planned(plan: Plan) -> tuple[list[Picture], list[str]]:
    """The images of a plan, and why its keys are provisional."""
    missing = [f"{role} is not on this machine" for role, s in plan.sources().items() if not isinstance(s, Source)]

    @cache
    def inputs(variant: int, prompt: str) -> Inputs:
        return _resolved(plan.recipe.variants[variant], prompt, plan.recipe.reproducibility)

    pictures = [
        Picture(
            key=image.key,
            prompt=image.prompt,
            seed=image.seed,
            variant=plan.recipe.variants[image.variant].values,
            steps=_steps(plan.recipe.variants[image.variant].sampling),
            inputs=partial(inputs, image.variant, image.prompt),
            graph=partial(inputs_of, plan.graph, image.key),
        )
        for image in plan.images
    ]
    return pictures, missing


def said(document: Document, values: Sequence[Mapping[str, Json]] = ()) -> list[Picture]:
    """The images of a checked recipe by what it says of them: keys are digests of that.

    `values` are those of each variant, where they are not to be taken as the recipe has them.
    """
    return list(_said(document, values))


def _said(document: Document, values: Sequence[Mapping[str, Json]]) -> Iterator[Picture]:
    for number, variant in enumerate(variants(document)):
        tree = spoken(variant.tree)
        for position, entry in enumerate(tree["prompts"]):
            name = prompt_id(entry, position)
            texts = {key: value for key, value in entry.items() if key != "id"}
            decides = {section: tree[section] for section in ("base", "sampling", "output")}
            decides |= {"runtime": {"reproducibility": tree["runtime"]["reproducibility"]}}
            contents = digest([decides, list(tree["adapters"].values()), texts])
            inputs = partial(_inputs, tree["adapters"], {**decides, "prompts": {name: texts}})
            for seed in tree["seeds"]:
                yield Picture(
                    key=f"said:{digest([contents, seed])}",
                    prompt=name,
                    seed=seed,
                    variant=values[number] if values else variant.values,
                    steps=_steps(tree["sampling"]),
                    inputs=inputs,
                )


def cost(old: Sequence[Picture], new: Sequence[Picture], provisional: Sequence[str]) -> Cost:
    """What becomes of each image, in the new recipe's order and then what vanishes."""
    had, has = {picture.key: picture for picture in old}, {picture.key for picture in new}
    free: dict[bytes, Picture] = {picture.place: picture for picture in old if picture.key not in has}
    known = _Known(old)
    images: list[ImageFate] = []
    for picture in new:
        if picture.key in had:
            images.append(_fate("stays", had[picture.key], picture))
        elif (before := free.pop(picture.place, None)) is not None:
            # What no path of a recipe says, such as which images share a batch, the build graph says.
            why = reasons_between(before.inputs(), picture.inputs()) or changes(before.graph(), picture.graph())
            images.append(_fate("changes", before, picture, why))
        else:
            images.append(_fate("appears", None, picture, known.lacks(picture)))
    now = _Known(new)
    images += [_fate("vanishes", picture, None, now.lacks(picture)) for picture in free.values()]
    made = {picture.key: picture.steps for picture in new if picture.key not in had}
    return Cost(
        images=tuple(images),
        provisional=tuple(dict.fromkeys(provisional)),
        to_make=len(made),
        denoising_steps=sum(made.values()),
    )


class _Known:
    """What a recipe's images have: to say what of another image is new."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._prompts = {picture.prompt for picture in pictures}
        self._seeds = {picture.seed for picture in pictures}
        self._variants = {canonical(alike(picture.variant)) for picture in pictures}
        values = [item for picture in pictures for item in picture.variant.items()]
        self._values = {(axis, canonical(alike(value))) for axis, value in values}
        self._axes = {axis for axis, _ in self._values}

    def lacks(self, picture: Picture) -> tuple[str, ...]:
        """The prompt, seed, axes and values of `picture` that no image here has."""
        if not self._prompts:
            return ()
        found = [] if picture.prompt in self._prompts else [f"prompt {picture.prompt}"]
        found += [] if picture.seed in self._seeds else [f"seed {picture.seed}"]
        if canonical(alike(picture.variant)) not in self._variants:
            news = [
                f"{axis} = {value}" if axis in self._axes else f"axis {axis}"
                for axis, value in picture.variant.items()
                if (axis, canonical(alike(value))) not in self._values
            ]
            found += news or ([f"axis {axis} gone" for axis in self._axes if axis not in picture.variant])
        # Ids that count positions may say nothing of what is new.
        return tuple(found) or (f"prompt {picture.prompt}",)


def _fate(fate: Fate, old: Picture | None, new: Picture | None, reasons: Sequence[str] = ()) -> ImageFate:
    shown = new or old
    if shown is None:
        message = "BUG: an image on neither side"
        raise AssertionError(message)
    return ImageFate(
        fate=fate,
        prompt=shown.prompt,
        seed=shown.seed,
        variant=shown.variant,
        old_key=old.key if old else None,
        new_key=new.key if new else None,
        reasons=tuple(reasons),
    )


def reasons_between(old: Inputs, new: Inputs) -> tuple[str, ...]:
    """What of an image's inputs differs, by the recipe's paths."""
    texts = {name: text for name, text in new.rest.items() if name.startswith("prompts.")}
    reworded = [name for name, text in texts.items() if old.rest.get(name, text) != text]
    phrases = [f"{name}: {_words(str(old.rest[name]), str(new.rest[name]))}" for name in reworded]
    rests = [{name: value for name, value in side.rest.items() if name not in reworded} for side in (old, new)]
    phrases += changes(rests[0], rests[1])
    for name, adapter in new.adapters.items():
        phrases += changes(old.adapters[name], adapter) if name in old.adapters else [f"adapters.{name} (new)"]
    phrases += [f"adapters.{name} (gone)" for name in old.adapters if name not in new.adapters]
    before = [name for name in old.adapters if name in new.adapters]
    after = [name for name in new.adapters if name in old.adapters]
    if before != after:
        phrases.append(f"order of adapters: {', '.join(before)} → {', '.join(after)}")
    return tuple(phrases)


def _words(old: str, new: str) -> str:
    """The words that one text has and the other has not: of two long prompts the beginnings say nothing."""
    words = compare_words(old, new)
    sides = [" … ".join(word.text.strip() for word in words if word.sign == sign) for sign in ("-", "+")]
    return " → ".join(text or "(nothing)" for text in sides)


def _resolved(variant: ResolvedVariant, prompt: str, reproducibility: str) -> Inputs:
    """The inputs of the images of a prompt; contents of files by their digest."""
    base = variant.base
    adapters: dict[str, Json] = {adapter.name: _adapter(adapter, prompt) for adapter in variant.adapters}
    rest: dict[str, Json] = {
        "base": {
            "contents": base.source.digest,
            "config": base.config.digest if base.config else None,
            "pipeline": base.pipeline,
            "dtype": base.dtype,
            "variant": base.variant,
            "scheduler": {"class": base.scheduler_class, "config": base.scheduler_config},
            "components": {
                name: "left out" if part is None else {"contents": part.source.digest, "dtype": part.dtype}
                for name, part in base.components.items()
            },
        },
        "prompts": {prompt: next(entry.texts for entry in variant.prompts if entry.id == prompt)},
        "sampling": variant.sampling,
        "output": variant.output,
        "runtime": {"reproducibility": reproducibility},
    }
    return _inputs(adapters, rest)


def _adapter(adapter: ResolvedAdapter, prompt: str) -> Json:
    """What of an adapter decides the images of a prompt."""
    shown = adapter.image_prompts.get(prompt) if isinstance(adapter, ResolvedIpAdapter) else None
    images = {} if shown is None else {name: source.digest for name, source in shown.sources.items()}
    return {
        "contents": {role: source.digest for role, source in adapter.sources.items()},
        "scale": adapter.scale,
        "members": {member.name: _adapter(member, prompt) for member in adapter.with_members()[:-1]},
        "images": {**(shown.constants() if shown else {}), "contents": images},
        **adapter.constants(),
    }


def _inputs(adapters: Mapping[str, Json], rest: Mapping[str, Json]) -> Inputs:
    return Inputs(
        adapters={name: _leaves(f"adapters.{name}", adapter) for name, adapter in adapters.items()},
        rest={path: leaf for name, part in rest.items() for path, leaf in _leaves(name, part).items()},
    )


def _leaves(name: str, tree: Json) -> dict[str, Json]:
    """The leaves that say something."""
    return {path: leaf for path, leaf in flat(name, tree).items() if leaf is not None and leaf != {}}


def _steps(sampling: Mapping[str, Json]) -> int:
    steps = sampling.get("num_inference_steps")
    return steps if isinstance(steps, int) else 0
