"""What `verify` found, for people and programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe_runner.report.escape import one_line
from recipe_runner.report.terminal.problems import problem_json

if TYPE_CHECKING:
    from recipe_runner.images.similarity import Comparison
    from recipe_runner.problems.problem import Problem
    from recipe_runner.record.verify import Checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """An image that was made again. `reasons` says what of its inputs and environment is not as it was."""

    path: str
    verdict: str
    comparison: Comparison | None
    reasons: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Verified:
    """What was checked; a part that was not asked for is None. `problems` are what could not be checked."""

    run: Path
    files: Sequence[Checked]
    inputs: Sequence[Checked] | None = None
    rerun: Sequence[Again] | None = None
    problems: Sequence[Problem] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether anything is not as it was."""
        faults = any(checked.fault for checked in (*self.files, *(self.inputs or ())))
        return faults or any(again.verdict == "different" for again in self.rerun or ())


def verified_text(verified: Verified) -> str:
    """One line for each part, and one for each thing that differs."""
    lines = [*_part("files", verified.files)]
    if verified.inputs is not None:
        lines += _part("inputs", verified.inputs)
    if verified.rerun is not None:
        counts = dict.fromkeys(("identical", "within tolerance", "different"), 0)
        for again in verified.rerun:
            counts[again.verdict] += 1
        lines.append("images made again: " + ", ".join(f"{number} {verdict}" for verdict, number in counts.items()))
        for again in verified.rerun:
            if again.verdict != "identical":
                lines.append(f"  {again.path}: {again.verdict}{_measures(again.comparison)}")
                lines += [f"    {reason}" for reason in again.reasons]
    verdict = "differs" if verified.differs else "could not be checked whole" if verified.problems else "verified"
    return "".join(f"{one_line(line)}\n" for line in [*lines, f"{verified.run.as_posix()}: {verdict}"])


def _part(title: str, checked: Sequence[Checked]) -> list[str]:
    faults = [each for each in checked if each.fault]
    said = f"{title}: {len(checked) - len(faults)} as they were"
    if faults:
        said += f", {len(faults)} not"
    return [said, *(f"  {each.subject}: {each.fault}" for each in faults)]


def _measures(comparison: Comparison | None) -> str:
    if comparison is None or comparison.max_abs is None:
        return f" ({comparison.reason})" if comparison and comparison.reason else ""
    said = f" (max abs {comparison.max_abs}, PSNR {comparison.psnr:.1f} dB, SSIM {comparison.ssim:.4f})"
    return said + (f": {comparison.reason}" if comparison.reason else "")


def verified_json(verified: Verified) -> str:
    """One object; an infinite PSNR is null."""
    tree: dict[str, Any] = {
        "run_folder": verified.run.as_posix(),
        "verdict": "differs" if verified.differs else "unknown" if verified.problems else "verified",
        "files": [_checked(each) for each in verified.files],
        "inputs": None if verified.inputs is None else [_checked(each) for each in verified.inputs],
        "rerun": None if verified.rerun is None else [_again(each) for each in verified.rerun],
        "problems": [dict(problem_json(problem)) for problem in verified.problems],
    }
    return json.dumps(tree, indent=2, allow_nan=False) + "\n"


def _checked(checked: Checked) -> Mapping[str, Any]:
    return {"subject": checked.subject, "fault": checked.fault}


def _again(again: Again) -> Mapping[str, Any]:
    found = again.comparison
    psnr = None if found is None or found.psnr is None or math.isinf(found.psnr) else round(found.psnr, 3)
    return {
        "path": again.path,
        "verdict": again.verdict,
        "max_abs": None if found is None else found.max_abs,
        "psnr": psnr,
        "ssim": None if found is None or found.ssim is None else round(found.ssim, 6),
        "differing": None if found is None or found.differing is None else round(found.differing, 6),
        "reasons": list(again.reasons),
    }
