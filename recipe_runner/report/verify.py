"""The result of `verify`, for people and programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.report.terminal.problems import problem_json
from recipe_runner.report.text import text_of

if TYPE_CHECKING:
    from recipe_runner.images.similarity import Comparison
    from recipe_runner.problems.problem import Problem
    from recipe_runner.record.verify import Checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """An image that was made again. `reasons` lists the inputs and parts of the environment that changed."""

    path: str
    verdict: str
    comparison: Comparison | None
    reasons: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Verified:
    """What was checked; None for parts that were not requested. `problems` report what could not be checked."""

    run: Path
    files: Sequence[Checked]
    inputs: Sequence[Checked] | None = None
    rerun: Sequence[Again] | None = None
    problems: Sequence[Problem] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether anything differs from the manifest or the lock."""
        checked = [*self.files, *(self.inputs or ())]
        if any(each.fault for each in checked):
            return True
        return any(again.verdict == "different" for again in self.rerun or ())


def verified_text(verified: Verified) -> str:
    """One line for each part, and one for each thing that differs."""
    lines = _part("files", verified.files)
    if verified.inputs is not None:
        lines += _part("inputs", verified.inputs)
    if verified.rerun is not None:
        lines += _rerun_lines(verified.rerun)
    verdict = "verified"
    if verified.differs:
        verdict = "differs"
    elif verified.problems:
        verdict = "could not be checked completely"
    return text_of([*lines, f"{verified.run.as_posix()}: {verdict}"])


def _part(title: str, checked: Sequence[Checked]) -> list[str]:
    faults = [f"  {each.subject}: {each.fault}" for each in checked if each.fault]
    summary = f"{title}: {len(checked) - len(faults)} unchanged"
    if faults:
        summary += f", {len(faults)} not"
    return [summary, *faults]


def _rerun_lines(rerun: Sequence[Again]) -> list[str]:
    counts = dict.fromkeys(("identical", "within tolerance", "different"), 0)
    lines = []
    for again in rerun:
        counts[again.verdict] += 1
        if again.verdict != "identical":
            lines.append(f"  {again.path}: {again.verdict}{_measures(again.comparison)}")
            lines += [f"    {reason}" for reason in again.reasons]
    summary = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    return [f"images made again: {summary}", *lines]


def _measures(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    if comparison.max_abs is not None:
        text = f" (max abs {comparison.max_abs}, PSNR {comparison.psnr:.1f} dB, SSIM {comparison.ssim:.4f})"
        if comparison.reason:
            text += f": {comparison.reason}"
        return text
    if comparison.reason:
        return f" ({comparison.reason})"
    return ""


def verified_json(verified: Verified) -> str:
    """One object; an infinite PSNR is null."""
    verdict = "verified"
    if verified.differs:
        verdict = "differs"
    elif verified.problems:
        verdict = "unknown"
    rerun = None
    if verified.rerun is not None:
        rerun = list(map(_again, verified.rerun))
    tree: dict[str, Any] = {
        "run_folder": verified.run.as_posix(),
        "verdict": verdict,
        "files": _checked(verified.files),
        "inputs": _checked(verified.inputs),
        "rerun": rerun,
        "problems": list(map(problem_json, verified.problems)),
    }
    return json.dumps(tree, indent=2, allow_nan=False) + "\n"


def _checked(checked: Sequence[Checked] | None) -> list[Mapping[str, Any]] | None:
    if checked is None:
        return None
    return [{"subject": each.subject, "fault": each.fault} for each in checked]


def _again(again: Again) -> Mapping[str, Any]:
    found = again.comparison
    max_abs = psnr = ssim = differing = None
    if found is not None:
        max_abs = found.max_abs
        psnr = _rounded(found.psnr, 3)
        ssim = _rounded(found.ssim, 6)
        differing = _rounded(found.differing, 6)
    return {
        "path": again.path,
        "verdict": again.verdict,
        "max_abs": max_abs,
        "psnr": psnr,
        "ssim": ssim,
        "differing": differing,
        "reasons": list(again.reasons),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    """A number as JSON can express it: infinity becomes None."""
    if value is None or math.isinf(value):
        return None
    return round(value, digits)
