"""`recipe-runner manifest`: print the manifest of a run, also in formats that other tools read."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recipe_runner.cli.options import add_format, add_run_folder
from recipe_runner.cli.output import write_lines

EXAMPLES = """\
examples:
  recipe-runner manifest runs/quickstart/4f0c2b9d8e7a
  recipe-runner manifest runs/quickstart/4f0c2b9d8e7a --format in-toto > statement.json
  recipe-runner manifest RUN --format ro-crate --output RUN/ro-crate-metadata.json

in-toto: an unsigned Statement whose subjects are the images, with SLSA provenance of recipe, sources and environment.
ro-crate: RO-Crate 1.1 metadata of the run folder, in the profile Process Run Crate.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_run_folder(parser)
    add_format(parser, "json", "in-toto", "ro-crate")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write (default: stdout)")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the manifest."""
    from recipe_runner.disk.atomic import write_file  # noqa: PLC0415
    from recipe_runner.record.interop import in_toto_statement, ro_crate  # noqa: PLC0415 - imports pydantic
    from recipe_runner.record.manifest import manifest_bytes  # noqa: PLC0415
    from recipe_runner.record.verify import manifest_of  # noqa: PLC0415
    from recipe_runner.report.escape import Written  # noqa: PLC0415

    manifest = manifest_of(arguments.run)
    if arguments.format == "json":
        data = manifest_bytes(manifest)
    else:
        formats = {"in-toto": in_toto_statement, "ro-crate": ro_crate}
        convert = formats[arguments.format]
        text = json.dumps(convert(arguments.run, manifest), indent=2, ensure_ascii=False, allow_nan=False)
        data = text.encode("utf-8") + b"\n"
    if arguments.output is None:
        sys.stdout.write(Written(data.decode("utf-8")))
    else:
        write_file(arguments.output, data)
        write_lines([arguments.output])
    return 0
