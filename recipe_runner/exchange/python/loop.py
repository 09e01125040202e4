"""The part of a script that makes the pictures: loops over variants, prompts and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recipe_runner.canonical import mapping
from recipe_runner.exchange.python.code import Pair, literal
from recipe_runner.plan.compile import SUFFIXES

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_FRESH = "pipeline.scheduler = copy.deepcopy(scheduler)  # some remember the last picture"


@dataclass(frozen=True, slots=True)
class Column:
    """A value that variants may have differently: its name in the table of variants, and one value for each."""

    name: str
    values: Sequence[object]

    @property
    def varies(self) -> bool:
        """Whether the table has to say it."""
        first = literal(self.values[0])
        return any(literal(value) != first for value in self.values)

    def use(self, constant: str | None = None) -> str:
        """The expression inside the loop: of the table, the constant's name, or the value itself."""
        return f'variant["{self.name}"]' if self.varies else constant or literal(self.values[0])


Columns = Mapping[str, Column]


def loop(columns: Columns, *, batch: int, embeds: bool) -> str:
    """The code after the functions. `embeds`: prompts are encoded by `embed` where they skip layers."""
    several = any(column.varies for column in columns.values())
    lines = ["", "OUTPUT.mkdir(parents=True, exist_ok=True)"]
    if several and columns["load"].varies:
        lines += [
            "loaded, pipeline = None, None",
            "for variant in VARIANTS:",
            '    if variant["load"] is not loaded:',
            "        del pipeline",
            '        loaded, pipeline = variant["load"], variant["load"]()',
            "        own_scheduler = pipeline.scheduler",
        ]
    else:
        lines += [f"pipeline = {columns['load'].use()}()", "own_scheduler = pipeline.scheduler"]
        lines += ["for variant in VARIANTS:"] if several else []
    body = [*_scheduler(columns["scheduler"]), *_scales(columns["scales"])]
    looks = columns["looks"]
    if any(value is not None for value in looks.values):
        absent = None in looks.values
        body += ['if variant["looks"] is not None:'] if absent else []
        body += [f"{'    ' * absent}pipeline.set_ip_adapter_scale({looks.use()})"]
    body += _batches(columns, batch) if batch > 1 else _pictures(columns, embeds=embeds)
    indent = "    " if several else ""
    return "\n".join([*lines, *(indent + line for line in body)]) + "\n"


def saving(output: Mapping[str, Json]) -> Pair:
    """The suffix of a picture's file, and what Pillow's `save` is told so that it is as a run writes it."""
    name, quality = str(output["format"]), output.get("quality")
    options: dict[str, Json] = {}
    if name == "jpeg":
        options = {"quality": quality or 95, "subsampling": 0}
    elif name == "webp":
        options = {"lossless": True} if quality is None else {"quality": quality}
    return Pair(SUFFIXES[name], options)


def _scheduler(column: Column) -> list[str]:
    if column.varies:
        return [
            "scheduler = own_scheduler",
            'if variant["scheduler"] is not None:',
            '    chosen, settings = variant["scheduler"]',
            "    scheduler = (chosen or type(own_scheduler)).from_config(own_scheduler.config, **settings)",
        ]
    first = column.values[0]
    if not isinstance(first, Pair):
        return ["scheduler = own_scheduler"]
    chosen = literal(first.first)
    name = chosen if chosen != "None" else "type(own_scheduler)"
    more = "".join(f", {key}={literal(value)}" for key, value in mapping(first.second).items())
    return [f"scheduler = {name}.from_config(own_scheduler.config{more})"]


def _scales(column: Column) -> list[str]:
    if not any(column.values):
        return []
    return [
        f"scales = copy.deepcopy({column.use()})  # set_adapters empties what it is given",
        "pipeline.set_adapters(list(scales), list(scales.values()))",
    ]


def _save(column: Column, prefix: str) -> str:
    """The statement that writes `image` under the name that a run gives it."""
    # Older Pythons want other quotes inside an f-string.
    before = "{" + prefix.replace('"', "'") + "}" if prefix.startswith("variant") else prefix[1:-1]
    if column.varies:
        chosen = column.use()
        return f'image.save(OUTPUT / (f"{before}{{name}}-{{seed}}" + {chosen}[0]), **{chosen}[1])'
    first = column.values[0]
    suffix, options = (first.first, mapping(first.second)) if isinstance(first, Pair) else ("", {})
    more = "".join(f", {key}={literal(value)}" for key, value in options.items())
    return f'image.save(OUTPUT / f"{before}{{name}}-{{seed}}{suffix}"{more})'


def _pictures(columns: Columns, *, embeds: bool) -> list[str]:
    arguments = columns["arguments"].use("ARGUMENTS")
    body = [_FRESH]
    if any("SDE" in literal(value) for value in columns["scheduler"].values):
        body += ['if hasattr(pipeline.scheduler, "noise_sampler_seed"):']
        body += ["    pipeline.scheduler.noise_sampler_seed = seed"]
    body += ['generator = torch.Generator("cpu").manual_seed(seed)']
    if embeds:
        body += [
            f"texts, arguments = dict(prompt), dict({arguments})",
            'if "clip_skip" in arguments:',
            '    texts["prompt_embeds"] = embed(pipeline, texts.pop("prompt"), arguments.pop("clip_skip"))',
        ]
    given = "**texts, **arguments" if embeds else f"**prompt, **{arguments}"
    body += [f"image = pipeline({given}, generator=generator).images[0]"]
    body += [_save(columns["save"], columns["prefix"].use())]
    outer = [f"for name, prompt in {columns['prompts'].use('PROMPTS')}.items():"]
    guided = columns["guided"]
    if any(value is not None for value in guided.values):
        outer += ['    if "images" in prompt:', f"        prompt = shown(pipeline, prompt, guided={guided.use()})"]
    outer += [f"    for seed in {columns['seeds'].use('SEEDS')}:"]
    return [*outer, *(f"        {line}" for line in body)]


def _batches(columns: Columns, batch: int) -> list[str]:
    """Level `fast`: which pictures share a batch decides their last bits, so the batches are those of the run."""
    prompts, seeds = columns["prompts"].use("PROMPTS"), columns["seeds"].use("SEEDS")
    return [
        f"wanted = [(name, prompt, seed) for name, prompt in {prompts}.items() for seed in {seeds}]",
        f"for first in range(0, len(wanted), {batch}):",
        f"    batch = wanted[first : first + {batch}]",
        f"    {_FRESH}",
        '    generators = [torch.Generator("cpu").manual_seed(seed) for _, _, seed in batch]',
        "    keys = dict.fromkeys(key for _, prompt, _ in batch for key in prompt)",
        '    texts = {key: [prompt.get(key, "") for _, prompt, _ in batch] for key in keys}',
        f"    images = pipeline(**texts, **{columns['arguments'].use('ARGUMENTS')}, generator=generators).images",
        "    for (name, _, seed), image in zip(batch, images):",
        f"        {_save(columns['save'], columns['prefix'].use())}",
    ]
