"""What stands in a plan for weights that are not on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from recipe_runner.canonical import digest
from recipe_runner.problems.problem import ResolutionError
from recipe_runner.sources.source import Address, Source


class SourceMissing(ResolutionError):
    """The address is well formed, and what it names is not on this machine: a plan can go on without it."""


@dataclass(frozen=True, kw_only=True)
class Unresolved:
    """A source that was not found, with all that the recipe says of it.

    `reason` is the sentence for a person, `code` and `hint` those of the problem that a run then has.

    Its `digest` is stable and can never be taken for one of contents; a node key made with it is provisional.
    """

    address: str
    revision: str | None = None
    subfolder: str | None = None
    weight_name: str | None = None
    variant: str | None = None
    reason: str = ""
    code: str = "E402"
    hint: str = ""

    @classmethod
    def of(cls, wanted: Address, reason: str = "") -> Unresolved:
        """What the recipe wanted, not found."""
        return cls(
            address=wanted.model,
            revision=wanted.revision,
            subfolder=wanted.subfolder,
            weight_name=wanted.weight_name,
            variant=wanted.variant,
            reason=reason,
        )

    @property
    def is_fetched(self) -> bool:
        """Whether a run that reaches the network brings it; what finds faces a person has to bring."""
        return self.code in REMOTE

    @property
    def written(self) -> Address:
        """All that the recipe says about where it is."""
        return Address(
            model=self.address,
            revision=self.revision,
            subfolder=self.subfolder,
            weight_name=self.weight_name,
            variant=self.variant,
        )

    @cached_property
    def digest(self) -> str:
        """`unresolved:` and the sha256 of what the recipe says; the reason is not part of it."""
        said = [self.address, self.revision, self.subfolder, self.weight_name, self.variant]
        return f"unresolved:{digest(said)}"

    def require_found(self) -> Source:
        """Nothing: what needs files is asked for only once all were found."""
        message = f"BUG: {self.address} was not found and not refused"
        raise AssertionError(message)


REMOTE = ("E402", "E403")
"""Problems of what lies elsewhere and was not fetched."""
_GOES_ON = (*REMOTE, "E651")
"""Problems without which a plan goes on. A path that does not exist is a mistake, and none does."""


def unresolved(
    error: SourceMissing,
    *,
    address: str,
    revision: str | None = None,
    subfolder: str | None = None,
    weight_name: str | None = None,
    variant: str | None = None,
) -> Unresolved:
    """What stands for a source in a plan when `error` says that it was not fetched yet.

    Raises:
        SourceMissing: the error itself, when what it says is about this machine's own files.
    """
    problem = error.problems[0]
    if problem.code not in _GOES_ON:
        raise error
    return Unresolved(
        address=address,
        revision=revision,
        subfolder=subfolder,
        weight_name=weight_name,
        variant=variant,
        reason=problem.message,
        code=problem.code,
        hint=problem.hint,
    )
