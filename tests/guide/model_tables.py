"""What each model family can do here, from the package's own tables. `_families` is the only reader of them."""

from __future__ import annotations

from dataclasses import dataclass

from recipe_runner.pipelines import table as diffusers_table
from recipe_runner.pipelines.family import PIPELINE_FAMILIES as COMFYUI
from recipe_runner.weights.families.checkpoint_families import FAMILIES as CHECKPOINTS
from recipe_runner.weights.families.denoiser_families import DENOISER_FAMILIES
from recipe_runner.weights.ip_adapter.families import family_of_pipeline

_YES, _NO = "yes", "no"
_CLIP = "CLIPTextModel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A family: its name, the pipeline that runs it, and what that pipeline takes."""

    title: str
    pipeline: str
    single_file: str
    lora: bool
    textual_inversion: bool
    ip_adapter: bool
    comfyui: bool


def _families() -> list[Row]:
    """The families whose single files are known, the oldest first. Their pipelines are those of diffusers' table."""
    titles = {family.name: family.title for family in DENOISER_FAMILIES}
    rows = []
    for family in CHECKPOINTS:
        if not family.pipeline:
            continue
        entry = diffusers_table.pipelines()[family.pipeline]
        row = Row(
            title=titles[family.name],
            pipeline=family.pipeline,
            single_file=_YES if family.config else "with `base.config`",
            lora=bool(entry["lora"]),
            textual_inversion=_reads_clip(family.pipeline),
            ip_adapter=family_of_pipeline(family.pipeline) is not None,
            comfyui=family.pipeline in COMFYUI,
        )
        rows.append(row)
    return sorted(rows, key=lambda row: not row.comfyui)


def _reads_clip(pipeline: str) -> bool:
    components = diffusers_table.pipelines()[pipeline]["components"]
    return any(_CLIP in str(part) for name, part in components.items() if name.startswith("text_encoder"))


def models_table() -> str:
    """The table of families, and a row for every other pipeline of diffusers that draws from text."""
    lines = [
        "| family | folder | single file | LoRA, LyCORIS | textual inversion | IP-Adapter | export |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in _families():
        export = "Python, A1111, ComfyUI" if row.comfyui else "Python, A1111"
        cells = (row.title, _YES, row.single_file, _word(row.lora), _word(row.textual_inversion), _word(row.ip_adapter))
        lines.append(f"| {' | '.join(cells)} | {export} |")
    others = (f"{len(_others())} other pipelines", _YES, _NO, "where diffusers loads LoRAs", _NO, _NO)
    lines.append(f"| {' | '.join(others)} | Python, A1111 |")
    return "\n".join(lines) + "\n"


def _word(value: bool) -> str:  # noqa: FBT001 - a cell of the table
    return _YES if value else _NO


def _others() -> list[str]:
    shown = {row.pipeline for row in _families()}
    return [name for name in diffusers_table.pipelines() if name not in shown]


def models_page(note: str) -> str:
    """The table, and the names of all pipelines."""
    lines = [
        "# Models",
        note,
        "What a base model may be, and what can be applied to it. *Folder* is a diffusers pipeline folder or Hub",
        "repository, *single file* a checkpoint in the layout of its original code. A single file of a family whose",
        "configuration cannot be shipped needs `base.config`: a folder or repository with the configuration in",
        "diffusers' layout.",
        "",
        models_table(),
        "Stable Diffusion 1 and 2, SDXL, SD 3 and FLUX.1 are tested with images, on tiny models of the real",
        "architectures. Prompts are encoded once for all images of these families. Every other pipeline runs by its",
        "own call from prompt to image, and none of them is tested.",
        "",
        "Video, image-to-image, inpainting, ControlNet and audio pipelines are refused.",
        "",
        "## Other pipelines",
        "",
    ]
    for name in _others():
        lora = ", ".join(diffusers_table.pipelines()[name]["lora"])
        lines.append(f"- `{name}`" + (f": LoRA on {lora}" if lora else ""))
    return "\n".join(lines) + "\n"
