"""Find the images and embeddings that a pipeline reads. Their identity is their contents, not their path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recipe_runner.sources.address import check_name, is_path, locate, refused
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.sources.source import Source, SourceFile


def find_input(address: str, folder: Path) -> Source:
    """The one file at `address`, as seen from the recipe's `folder`.

    Unlike weights, an input is never a Hub repository: `inputs/bear.png` is a path.

    Raises:
        SourceMissing: E401 no such file, E403 a URL that was not downloaded.
        ResolutionError: E405 a folder, or an address that is not valid.
        WeightsError: E414, E415 the file changes while it is read, or cannot be read.
    """
    local = address
    if "://" not in address and not is_path(address):
        local = f"./{address}"
    try:
        located = locate(local, folder)
    except SourceMissing as error:
        (problem,) = error.problems
        # With the address as the recipe writes it.
        message = problem.message.removeprefix("./")
        raise SourceMissing(replace(problem, message=message)) from error
    if located.file is None:
        raise refused("E405", f"{address}: this is a folder, not a file", "name a file in it")
    check_name(located.file, address)
    file = SourceFile.of(located.root / located.file, located.root)
    return Source(address=address, root=located.root, files=(file,))
