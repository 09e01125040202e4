"""Map diffusers' schedulers to the names of A1111 and its relatives, ComfyUI and InvokeAI, and back.

The pairs follow diffusers' own table (docs, api/schedulers/overview), ComfyUI's `comfy/samplers.py` and InvokeAI's
scheduler map. A scheduler without a name in these programs keeps its class name, without the word Scheduler.
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
    """A scheduler and its names: A1111's `Sampler`, ComfyUI's `sampler_name`, and others."""

    scheduler: str
    a1111: str
    comfyui: str | None = None
    others: tuple[str, ...] = ()
    config: Mapping[str, Json] = field(default_factory=dict)
    note: str = ""

    def names(self) -> tuple[str, ...]:
        """Every name in lower case, the class's among them."""
        names = (self.a1111, self.comfyui or "", *self.others, self.scheduler, self.scheduler.removesuffix("Scheduler"))
        return tuple(map(str.lower, names))


_SDE = {"algorithm_type": "sde-dpmsolver++"}
_NEAREST = "diffusers has no {}; this is the nearest"
# A class is written under the name of its first row; a name is read as the class of its first row.
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
    _Row("HeunDiscreteScheduler", "Heun", "heun", ("k_heun",)),
    _Row("FlowMatchHeunDiscreteScheduler", "Heun", "heun"),
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
_MULTISTEP_NAMES = (("dpmsolver++", "DPM++ {}M"), ("sde-dpmsolver++", "DPM++ {}M SDE"))
"""The names of these by `algorithm_type`, with the order of the solver; the first is the default."""
_SIGMAS = (
    ("use_karras_sigmas", "Karras"),
    ("use_exponential_sigmas", "Exponential"),
    ("use_beta_sigmas", "Beta"),
)
# The names of these samplers imply the spacing of their steps.
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
"""The configuration of a scheduler for A1111's `Schedule type` and ComfyUI's `scheduler`."""
_ENDINGS: Mapping[str, str] = {**{f" {name}": name for name in _SCHEDULES if name}, "_k": "karras"}
"""The schedules at the end of a sampler's name."""


@dataclass(frozen=True, slots=True)
class NamedScheduler:
    """The diffusers scheduler of another program's name: class, configuration, and notes on what differs."""

    class_name: str
    config: Mapping[str, Json]
    notes: tuple[str, ...] = ()


def sampler_name(scheduler_class: str, config: Mapping[str, Json]) -> str:
    """The `Sampler` of a diffusers scheduler class with its whole configuration, such as `DPM++ 2M SDE`."""
    name = scheduler_class.removesuffix("Scheduler")
    if scheduler_class in _MULTISTEP:
        order = config.get("solver_order", _SECOND_ORDER)
        algorithm = str(config.get("algorithm_type", _MULTISTEP_NAMES[0][0]))
        return next((each.format(order) for kind, each in _MULTISTEP_NAMES if kind == algorithm), name)
    return next((row.a1111 for row in _ROWS if row.scheduler == scheduler_class), name)


def schedule_type(scheduler_class: str, config: Mapping[str, Json]) -> str | None:
    """The `Schedule type`, such as `Karras`; None for the sampler's own (readers then say Automatic)."""
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
    """The `sampler_name` (None when ComfyUI has none) and the `scheduler` of a diffusers scheduler."""
    schedule = schedule_type(scheduler_class, config) or "normal"
    return _comfyui_sampler(sampler_name(scheduler_class, config), config), schedule.lower().replace(" ", "_")


def _comfyui_sampler(name: str, config: Mapping[str, Json]) -> str | None:
    """ComfyUI's name for a sampler of A1111's: of the row whose configuration this is, else of the first row."""
    rows = [row for row in _ROWS if row.a1111 == name and row.comfyui]
    for row in rows:
        if row.config and row.config.items() <= config.items():
            return row.comfyui
    return rows[0].comfyui if rows else None


def scheduler_named(sampler: str, schedule: str = "") -> NamedScheduler | None:
    """The scheduler of another program's sampler and schedule; None when the sampler is not known.

    Takes A1111's names with the schedule inside (`DPM++ 2M Karras`) or beside, ComfyUI's, InvokeAI's (`dpmpp_2m_k`) and
    diffusers' class names.
    """
    name, inside = _split_schedule(sampler.strip().lower().removeprefix("sample_"))
    row = _row(name)
    if row is None:
        return None
    schedule = schedule or inside
    notes = [_NEAREST.format(row.note)] if row.note else []
    config = _SCHEDULES.get(schedule.strip().lower().replace("_", " "))
    if config is None:
        config = {}
        if not row.scheduler.startswith(_FLOW):
            notes.append(f"the schedule `{schedule}` has no counterpart in diffusers")
    return NamedScheduler(row.scheduler, {**row.config, **config}, tuple(notes))


def _split_schedule(name: str) -> tuple[str, str]:
    """A sampler's name without the schedule at its end, and the schedule."""
    if _row(name) is not None:
        return name, ""
    for ending, schedule in _ENDINGS.items():
        if name.endswith(ending) and _row(name.removesuffix(ending)) is not None:
            return name.removesuffix(ending), schedule
    return name, ""


def _row(name: str) -> _Row | None:
    for row in _ROWS:
        if name and name in row.names():
            return row
    return None
