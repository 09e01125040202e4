"""The names that A1111 and its readers have for diffusers' schedulers: `Sampler` and `Schedule type`.

The pairs follow diffusers' own table (docs, api/schedulers/overview). A scheduler that nobody there has a name for
keeps its class name, without the word Scheduler.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recipe_runner.canonical import Json

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "DDIMScheduler": "DDIM",
        "DDPMScheduler": "DDPM",
        "DEISMultistepScheduler": "DEIS",
        "DPMSolverSDEScheduler": "DPM++ SDE",
        "DPMSolverSinglestepScheduler": "DPM++ SDE",
        "EDMEulerScheduler": "Euler",
        "EulerAncestralDiscreteScheduler": "Euler a",
        "EulerDiscreteScheduler": "Euler",
        "FlowMatchEulerDiscreteScheduler": "Euler",
        "FlowMatchHeunDiscreteScheduler": "Heun",
        "HeunDiscreteScheduler": "Heun",
        "IPNDMScheduler": "IPNDM",
        "KDPM2AncestralDiscreteScheduler": "DPM2 a",
        "KDPM2DiscreteScheduler": "DPM2",
        "LCMScheduler": "LCM",
        "LMSDiscreteScheduler": "LMS",
        "PNDMScheduler": "PLMS",
        "TCDScheduler": "TCD",
        "UniPCMultistepScheduler": "UniPC",
    }
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


def sampler_name(scheduler_class: str, config: Mapping[str, Json]) -> str:
    """The `Sampler` of a diffusers scheduler class with its whole configuration, such as `DPM++ 2M SDE`."""
    if scheduler_class in _MULTISTEP:
        order = config.get("solver_order", _SECOND_ORDER)
        algorithm = str(config.get("algorithm_type", "dpmsolver++"))
        if algorithm.endswith("dpmsolver++"):
            return f"DPM++ {order}M SDE" if algorithm.startswith("sde-") else f"DPM++ {order}M"
    return _NAMES.get(scheduler_class, scheduler_class.removesuffix("Scheduler"))


def schedule_type(scheduler_class: str, config: Mapping[str, Json]) -> str | None:
    """The `Schedule type`, such as `Karras`; None where it is the sampler's own (readers then say Automatic)."""
    for key, name in _SIGMAS:
        if config.get(key) is True:
            return name
    if scheduler_class.startswith("FlowMatch"):
        return "Simple"
    sampler = sampler_name(scheduler_class, config)
    if config.get("timestep_spacing") == "trailing" and sampler not in _WITHOUT_SPACING:
        return "SGM Uniform"
    return None
