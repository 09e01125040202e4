"""`recipe-runner inspect`: identify weights files from their headers alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.cli.options import add_format, complete_files
from recipe_runner.cli.output import write_json

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

EXAMPLES = """\
examples:
  recipe-runner inspect style.safetensors
  recipe-runner inspect adapters/*.safetensors --format json
  recipe-runner inspect models/my-pipeline/
  recipe-runner inspect model.safetensors --hash

Files and folders are identified by their headers and JSON configurations. No tensors are read, except the alphas of a
LoRA, and nothing is unpickled. Exit status 0 for files of a known or unknown kind, 3 for a broken file.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    complete_files(
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="weights files, or folders of them")
    )
    add_format(parser, "text", "json")
    parser.add_argument("--hash", action="store_true", help="also print the file's sha256, AutoV2 and AutoV3")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print why each kind fits or not, and all metadata"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what each file is."""
    from recipe_runner.problems.codes import COULD_NOT  # noqa: PLC0415
    from recipe_runner.report.identity import hashes_of, identity_json, identity_text  # noqa: PLC0415
    from recipe_runner.weights.identify.folder import identify  # noqa: PLC0415

    is_broken = False
    trees: list[dict[str, Json]] = []
    texts: list[str] = []
    for path in arguments.files:
        for identity in identify(path):
            is_broken |= bool(identity.broken)
            hashes = hashes_of(identity) if arguments.hash else {}
            trees.append(identity_json(identity, hashes))
            texts.append(identity_text(identity, hashes, verbose=arguments.verbose))
    if arguments.format == "text":
        sys.stdout.write("\n".join(texts))
    elif len(trees) == 1:
        write_json(trees[0])
    else:
        write_json({"files": trees})
    return COULD_NOT if is_broken else 0
