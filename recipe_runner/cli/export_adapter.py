"""`recipe-runner export-adapter`: write a recipe's adapter as a file that plain diffusers loads."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recipe_runner.cli.options import add_format, add_recipe

EXAMPLES = """\
examples:
  recipe-runner export-adapter recipes/quickstart.yaml outline
  recipe-runner export-adapter recipe.yaml mix -o mix.safetensors
  recipe-runner export-adapter recipe.yaml style --component unet -o unet-style.safetensors

The file is in diffusers' layout, whatever layout the adapter came in, with every alpha baked in; scales are left to
whoever loads it. `pipe.load_lora_weights` reads it; with --component, `pipe.unet.load_lora_adapter(..., prefix=None)`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_recipe(parser)
    parser.add_argument("name", metavar="NAME", help="name of a lora or merge in the recipe")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file to write (default: NAME.safetensors in this folder)"
    )
    parser.add_argument(
        "--component",
        metavar="COMPONENT",
        help="only the part for this component (unet, transformer, text_encoder, …), as save_lora_adapter writes it",
    )
    parser.add_argument("--force", action="store_true", help="overwrite a file that is there")
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
        answer = {"path": done.path.as_posix(), "adapter": arguments.name, "tensors": dict(done.tensors)}
        print(json.dumps(answer, indent=2))  # noqa: T201
    else:
        counts = ", ".join(f"{part} {count}" for part, count in done.tensors.items())
        print(f"{sum(done.tensors.values())} tensors: {counts}", file=sys.stderr)  # noqa: T201
        print(done.path.as_posix())  # noqa: T201
    return 0
