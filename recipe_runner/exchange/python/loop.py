"""Write the part of a script that makes the images: loops over variants, prompts and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recipe_runner.canonical import mapping
from recipe_runner.exchange.python.code import Pair, literal, more_arguments
from recipe_runner.plan.compile import SUFFIXES

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_FRESH = "pipeline.scheduler = copy.deepcopy(scheduler)  # some keep state of the last image"


_LOAD_EACH = (
    "loaded, pipeline = None, None",
    "for variant in VARIANTS:",
    '    if variant["load"] is not loaded:',
    "        del pipeline",
    '        loaded, pipeline = variant["load"], variant["load"]()',
    "        own_scheduler = pipeline.scheduler",
)


@dataclass(frozen=True, slots=True)
class Column:
    """A value that can differ between variants: its name in the table of variants, and the value of each variant."""

    name: str
    values: Sequence[object]

    @property
    def varies(self) -> bool:
        """Whether the values differ, so that the table must have them."""
        return len(set(map(literal, self.values))) > 1

    def use(self, constant: str | None = None) -> str:
        """The expression for the value inside the loop: from the table, the name of a constant, or the value itself."""
        if self.varies:
            return f'variant["{self.name}"]'
        if constant is not None:
            return constant
        return literal(self.values[0])


Columns = Mapping[str, Column]


def loop(columns: Columns, *, batch: int, embeds: bool) -> str:
    """The code after the functions. `embeds`: the function `embed` encodes prompts with skipped layers."""
    lines = ["", "OUTPUT.mkdir(parents=True, exist_ok=True)"]
    body = [*_scheduler(columns["scheduler"]), *_scales(columns["scales"]), *_looks(columns["looks"])]
    body += _batches(columns, batch) if batch > 1 else _images(columns, embeds=embeds)
    if columns["load"].varies:
        lines += _LOAD_EACH
        body = _indented(body)
    else:
        lines += [f"pipeline = {columns['load'].use()}()", "own_scheduler = pipeline.scheduler"]
        if any(column.varies for column in columns.values()):
            lines.append("for variant in VARIANTS:")
            body = _indented(body)
    return "\n".join([*lines, *body]) + "\n"


def _indented(lines: Sequence[str], by: str = "    ") -> list[str]:
    return [by + line for line in lines]


def _looks(column: Column) -> list[str]:
    """The statements that set the scales of IP-Adapters."""
    call = f"pipeline.set_ip_adapter_scale({column.use()})"
    if all(value is None for value in column.values):
        return []
    if None in column.values:
        return ['if variant["looks"] is not None:', f"    {call}"]
    return [call]


def saving(output: Mapping[str, Json]) -> Pair:
    """The suffix of image files, and the options of Pillow's `save` that a run uses."""
    name, quality = str(output["format"]), output.get("quality")
    options: dict[str, Json] = {}
    if name == "jpeg":
        options = {"quality": quality or 95, "subsampling": 0}
    elif name == "webp" and quality is None:
        options = {"lossless": True}
    elif name == "webp":
        options = {"quality": quality}
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
    name = literal(first.first)
    if name == "None":
        name = "type(own_scheduler)"
    return [f"scheduler = {name}.from_config(own_scheduler.config{more_arguments(mapping(first.second))})"]


def _scales(column: Column) -> list[str]:
    if not any(column.values):
        return []
    return [
        f"scales = copy.deepcopy({column.use()})  # set_adapters empties its argument",
        "pipeline.set_adapters(list(scales), list(scales.values()))",
    ]


def _save(column: Column, prefix: str) -> str:
    """The statement that writes `image` under the name that a run uses."""
    before = prefix[1:-1]
    if prefix.startswith("variant"):
        # Older versions of Python need other quotes inside an f-string.
        before = "{" + prefix.replace('"', "'") + "}"
    if column.varies:
        chosen = column.use()
        return f'image.save(OUTPUT / (f"{before}{{name}}-{{seed}}" + {chosen}[0]), **{chosen}[1])'
    first = column.values[0]
    if not isinstance(first, Pair):
        return f'image.save(OUTPUT / f"{before}{{name}}-{{seed}}")'
    more = more_arguments(mapping(first.second))
    return f'image.save(OUTPUT / f"{before}{{name}}-{{seed}}{first.first}"{more})'


def _images(columns: Columns, *, embeds: bool) -> list[str]:
    arguments = columns["arguments"].use("ARGUMENTS")
    body = [_FRESH]
    if any("SDE" in literal(value) for value in columns["scheduler"].values):
        body += ['if hasattr(pipeline.scheduler, "noise_sampler_seed"):']
        body += ["    pipeline.scheduler.noise_sampler_seed = seed"]
    body += ['generator = torch.Generator("cpu").manual_seed(seed)']
    given = f"**prompt, **{arguments}"
    if embeds:
        given = "**texts, **arguments"
        body += [
            f"texts, arguments = dict(prompt), dict({arguments})",
            'if "clip_skip" in arguments:',
            '    texts["prompt_embeds"] = embed(pipeline, texts.pop("prompt"), arguments.pop("clip_skip"))',
        ]
    body += [f"image = pipeline({given}, generator=generator).images[0]"]
    body += [_save(columns["save"], columns["prefix"].use())]
    outer = [f"for name, prompt in {columns['prompts'].use('PROMPTS')}.items():"]
    guided = columns["guided"]
    if any(value is not None for value in guided.values):
        outer += ['    if "images" in prompt:', f"        prompt = shown(pipeline, prompt, guided={guided.use()})"]
    outer += [f"    for seed in {columns['seeds'].use('SEEDS')}:"]
    return [*outer, *_indented(body, "        ")]


def _batches(columns: Columns, batch: int) -> list[str]:
    """Level `fast`: the batches of the run, because images that share a batch change the last bits of each other."""
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
