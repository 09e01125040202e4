"""`recipe-runner explain`: the page of a problem code."""

from __future__ import annotations

import argparse
import sys

EXAMPLES = """\
examples:
  recipe-runner explain E104
  recipe-runner explain           every code with its title
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    parser.add_argument("code", nargs="?", metavar="CODE", help="a problem code, as in `error[E104]`")


def run(arguments: argparse.Namespace) -> int:
    """Print the page, or the list of codes."""
    from recipe_runner.codes import CODES, USAGE, explain  # noqa: PLC0415
    from recipe_runner.nearest import did_you_mean  # noqa: PLC0415

    if arguments.code is None:
        sys.stdout.write("".join(f"{code}  {entry.title}\n" for code, entry in sorted(CODES.items())))
        return 0
    code = arguments.code.upper()
    if code not in CODES:
        hint = did_you_mean(code, CODES).replace("Known", "Codes")
        sys.stderr.write(f"there is no code {arguments.code}. {hint}\n")
        return USAGE
    sys.stdout.write(explain(code))
    return 0
