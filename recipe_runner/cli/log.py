"""`recipe-runner log`: runs into MLflow."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recipe_runner.cli.options import add_format

EXAMPLES = """\
examples:
  recipe-runner log runs/quickstart/4f0c2b9d8e7a --mlflow http://localhost:5000
  recipe-runner log runs/*/* --mlflow mlruns --experiment loud-outlines

Logs the recipe's values as parameters, digests of every source, versions, timings, and the pictures; a matrix makes a
child run for each variant. A run that is there already, by its plan digest, is left as it is. Needs the extra `mlflow`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    runs = parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    runs.complete = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}  # type: ignore[attr-defined]
    parser.add_argument("--mlflow", required=True, metavar="URI", help="MLflow's tracking URI: a server, or a folder")
    parser.add_argument("--experiment", metavar="NAME", help="name of the experiment (default: the recipe's name)")
    add_format(parser, "human", "json")


def run(arguments: argparse.Namespace) -> int:
    """Log each run, and say its id there."""
    from recipe_runner.exchange.exporters.mlflow import log_run  # noqa: PLC0415 - imports pydantic and mlflow

    told = []
    for folder in arguments.runs:
        logged = log_run(folder, arguments.mlflow, arguments.experiment)
        told.append({
            "run": folder.as_posix(), "run_id": logged.run_id, "already": logged.already, "images": logged.images,
        })  # fmt: skip
        if arguments.format == "human":
            sys.stderr.write(f"{folder}: {'is there already' if logged.already else f'{logged.images} images'}\n")
            print(logged.run_id)  # noqa: T201
    if arguments.format == "json":
        print(json.dumps({"runs": told}, indent=2))  # noqa: T201
    return 0
