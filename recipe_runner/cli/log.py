"""`recipe-runner log`: log runs to MLflow."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recipe_runner.cli.options import add_format, complete_folders
from recipe_runner.cli.output import write_json, write_lines

EXAMPLES = """\
examples:
  recipe-runner log runs/quickstart/4f0c2b9d8e7a --mlflow http://localhost:5000
  recipe-runner log runs/*/* --mlflow mlruns --experiment loud-outlines

Logs the values of the recipe as parameters, the digests of all sources, versions, timings and images. A recipe with a
matrix gets a child run for each variant. A run whose plan digest is already in the experiment is not logged again.
Needs the extra `mlflow`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    complete_folders(parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders"))
    parser.add_argument("--mlflow", required=True, metavar="URI", help="tracking URI of MLflow: a server or a folder")
    parser.add_argument("--experiment", metavar="NAME", help="experiment name (default: name of the recipe)")
    add_format(parser, "human", "json")


def run(arguments: argparse.Namespace) -> int:
    """Log each run, and print its MLflow run id."""
    from recipe_runner.exchange.exporters.mlflow import log_run  # noqa: PLC0415 - imports pydantic and mlflow
    from recipe_runner.problems.wording import counted  # noqa: PLC0415

    runs = []
    for folder in arguments.runs:
        logged = log_run(folder, arguments.mlflow, arguments.experiment)
        runs.append({
            "run": folder.as_posix(), "run_id": logged.run_id, "already": logged.already, "images": logged.images,
        })  # fmt: skip
        if arguments.format == "human":
            outcome = "already logged" if logged.already else counted(logged.images, "image")
            sys.stderr.write(f"{folder}: {outcome}\n")
            write_lines([logged.run_id])
    if arguments.format == "json":
        write_json({"runs": runs})
    return 0
