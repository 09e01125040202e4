"""Find the weights file of an adapter."""

from __future__ import annotations

from recipe_runner.plan.adapters.kind import ResolveContext
from recipe_runner.plan.resolved_base import AnySource
from recipe_runner.recipe.types.base import FromSource
from recipe_runner.sources.find import find_weights
from recipe_runner.sources.missing import SourceMissing, unresolved
from recipe_runner.sources.source import Address


def find_weights_file(entry: FromSource, context: ResolveContext, usual: tuple[str, ...] = ()) -> AnySource:
    """The file that `entry` names; a file that was not fetched yet is left unresolved.

    `usual` are the file names of the kind's trainers; in a folder of several files, the first of them is used.

    Raises:
        RecipeRunnerError: E4xx the file is broken, refused, or missing.
    """
    address = Address.of(entry)
    try:
        return find_weights(address, folder=context.folder, usual=usual, allow_pickle=context.allow_pickle)
    except SourceMissing as error:
        return unresolved(error, address)
