"""The names that other programs have for diffusers' schedulers, both ways: A1111 and its relatives, ComfyUI, InvokeAI.

The pairs follow diffusers' own table (docs, api/schedulers/overview), ComfyUI's `comfy/samplers.py` and InvokeAI's
scheduler map. A scheduler that nobody there has a name for keeps its class name, without the word Scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipe_runner.canonical import Json


@dataclass(frozen=True, slots=True)
class _Row:
    """A scheduler under its names: A1111's `Sampler`, ComfyUI's `sampler_name`, and what else stands for it."""

    scheduler: str
    a1111: str
    comfyui: str | None = None
    others: tuple[str, ...] = ()
    config: Mapping[str, Json] = field(default_factory=dict)
    note: str = ""


_SDE = {"algorithm_type": "sde-dpmsolver++"}
_NEAREST = "diffusers has no {}; this is the nearest"
# The first row of a class is the name it is written under, the first row of a name the class that is read.
_ROWS = (
    _Row("DDIMScheduler", "DDIM", "ddim"),
    _Row("DDPMScheduler", "DDPM", "ddpm"),
    _Row("DEISMultistepScheduler", "DEIS", "deis"),
    _Row("DPMSolverMultistepScheduler", "DPM++ 2M", "dpmpp_2m", ("k_dpmpp_2",), {"algorithm_type": "dpmsolver++"}),
    _Row("DPMSolverMultistepScheduler", "DPM++ 2M SDE", "dpmpp_2m_sde", ("dpmpp_2m_sde_gpu",), _SDE),
    _Row("DPMSolverMultistepScheduler", "DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun", (), {**_SDE, "solver_type": "heun"}),
    _Row("DPMSolverMultistepScheduler", "DPM++ 3M", None, ("dpmpp_3m",), {"solver_order": 3}),
    _Row(
        "DPMSolverMultistepScheduler",
        "DPM++ 3M SDE",
        "dpmpp_3m_sde",
        ("dpmpp_3m_sde_gpu",),
        {**_SDE, "solver_order": 3},
    ),
    _Row("DPMSolverSinglestepScheduler", "DPM++ SDE", "dpmpp_sde", ("dpmpp_sde_gpu", "dpm++ 2s", "dpmpp_2s")),
    _Row("DPMSolverSDEScheduler", "DPM++ SDE", "dpmpp_sde"),
    _Row("DPMSolverSinglestepScheduler", "DPM++ 2S a", "dpmpp_2s_ancestral", ("k_dpmpp_2_a",), note="DPM++ 2S a"),
    _Row(
        "EulerAncestralDiscreteScheduler", "Euler a", "euler_ancestral", ("euler_a", "k_euler_a", "k_euler_ancestral")
    ),
    _Row("EulerDiscreteScheduler", "Euler", "euler", ("k_euler", "edm euler")),
    _Row("EDMEulerScheduler", "Euler", "euler"),
    _Row("FlowMatchEulerDiscreteScheduler", "Euler", "euler"),
    _Row("FlowMatchHeunDiscreteScheduler", "Heun", "heun"),
    _Row("HeunDiscreteScheduler", "Heun", "heun", ("k_heun",)),
    _Row("IPNDMScheduler", "IPNDM", "ipndm"),
    _Row("KDPM2AncestralDiscreteScheduler", "DPM2 a", "dpm_2_ancestral", ("kdpm_2_a", "k_dpm_2_a")),
    _Row("KDPM2DiscreteScheduler", "DPM2", "dpm_2", ("kdpm_2", "k_dpm_2")),
    _Row("LCMScheduler", "LCM", "lcm"),
    _Row("LMSDiscreteScheduler", "LMS", "lms", ("k_lms",)),
    _Row("PNDMScheduler", "PLMS", None, ("pndm",)),
    _Row("TCDScheduler", "TCD"),
    _Row("UniPCMultistepScheduler", "UniPC", "uni_pc_bh2", ("unipc",)),
    _Row("UniPCMultistepScheduler", "UniPC", "uni_pc", config={"solver_type": "bh1"}),
)
_MULTISTEP = ("DPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler")
_SIGMAS = (
    ("use_karras_sigmas", "Karras"),
    ("use_exponential_sigmas", "Exponential"),
    ("use_beta_sigmas", "Beta"),
)
# These take the spacing of their steps for granted there; naming it would only say what their name says.
_WITHOUT_SPACING = ("DDIM", "DDPM", "LCM", "PLMS", "TCD")
_SECOND_ORDER = 2
_FLOW = "FlowMatch"

_SCHEDULES: Mapping[str, Mapping[str, Json]] = MappingProxyType(
    {
        "automatic": {},
        "": {},
        "uniform": {},
        "normal": {},
        "karras": {"use_karras_sigmas": True},
        "exponential": {"use_exponential_sigmas": True},
        "beta": {"use_beta_sigmas": True},
        "sgm uniform": {"timestep_spacing": "trailing"},
        "ddim uniform": {"timestep_spacing": "leading"},
        "ddim": {"timestep_spacing": "leading"},
    }
)
"""What A1111's `Schedule type` and ComfyUI's `scheduler` are in a scheduler's configuration."""


@dataclass(frozen=True, slots=True)
class NamedScheduler:
    """The scheduler that a foreign name stands for: diffusers' class, configuration, and what does not come over."""

    class_name: str
    config: Mapping[str, Json]
    notes: tuple[str, ...] = ()


def sampler_name(scheduler_class: str, config: Mapping[str, Json]) -> str:
    """The `Sampler` of a diffusers scheduler class with its whole configuration, such as `DPM++ 2M SDE`."""
    if scheduler_class in _MULTISTEP:
        order = config.get("solver_order", _SECOND_ORDER)
        algorithm = str(config.get("algorithm_type", "dpmsolver++"))
        if algorithm.endswith("dpmsolver++"):
            return f"DPM++ {order}M SDE" if algorithm.startswith("sde-") else f"DPM++ {order}M"
        return scheduler_class.removesuffix("Scheduler")
    named = next((row.a1111 for row in _ROWS if row.scheduler == scheduler_class), None)
    return named or scheduler_class.removesuffix("Scheduler")


def schedule_type(scheduler_class: str, config: Mapping[str, Json]) -> str | None:
    """The `Schedule type`, such as `Karras`; None where it is the sampler's own (readers then say Automatic)."""
    for key, name in _SIGMAS:
        if config.get(key) is True:
            return name
    if scheduler_class.startswith(_FLOW):
        return "Simple"
    sampler = sampler_name(scheduler_class, config)
    if config.get("timestep_spacing") == "trailing" and sampler not in _WITHOUT_SPACING:
        return "SGM Uniform"
    return None


def comfyui_names(scheduler_class: str, config: Mapping[str, Json]) -> tuple[str | None, str]:
    """ComfyUI's `sampler_name` (None where it has none) and `scheduler` of a diffusers scheduler."""
    wanted = sampler_name(scheduler_class, config)
    rows = [row for row in _ROWS if row.a1111 == wanted and row.comfyui]
    exact = [row for row in rows if row.config and all(config.get(key) == value for key, value in row.config.items())]
    name = (exact or rows)[0].comfyui if rows else None
    return name, (schedule_type(scheduler_class, config) or "normal").lower().replace(" ", "_")


def scheduler_named(sampler: str, schedule: str = "") -> NamedScheduler | None:
    """The scheduler that a program's sampler and schedule stand for; None where the sampler is not known.

    Takes A1111's names with the schedule inside (`DPM++ 2M Karras`) or beside, ComfyUI's, InvokeAI's (`dpmpp_2m_k`) and
    diffusers' class names.
    """
    wanted = sampler.strip().lower().removeprefix("sample_")
    for ending, name in (*((f" {each}", each) for each in _SCHEDULES if each), ("_k", "karras")):
        if wanted.endswith(ending) and _row(wanted) is None and _row(wanted.removesuffix(ending)) is not None:
            wanted = wanted.removesuffix(ending)
            schedule = schedule or name
    row = _row(wanted)
    if row is None:
        return None
    notes = [_NEAREST.format(row.note)] if row.note else []
    spacing = _SCHEDULES.get(schedule.strip().lower().replace("_", " "))
    if spacing is None and not row.scheduler.startswith(_FLOW):
        notes.append(f"the schedule `{schedule}` has no counterpart in diffusers")
    return NamedScheduler(row.scheduler, {**row.config, **(spacing or {})}, tuple(notes))


def _row(name: str) -> _Row | None:
    for row in _ROWS:
        names = (row.a1111, row.comfyui or "", *row.others, row.scheduler, row.scheduler.removesuffix("Scheduler"))
        if name and name in (each.lower() for each in names):
            return row
    return None
