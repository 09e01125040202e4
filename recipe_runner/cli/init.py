"""`recipe-runner init`: write a commented starter recipe."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from recipe_runner.cli.options import add_force, add_format
from recipe_runner.cli.output import write_json, write_lines, write_new

EXAMPLES = """\
examples:
  recipe-runner init                       # write recipe.yaml
  recipe-runner init recipes/my-style.yaml
  recipe-runner init - > my-style.yaml     # print it
"""

TEMPLATE = """\
# A recipe: variants x prompts x seeds = images. `recipe-runner validate` reports every mistake,
# `recipe-runner plan` shows what a run would make, `recipe-runner run` makes it.
recipe: 1                       # version of the recipe language
name: {name}
description: What this recipe is for.

base:
  # A Hub repository, a folder with a model_index.json, or one checkpoint file. Paths are relative to this file.
  model: stable-diffusion-v1-5/stable-diffusion-v1-5
  # revision: main              # branch, tag or commit of a Hub repository
  # variant: fp16
  dtype: float32                # float16 or bfloat16 on a GPU
  # scheduler: {{class: DPMSolverMultistepScheduler, config: {{use_karras_sigmas: true}}}}
  # components:
  #   vae: {{model: stabilityai/sd-vae-ft-mse}}

# adapters:                     # applied in this order
#   style:
#     kind: lora
#     model: adapters/style.safetensors
#     scale: 0.8                # or per block: {{unet: {{down: 0.9, up: {{block_1: 0.6}}}}, text_encoder: 0.5}}

prompts:
  - id: lighthouse
    prompt: a watercolour of a lighthouse at dusk
    negative_prompt: blurry

seeds: [1, 2]                   # or {{start: 0, count: 8}}

sampling:                       # arguments of the pipeline call
  num_inference_steps: 30
  guidance_scale: 7.5

# matrix:                       # every combination is a variant
#   sampling.guidance_scale: [5.0, 7.5]

runtime:
  device: auto                  # auto, cpu, cuda or cuda:N
  reproducibility: strict       # strict, seeded or fast
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_format(parser, "human", "json")
    parser.add_argument(
        "path",
        nargs="?",
        default="recipe.yaml",
        metavar="PATH",
        help="file to write (default: recipe.yaml); - prints the recipe",
    )
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write or print the recipe."""
    as_json = arguments.format == "json"
    if arguments.path == "-":
        text = starter("my-recipe")
        if as_json:
            write_json({"recipe": text})
        else:
            sys.stdout.write(text)
        return 0
    path = Path(arguments.path)
    write_new(path, starter(path.stem), force=arguments.force)
    if as_json:
        write_json({"path": str(path)})
    else:
        write_lines([path])
    return 0


def starter(stem: str) -> str:
    """The starter recipe, named after the file."""
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:100] or "my-recipe"
    return TEMPLATE.format(name=name)
