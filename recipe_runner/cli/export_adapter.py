"""`recipe-runner export-adapter`: write an adapter of a recipe as a file that plain diffusers loads."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recipe_runner.cli.options import add_force, add_format, add_recipe
from recipe_runner.cli.output import write_json, write_lines

EXAMPLES = """\
examples:
  recipe-runner export-adapter recipes/quickstart.yaml outline
  recipe-runner export-adapter recipe.yaml mix -o mix.safetensors
  recipe-runner export-adapter recipe.yaml style --component unet -o unet-style.safetensors

The file is always in the layout of diffusers, with every alpha baked in; scales are not applied. Load it with
`pipe.load_lora_weights`, or with --component by `pipe.unet.load_lora_adapter(..., prefix=None)`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_recipe(parser)
    parser.add_argument("name", metavar="NAME", help="name of a LoRA or merge in the recipe")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write (default: NAME.safetensors in the current folder)",
    )
    parser.add_argument(
        "--component",
        metavar="COMPONENT",
        help="write only this component (unet, transformer, text_encoder, …), as save_lora_adapter does",
    )
    add_force(parser)
    add_format(parser, "human", "json")


def run(arguments: argparse.Namespace) -> int:
    """Write the adapter."""
    from recipe_runner.actions.export_adapter import export_adapter  # noqa: PLC0415 - imports pydantic
    from recipe_runner.actions.prepare import prepare  # noqa: PLC0415
    from recipe_runner.report.terminal.problems import print_problems  # noqa: PLC0415

    prepared = prepare(arguments.recipe, arguments.overrides)
    print_problems(prepared.warnings, "human", file=sys.stderr)
    done = export_adapter(
        prepared,
        arguments.name,
        arguments.output or Path(f"{arguments.name}.safetensors"),
        component=arguments.component,
        force=arguments.force,
    )
    if arguments.format == "json":
        write_json({"path": done.path.as_posix(), "adapter": arguments.name, "tensors": dict(done.tensors)})
    else:
        counts = ", ".join(f"{part} {count}" for part, count in done.tensors.items())
        sys.stderr.write(f"{sum(done.tensors.values())} tensors: {counts}\n")
        write_lines([done.path.as_posix()])
    return 0
