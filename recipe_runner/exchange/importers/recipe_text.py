"""Write a `ForeignGeneration` as a recipe: every value checked, every comment one line, and a list of what was lost."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recipe_runner.document.write_yaml import to_yaml
from recipe_runner.exchange.importers.addresses import address_of
from recipe_runner.exchange.importers.find_models import ModelFolders, stem
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignGeneration, ForeignModel, ImportRefused
from recipe_runner.exchange.importers.request import prompts_of, sampling_of, scheduler_of, seeds_of
from recipe_runner.problems.problem import Problem

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

T = TypeVar("T")

_NAME = 60
_MOST_ADAPTERS = 100
_COMMENT = 180
_LABELS = {"lora": "LoRAs", "textual_inversion": "textual inversions"}
_TOKEN = re.compile(r"[^\x00-\x20\x7f]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRecipe:
    """A recipe's text, the program whose text it comes from, and one sentence for each thing that it does not do."""

    name: str
    program: str
    text: str
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportContext:
    """The folder of the recipe (its paths are relative to it), and what helps to name its files.

    `base` replaces the base model of the text; `models` are searched for the files that the text names.
    """

    folder: Path
    base: str | None = None
    models: ModelFolders | None = None

    def find(self, model: ForeignModel) -> str | None:
        """The path that the recipe has for `model`; None when the file is not in the folders of models."""
        if self.models is None:
            return None
        found = self.models.find(model)
        return None if found is None else relative(found, self.folder)


def recipe_of(generation: ForeignGeneration, source: str, context: ImportContext) -> ImportedRecipe:
    """The recipe of what `source` (a file's name) says.

    Raises:
        ImportRefused: E853 when the text holds neither a prompt nor settings.
    """
    if not any(map(str.strip, generation.prompts.values())) and not generation.sampling:
        problem = Problem(code="E853", message=f"{generation.program}'s text holds neither a prompt nor settings")
        raise ImportRefused(problem)
    return _Writer(generation, context).recipe(source)


class _Writer:
    """Writes one recipe; `_lost` grows with each section."""

    def __init__(self, generation: ForeignGeneration, context: ImportContext) -> None:
        self._made = generation
        self._context = context
        self._lost: list[str] = []

    def recipe(self, source: str) -> ImportedRecipe:
        made = self._made
        name, description = heading(source, made.program)
        pipeline = self._kept(known_pipeline(made.pipeline))
        base = self._base(pipeline)
        adapters = self._adapters(pipeline)
        prompts = self._kept(prompts_of(made.prompts, pipeline))
        sampling = self._kept(sampling_of(made, pipeline))
        seeds = self._kept(seeds_of(made.seeds))
        parts = [to_yaml({"recipe": 1, "name": name, "description": description}, inline=False), base]
        if adapters:
            parts.append(f"adapters:\n{adapters}")
        parts.append(to_yaml({"prompts": [prompts]}, inline=False))
        if seeds:
            parts.append(f"seeds: {list(seeds)}\n")
        if sampling:
            parts.append(to_yaml({"sampling": sampling}, inline=False))
        lost = tuple(filter(None, dict.fromkeys(map(one_line, (*made.lost, *self._lost)))))
        text = comments(lost) + "\n".join(parts)
        return ImportedRecipe(name=name, program=made.program, text=text, lost=lost)

    def _kept(self, checked: tuple[T, list[str]]) -> T:
        """The values that a check keeps; its sentences about the others are noted."""
        values, lost = checked
        self._lost += lost
        return values

    def _base(self, pipeline: str | None) -> str:
        made, notes = self._made, list[str]()
        section = self._base_model(notes)
        if made.base is not None:
            notes += _hash_notes(made.base)
        if made.dtype is not None:
            section["dtype"] = made.dtype
        if pipeline is not None:
            section["pipeline"] = pipeline
        scheduler = self._kept(scheduler_of(made))
        if scheduler:
            section["scheduler"] = scheduler
        components: dict[str, Json] = {}
        for name, model in made.components.items():
            components[name] = self._model(model, f"the {name}", notes)
            notes += [f"{name}: {note}" for note in _hash_notes(model)]
        if components:
            section["components"] = components
        return _section("base", section, notes)

    def _base_model(self, notes: list[str]) -> dict[str, Json]:
        base = self._made.base or ForeignModel(name="")
        if self._context.base is None:
            # This package's own images have a hash only for files, so a base without one is a folder.
            folder = base.hub or (self._made.program == "recipe_runner" and bool(base.name) and not base.hashes)
            return self._model(base, "the base model", notes, folder=folder)
        if base.name:
            notes.append(f"the text names {base.name}")
        return {"model": self._context.base}

    def _model(self, model: ForeignModel, what: str, notes: list[str], *, folder: bool = False) -> dict[str, Json]:
        """The keys of a source: the path of the file on this machine, else the name as an address."""
        found = self._context.find(model)
        if found is not None:
            by = "name" if stem(found) == stem(model.name) else "hash"
            notes.append(f"{what} was found by {by}: {model.name or Path(found).name}")
            return {"model": found}
        address, odd = address_of(model, folder=folder)
        self._lost += [f"{what}: {sentence}" for sentence in odd]
        options = {key: value for key, value in model.options.items() if key != "target" and _printable(value)}
        return {"model": address, **options}

    def _adapters(self, pipeline: str | None) -> str:
        names: set[str] = set()
        tokens: set[str] = set()
        sections = ""
        for adapter in self._made.adapters[:_MOST_ADAPTERS]:
            reason = refused_adapter(adapter, pipeline, tokens)
            if reason:
                self._lost.append(f"the {adapter.kind} `{adapter.model.name[:60]}`: {reason}")
                continue
            name = _unused(_adapter_name(adapter.token or adapter.model.name), names)
            names.add(name)
            tokens.add(adapter.token or "")
            sections += textwrap.indent(self._adapter(name, adapter), "  ", lambda _: True)
        if len(self._made.adapters) > _MOST_ADAPTERS:
            self._lost.append(f"{len(self._made.adapters) - _MOST_ADAPTERS} more adapters")
        return sections

    def _adapter(self, name: str, adapter: ForeignAdapter) -> str:
        notes: list[str] = []
        entry: dict[str, Json] = {"kind": adapter.kind, **self._model(adapter.model, f"the adapter {name}", notes)}
        if adapter.kind == "textual_inversion":
            entry["token"] = adapter.token
        else:
            target = adapter.model.options.get("target")
            if target and not self._made.flow:
                entry["target"] = target
            entry["scale"] = adapter.scale
        return _section(name, entry, [*notes, *_hash_notes(adapter.model)])


def heading(source: str, program: str) -> tuple[str, str]:
    """The name and the description of the recipe of a file."""
    path = Path(source)
    return slug(path.stem) or "imported", one_line(f"Imported from {path.name} ({program}).")


def comments(lost: Sequence[str]) -> str:
    """The comment at the top of a recipe that says what it does not do."""
    if not lost:
        return ""
    return "# Not carried over:\n" + "".join(f"# - {sentence}\n" for sentence in lost)


def known_pipeline(name: str | None) -> tuple[str | None, list[str]]:
    """The pipeline class when diffusers has it and it draws from text; else None and a sentence."""
    from recipe_runner.pipelines import table as diffusers_table  # noqa: PLC0415 - a table of half a megabyte, read once

    if name is None or name in diffusers_table.pipelines():
        return name, []
    return None, [f"the pipeline class {name[:80]}, which draws from more than text or is not known"]


def refused_adapter(adapter: ForeignAdapter, pipeline: str | None, tokens: Collection[str]) -> str:
    """Why the recipe cannot hold an adapter; empty when it can. `tokens` are those of the adapters before it."""
    from recipe_runner.pipelines import table as diffusers_table  # noqa: PLC0415

    entry = diffusers_table.pipelines().get(pipeline or "")
    if entry is not None:
        takes = {"lora": entry["lora"], "textual_inversion": entry["mixins"]["textual_inversion"]}
        if not takes[adapter.kind]:
            return f"{pipeline} does not take {_LABELS[adapter.kind]}"
    if adapter.kind == "lora":
        return ""
    if not _TOKEN.fullmatch(adapter.token or "") or not _printable(adapter.token):
        return "its name cannot be a token"
    if adapter.token in tokens:
        return "another adapter has its token"
    return ""


def _section(name: str, tree: Mapping[str, Json], notes: list[str]) -> str:
    """A section with comments under its key."""
    key, _, body = to_yaml({name: tree}, inline=False).partition("\n")
    lines = filter(None, dict.fromkeys(map(one_line, notes)))
    return "\n".join((key, *(f"  # {line}" for line in lines), body))


def _hash_notes(model: ForeignModel) -> list[str]:
    return [f"{kind} {value[:80]}" for kind, value in model.hashes.items()]


def one_line(text: str) -> str:
    """`text` on one line of printable characters."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(printable.split())
    if len(line) <= _COMMENT:
        return line
    return f"{line[: _COMMENT - 1]}…"


def _printable(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()  # noqa: PLR2004


def slug(text: str) -> str:
    """`text` as a recipe's name; empty when none of its characters can be in one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_NAME].strip("-")


def _adapter_name(name: str) -> str:
    file = name.replace("\\", "/").rpartition("/")[2]
    stem = re.sub(r"\.(safetensors|sft|pt|bin|ckpt)$", "", file, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:_NAME] or "adapter"


def _unused(name: str, taken: Collection[str]) -> str:
    number, unused = 1, name
    while unused in taken:
        number += 1
        unused = f"{name[: _NAME - 4]}-{number}"
    return unused


def relative(path: Path, folder: Path) -> str:
    """`path` as a recipe in `folder` writes it."""
    from os.path import relpath  # noqa: PLC0415 - pathlib's walks up only from Python 3.12 on

    written = Path(relpath(path.resolve(), folder.resolve())).as_posix()
    return written if written.isprintable() else path.name
