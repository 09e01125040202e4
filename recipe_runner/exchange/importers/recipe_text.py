"""A `Generation` as a recipe: every value checked, every comment one line, and a list of what was lost."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.document.write_yaml import to_yaml
from recipe_runner.exchange.importers.addresses import address_of
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel, Generation, ImportRefused
from recipe_runner.exchange.importers.request import prompts_of, sampling_of, scheduler_of, seeds_of
from recipe_runner.problems.problem import Problem

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.exchange.importers.find_models import ModelFolders

_NAME = 60
_MOST_ADAPTERS = 100
_COMMENT = 180
_TOKEN = re.compile(r"[^\x00-\x20\x7f]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRecipe:
    """A recipe's text, the program whose text it was made of, and one sentence for each thing it does not do."""

    name: str
    program: str
    text: str
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where a recipe will stand (paths are written relative to it), and what helps to name its files.

    `base` is written instead of what the text names; `models` are searched for the files that it names.
    """

    folder: Path
    base: str | None = None
    models: ModelFolders | None = None


def recipe_of(generation: Generation, source: str, surroundings: Surroundings) -> ImportedRecipe:
    """The recipe of what `source` (a file's name) says.

    Raises:
        ImportRefused: E853, when nothing that a recipe needs is there.
    """
    if not any(text.strip() for text in generation.prompts.values()) and not generation.sampling:
        problem = Problem(code="E853", message=f"{generation.program}'s text holds neither a prompt nor settings")
        raise ImportRefused(problem)
    return _Writer(generation, surroundings).recipe(source)


class _Writer:
    """One recipe; `_lost` grows while its sections are written."""

    def __init__(self, generation: Generation, surroundings: Surroundings) -> None:
        self._made = generation
        self._place = surroundings
        self._lost: list[str] = []

    def recipe(self, source: str) -> ImportedRecipe:
        made = self._made
        name = slug(Path(source).stem) or "imported"
        pipeline, lost = known_pipeline(made.pipeline)
        self._lost += lost
        base, base_notes = self._base(pipeline)
        adapters = self._adapters(pipeline)
        prompts, more = prompts_of(made.prompts, pipeline)
        self._lost += more
        sampling, more = sampling_of(made, pipeline)
        self._lost += more
        seeds, more = seeds_of(made.seeds)
        sentences = map(one_line, (*made.lost, *self._lost, *more))
        self._lost = [*dict.fromkeys(sentence for sentence in sentences if sentence)]
        head: dict[str, Json] = {
            "recipe": 1,
            "name": name,
            "description": one_line(f"Imported from {Path(source).name} ({made.program})."),
        }
        parts = [
            comments(self._lost),
            to_yaml(head, inline=False),
            _section("base", base, base_notes),
            f"adapters:\n{adapters}" if adapters else "",
            to_yaml({"prompts": [prompts]}, inline=False),
            f"seeds: {list(seeds)}\n" if seeds else "",
            to_yaml({"sampling": sampling}, inline=False) if sampling else "",
        ]
        text = parts[0] + "\n".join(part for part in parts[1:] if part)
        return ImportedRecipe(name=name, program=made.program, text=text, lost=tuple(self._lost))

    def _base(self, pipeline: str | None) -> tuple[dict[str, Json], list[str]]:
        made = self._made
        section: dict[str, Json] = {}
        notes: list[str] = []
        if self._place.base is not None:
            section["model"] = self._place.base
            if made.base is not None and made.base.name:
                notes.append(f"the text names {made.base.name}")
        else:
            section |= self._model(
                made.base or ForeignModel(name=""), "the base model", notes, folder=self._has_folder()
            )
        if made.base is not None:
            notes += _hash_notes(made.base)
        if made.dtype is not None:
            section["dtype"] = made.dtype
        if pipeline is not None:
            section["pipeline"] = pipeline
        scheduler, lost = scheduler_of(made)
        self._lost += lost
        if scheduler:
            section["scheduler"] = scheduler
        components: dict[str, Json] = {}
        for name, model in made.components.items():
            components[name] = self._model(model, f"the {name}", notes)
            notes += [f"{name}: {note}" for note in _hash_notes(model)]
        if components:
            section["components"] = components
        return section, notes

    def _has_folder(self) -> bool:
        """Whether a base without a suffix is a folder: this package's own pictures have a hash only for files."""
        base = self._made.base
        return base is not None and ((self._made.program == "recipe_runner" and not base.hashes) or base.hub)

    def _model(self, model: ForeignModel, what: str, notes: list[str], *, folder: bool = False) -> dict[str, Json]:
        """The keys of a source: where the file is on this machine, else the name as an address."""
        found = self._place.models.find(model) if self._place.models is not None else None
        if found is not None:
            notes.append(f"{what} was found by {'name' if model.name else 'hash'}: {model.name or found.name}")
            return {"model": relative(found, self._place.folder)}
        address, odd = address_of(model, folder=folder)
        self._lost += [f"{what}: {sentence}" for sentence in odd]
        options = {key: value for key, value in model.options.items() if key != "target" and _printable(value)}
        return {"model": address, **options}

    def _adapters(self, pipeline: str | None) -> str:
        taken: dict[str, ForeignAdapter] = {}
        tokens: set[str] = set()
        written = ""
        for adapter in self._made.adapters[:_MOST_ADAPTERS]:
            reason = refused_adapter(adapter, pipeline, tokens)
            if reason:
                self._lost.append(f"the {adapter.kind} `{adapter.model.name[:60]}`: {reason}")
                continue
            name = _unused(_adapter_name(adapter.token or adapter.model.name), taken)
            taken[name] = adapter
            notes: list[str] = []
            entry: dict[str, Json] = {"kind": adapter.kind, **self._model(adapter.model, f"the adapter {name}", notes)}
            if adapter.kind == "lora":
                target = adapter.model.options.get("target")
                if target and not self._made.flow:
                    entry["target"] = target
                entry["scale"] = adapter.scale
            else:
                tokens.add(str(adapter.token))
                entry["token"] = adapter.token
            section = _section(name, entry, [*notes, *_hash_notes(adapter.model)])
            written += textwrap.indent(section, "  ", lambda _: True)
        if len(self._made.adapters) > _MOST_ADAPTERS:
            self._lost.append(f"{len(self._made.adapters) - _MOST_ADAPTERS} more adapters")
        return written


def comments(lost: Sequence[str]) -> str:
    """The comment at the top of a recipe that says what it does not do."""
    return "# Not carried over:\n" + "".join(f"# - {sentence}\n" for sentence in lost) if lost else ""


def known_pipeline(name: str | None) -> tuple[str | None, list[str]]:
    """The pipeline class, where diffusers has it for drawing from text."""
    from recipe_runner.pipelines import table as diffusers_table  # noqa: PLC0415 - a table of half a megabyte, read once

    if name is None or name in diffusers_table.pipelines():
        return name, []
    return None, [f"the pipeline class {name[:80]}, which draws from more than text or is not known"]


def refused_adapter(adapter: ForeignAdapter, pipeline: str | None, tokens: set[str]) -> str:
    """Why an adapter cannot stand in the recipe; empty where it can."""
    from recipe_runner.pipelines import table as diffusers_table  # noqa: PLC0415

    entry = diffusers_table.pipelines().get(pipeline or "")
    if adapter.kind == "lora":
        return f"{pipeline} takes no LoRA" if entry is not None and not entry["lora"] else ""
    if entry is not None and not entry["mixins"]["textual_inversion"]:
        return f"{pipeline} takes no textual inversion"
    if not _TOKEN.fullmatch(adapter.token or "") or not _printable(adapter.token):
        return "its name cannot be a token"
    return "its token is taken" if adapter.token in tokens else ""


def _section(name: str, tree: Mapping[str, Json], notes: list[str]) -> str:
    """A section with comments under its key."""
    key, _, body = to_yaml({name: tree}, inline=False).partition("\n")
    comments = "".join(f"  # {line}\n" for line in dict.fromkeys(map(one_line, notes)) if line)
    return f"{key}\n{comments}{body}"


def _hash_notes(model: ForeignModel) -> list[str]:
    return [f"{kind} {value[:80]}" for kind, value in model.hashes.items()]


def one_line(text: str) -> str:
    """`text` on one line of printable characters."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= _COMMENT else f"{shown[: _COMMENT - 1]}…"


def _printable(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()  # noqa: PLR2004


def slug(text: str) -> str:
    """`text` as a recipe's name; empty where nothing of it can stand in one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_NAME].strip("-")


def _adapter_name(name: str) -> str:
    file = name.replace("\\", "/").rpartition("/")[2]
    stem = re.sub(r"\.(safetensors|sft|pt|bin|ckpt)$", "", file, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:_NAME] or "adapter"


def _unused(name: str, taken: Mapping[str, Any]) -> str:
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
