"""`recipe-runner completion`: print a shell completion script, which shtab generates from the argument parsers."""

from __future__ import annotations

import argparse
import sys

from recipe_runner.cli.options import add_format
from recipe_runner.cli.output import write_json

EXAMPLES = """\
examples:
  recipe-runner completion bash > ~/.local/share/bash-completion/completions/recipe-runner
  recipe-runner completion zsh > ~/.zfunc/_recipe-runner
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_format(parser, "human", "json")
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="your shell")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab  # noqa: PLC0415 - only this command needs it

    from recipe_runner.cli.main import build_parser  # noqa: PLC0415 - main imports this module

    script = shtab.complete(build_parser(), arguments.shell)
    if arguments.format == "json":
        write_json({"shell": arguments.shell, "script": script})
    else:
        sys.stdout.write(f"{script}\n")
    return 0
