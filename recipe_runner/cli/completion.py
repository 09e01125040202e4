"""`recipe-runner completion`: a completion script for a shell, made by shtab from the command line's own parser."""

from __future__ import annotations

import argparse
import json

from recipe_runner.cli.options import add_format

EXAMPLES = """\
examples:
  recipe-runner completion bash > ~/.local/share/bash-completion/completions/recipe-runner
  recipe-runner completion zsh > ~/.zfunc/_recipe-runner
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    add_format(parser, "human", "json")
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="the shell to complete in")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab  # noqa: PLC0415 - only this command needs it

    from recipe_runner.cli.main import build_parser  # noqa: PLC0415 - main imports this module

    script = shtab.complete(build_parser(), arguments.shell)
    if arguments.format == "json":
        script = json.dumps({"shell": arguments.shell, "script": script}, indent=2)
    print(script)  # noqa: T201
    return 0
