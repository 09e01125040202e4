"""`recipe-runner manifest`: a run's manifest, also in formats that other tools read."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recipe_runner.cli.options import add_format

EXAMPLES = """\
examples:
  recipe-runner manifest runs/quickstart/4f0c2b9d8e7a
  recipe-runner manifest runs/quickstart/4f0c2b9d8e7a --format in-toto > statement.json
  recipe-runner manifest RUN --format ro-crate --output RUN/ro-crate-metadata.json

in-toto: a Statement (unsigned) whose subjects are the images, with SLSA provenance: recipe, sources, environment.
ro-crate: RO-Crate 1.1 metadata of the run folder, after the profile Process Run Crate.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    folder = parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    folder.complete = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}  # type: ignore[attr-defined]
    add_format(parser, "json", "in-toto", "ro-crate")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write it there instead of to stdout")


def run(arguments: argparse.Namespace) -> int:
    """Print or write it."""
    from recipe_runner.disk.atomic import write_file  # noqa: PLC0415
    from recipe_runner.record.interop import in_toto_statement, ro_crate  # noqa: PLC0415 - imports pydantic
    from recipe_runner.record.manifest import manifest_bytes  # noqa: PLC0415
    from recipe_runner.record.verify import manifest_of  # noqa: PLC0415
    from recipe_runner.report.escape import Written  # noqa: PLC0415

    manifest = manifest_of(arguments.run)
    if arguments.format == "json":
        data = manifest_bytes(manifest)
    else:
        convert = in_toto_statement if arguments.format == "in-toto" else ro_crate
        text = json.dumps(convert(arguments.run, manifest), indent=2, ensure_ascii=False, allow_nan=False)
        data = text.encode("utf-8") + b"\n"
    if arguments.output is None:
        sys.stdout.write(Written(data.decode("utf-8")))
    else:
        write_file(arguments.output, data)
        sys.stdout.write(f"{arguments.output}\n")
    return 0
