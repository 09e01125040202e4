"""`recipe-runner completion`: a completion script for a shell, made by shtab from the command line's own parser."""

from __future__ import annotations

import argparse

EXAMPLES = """\
examples:
  recipe-runner completion bash > ~/.local/share/bash-completion/completions/recipe-runner
  recipe-runner completion zsh > ~/.zfunc/_recipe-runner
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.epilog = EXAMPLES
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="the shell to complete in")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab  # noqa: PLC0415 - only this command needs it

    from recipe_runner.cli.main import build_parser  # noqa: PLC0415 - main imports this module

    print(shtab.complete(build_parser(), arguments.shell))  # noqa: T201
    return 0
