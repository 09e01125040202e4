"""`recipe-runner explain`: the page of a problem code."""

from __future__ import annotations

import argparse
import json
import sys

from recipe_runner.cli.options import add_format

EXAMPLES = """\
examples:
  recipe-runner explain E104
  recipe-runner explain           every code with its title
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_format(parser, "human", "json")
    parser.add_argument("code", nargs="?", metavar="CODE", help="a problem code, as in `error[E104]`")


def run(arguments: argparse.Namespace) -> int:
    """Print the page, or the list of codes."""
    from recipe_runner.problems.codes import CODES, USAGE, explain  # noqa: PLC0415
    from recipe_runner.problems.suggest import did_you_mean  # noqa: PLC0415

    as_json = arguments.format == "json"
    if arguments.code is None:
        if as_json:
            entries = [{"code": code, "title": CODES[code].title} for code in sorted(CODES)]
            sys.stdout.write(json.dumps({"codes": entries}, indent=2) + "\n")
            return 0
        sys.stdout.write("".join(f"{code}  {entry.title}\n" for code, entry in sorted(CODES.items())))
        return 0
    code = arguments.code.upper()
    if code not in CODES:
        hint = did_you_mean(code, CODES).replace("Known", "Codes")
        sys.stderr.write(f"there is no code {arguments.code}. {hint}\n")
        return USAGE
    page = explain(code)
    if as_json:
        entry = CODES[code]
        page = json.dumps(
            {"code": code, "title": entry.title, "exit_status": entry.exit_status, "page": page}, indent=2
        )
        page += "\n"
    sys.stdout.write(page)
    return 0
