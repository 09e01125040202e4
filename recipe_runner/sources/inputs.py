"""Find the pictures and embeddings that go into a pipeline. What they hold is what they are; where they lie is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recipe_runner.sources.address import check_name, is_path, locate, refused
from recipe_runner.sources.missing import SourceMissing
from recipe_runner.sources.source import Source, SourceFile


def find_input(address: str, folder: Path) -> Source:
    """The one file that `address` names, as seen from the recipe's `folder`.

    Unlike weights, an input is never looked for on the Hub: `inputs/bear.png` is a path.

    Raises:
        SourceMissing: E401 there is no such file, E403 a URL that was not downloaded.
        ResolutionError: E405 a folder, or what cannot be an address.
        WeightsError: E414, E415 the file changes or cannot be read.
    """
    local = address if is_path(address) or "://" in address else f"./{address}"
    try:
        located = locate(local, folder)
    except SourceMissing as error:
        # As the recipe writes it.
        said = (replace(problem, message=problem.message.removeprefix("./")) for problem in error.problems)
        raise SourceMissing(*said) from error
    if located.file is None:
        raise refused("E405", f"{address}: this is a folder, and one file is wanted", "name a file in it")
    check_name(located.file, address)
    file = SourceFile.of(located.root / located.file, located.root)
    return Source(address=address, root=located.root, files=(file,))
