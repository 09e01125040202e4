"""`recipe-runner explain`: print what a problem code means."""

from __future__ import annotations

import argparse
import sys

from recipe_runner.cli.options import add_format
from recipe_runner.cli.output import write_json, write_lines

EXAMPLES = """\
examples:
  recipe-runner explain E104
  recipe-runner explain           list every code with its title
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_format(parser, "human", "json")
    parser.add_argument("code", nargs="?", metavar="CODE", help="a problem code, as in `error[E104]`")


def run(arguments: argparse.Namespace) -> int:
    """Print the page of a code, or the list of codes."""
    from recipe_runner.problems.codes import CODES, USAGE, explain  # noqa: PLC0415
    from recipe_runner.problems.suggest import did_you_mean  # noqa: PLC0415

    as_json = arguments.format == "json"
    if arguments.code is None:
        _list_codes(as_json=as_json)
        return 0
    code = arguments.code.upper()
    if code not in CODES:
        sys.stderr.write(f"unknown problem code {arguments.code}. {did_you_mean(code, CODES, 'Codes')}\n")
        return USAGE
    page = explain(code)
    if as_json:
        entry = CODES[code]
        write_json({"code": code, "title": entry.title, "exit_status": entry.exit_status, "page": page})
    else:
        sys.stdout.write(page)
    return 0


def _list_codes(*, as_json: bool) -> None:
    from recipe_runner.problems.codes import CODES  # noqa: PLC0415

    codes = sorted(CODES.items())
    if as_json:
        write_json({"codes": [{"code": code, "title": entry.title} for code, entry in codes]})
    else:
        write_lines(f"{code}  {entry.title}" for code, entry in codes)
