"""Placeholders in a plan for weights that are not on this machine."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cached_property

from recipe_runner.canonical import digest
from recipe_runner.problems.problem import Problem, ResolutionError
from recipe_runner.sources.source import Address, Source

REMOTE = ("E402", "E403")
"""Problems of files that are elsewhere and were not fetched."""
_PLANNABLE = (*REMOTE, "E651")
"""Problems that a plan can go on with. A path that does not exist is a mistake, so a plan stops there."""


class SourceMissing(ResolutionError):
    """The address is well formed, and its files are not on this machine: a plan can go on without them."""


@dataclass(frozen=True, kw_only=True)
class Unresolved:
    """A source that was not found: its whole address, and the problem that a run then has.

    `digest` is stable and never equals a digest of contents; a node key made with it is provisional.
    """

    written: Address
    problem: Problem

    @property
    def address(self) -> str:
        """The address without the keys that narrow it down."""
        return self.written.model

    @property
    def is_fetched(self) -> bool:
        """Whether a run with network access fetches it. Models that find faces have to be installed by hand."""
        return self.problem.code in REMOTE

    @cached_property
    def digest(self) -> str:
        """`unresolved:` and the sha256 of the whole address; the problem is not part of it."""
        return f"unresolved:{digest(list(astuple(self.written)))}"

    def require_found(self) -> Source:
        """Fail: files are needed only after all sources were found."""
        message = f"BUG: {self.address} was not found and not refused"
        raise AssertionError(message)


def unresolved(error: SourceMissing, address: Address) -> Unresolved:
    """The placeholder for a source in a plan, when `error` says that it was not fetched yet.

    Raises:
        SourceMissing: the error itself, when it is about this machine's own files.
    """
    problem = error.problems[0]
    if problem.code not in _PLANNABLE:
        raise error
    return Unresolved(written=address, problem=problem)
