"""`recipe-runner inspect`: what weights files are, from their headers alone."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recipe_runner.cli.options import add_format

EXAMPLES = """\
examples:
  recipe-runner inspect style.safetensors
  recipe-runner inspect adapters/*.safetensors --format json
  recipe-runner inspect models/my-pipeline/
  recipe-runner inspect model.safetensors --hash

A file or folder is told by its header and JSON configurations; no tensor is read (but a LoRA's alphas) and nothing is
unpickled. Exit status 0 for what is known or plainly unknown, 3 for what is broken.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    files = parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="weights files, or folders of them")
    files.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    add_format(parser, "text", "json")
    parser.add_argument("--hash", action="store_true", help="add the file's sha256, AutoV2 and AutoV3")
    parser.add_argument("-v", "--verbose", action="store_true", help="every kind's reason, and all metadata")


def run(arguments: argparse.Namespace) -> int:
    """Print what each file is."""
    from recipe_runner.problems.codes import COULD_NOT  # noqa: PLC0415
    from recipe_runner.report.identity import hashes_of, identity_json, identity_text  # noqa: PLC0415
    from recipe_runner.weights.identify.folder import identify  # noqa: PLC0415

    found = [identity for path in arguments.files for identity in identify(path)]
    digests = [hashes_of(identity) if arguments.hash else {} for identity in found]
    if arguments.format == "json":
        trees = [identity_json(identity, hashes) for identity, hashes in zip(found, digests, strict=True)]
        text = json.dumps(trees[0] if len(trees) == 1 else {"files": trees}, indent=2)
        sys.stdout.write(f"{text}\n")
    else:
        texts = [
            identity_text(identity, hashes, verbose=arguments.verbose)
            for identity, hashes in zip(found, digests, strict=True)
        ]
        sys.stdout.write("\n".join(texts))
    return COULD_NOT if any(identity.broken for identity in found) else 0
