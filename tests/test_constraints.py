"""The environment is the same on another day: every package that is installed is pinned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.command import ROOT

PINS = (ROOT / ".ci/constraints.txt").read_text().splitlines()
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*==[0-9][0-9A-Za-z.]*")
EXTRAS = frozenset({"test", "mlflow", "faceid"})


def required(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What an installed distribution requires here; nothing of one that is not installed."""
    try:
        texts = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for text in texts:
        requirement = Requirement(text)
        marker = requirement.marker
        # A build of torch for an accelerator names the exact libraries of that platform itself.
        if marker is not None and name == "torch" and "platform" in str(marker):
            continue
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def installed() -> set[str]:
    """The name of every installed distribution that the project needs, however deep."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = [("recipe-runner", EXTRAS)]
    while pending:
        name, extras = pending.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for requirement in required(name, extras):
            needed = canonicalize_name(requirement.name)
            pending.append((needed, frozenset(requirement.extras)))
            try:
                distribution(needed)
            except PackageNotFoundError:
                continue
            found.add(needed)
    return found


def test_every_installed_package_is_pinned() -> None:
    pinned = {canonicalize_name(line.partition("==")[0]) for line in PINS if not line.startswith("#")}
    found = installed()
    assert {"torch", "tokenizers", "markupsafe", "pluggy"} <= found
    assert found - pinned == set()


def test_constraints_are_plain_and_name_each_package_once() -> None:
    lines = [line for line in PINS if not line.startswith("#")]
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    names = [canonicalize_name(line.partition("==")[0]) for line in lines]
    assert len(names) == len({*names})


def test_the_action_installs_what_is_pinned() -> None:
    action = (ROOT / ".github/actions/recipes/action.yml").read_text()
    assert '--constraint "$GITHUB_ACTION_PATH/../../../.ci/constraints.txt"' in action
