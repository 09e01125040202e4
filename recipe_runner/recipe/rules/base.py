"""Rules about the base, and about what its pipeline's call takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from recipe_runner.canonical import mapping
from recipe_runner.pipelines import table as diffusers_table
from recipe_runner.problems.suggest import did_you_mean
from recipe_runner.problems.wording import shown
from recipe_runner.recipe.finding import Finding

if TYPE_CHECKING:
    from recipe_runner.canonical import Json
    from recipe_runner.document.paths import RecipePath
    from recipe_runner.recipe.rules.view import View

_COMMON = ("num_inference_steps", "guidance_scale", "height", "width", "eta", "guidance_rescale", "clip_skip")
_OTHER_WORDS = {
    "steps": "num_inference_steps", "num_steps": "num_inference_steps", "sampling_steps": "num_inference_steps",
    "cfg": "guidance_scale", "cfg_scale": "guidance_scale", "guidance": "guidance_scale", "clipskip": "clip_skip",
}  # fmt: skip
"""What other programs call arguments."""
_SAMPLERS = {
    "euler a": "EulerAncestralDiscreteScheduler", "euler": "EulerDiscreteScheduler", "heun": "HeunDiscreteScheduler",
    "dpm++ 2m": "DPMSolverMultistepScheduler", "dpm++ sde": "DPMSolverSDEScheduler", "unipc": "UniPCMultistepScheduler",
    "dpm++ 2m sde": "DPMSolverMultistepScheduler", "dpm2": "KDPM2DiscreteScheduler", "lcm": "LCMScheduler",
    "dpm2 a": "KDPM2AncestralDiscreteScheduler", "plms": "PNDMScheduler", "ddim": "DDIMScheduler",
}  # fmt: skip
"""What other programs call schedulers."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def pipeline(view: View) -> Iterator[Finding]:
    """E327, E328: `base.pipeline` is a class that draws from text."""
    name = view.base.get("pipeline", "auto")
    if not isinstance(name, str) or name in ("auto", "") or name in diffusers_table.pipelines():
        return
    path = ("base", "pipeline")
    if name in diffusers_table.other_pipelines():
        hint = "Recipes draw from text; write `auto` or a text-to-image class."
        yield Finding("E328", f"`{name}` does not make images from text alone", path, hint)
    else:
        hint = did_you_mean(name, ["auto", *diffusers_table.pipelines()])
        yield Finding("E327", f"diffusers has no pipeline class `{shown(name)}`", path, hint)


def scheduler(view: View) -> Iterator[Finding]:
    """E325, E326: the scheduler is one of diffusers', and its configuration keys are its own."""
    section = mapping(view.base.get("scheduler"))
    known = diffusers_table.schedulers()
    name = section.get("class")
    if isinstance(name, str) and name and name not in known:
        plain = " ".join(name.lower().replace("_", " ").split()).removesuffix(" karras")
        hint = f"Did you mean `{_SAMPLERS[plain]}`?" if plain in _SAMPLERS else did_you_mean(name, known)
        yield Finding("E325", f"diffusers has no scheduler class `{shown(name)}`", ("base", "scheduler", "class"), hint)
    entries = [known[name]] if isinstance(name, str) and name in known else known.values()
    allowed = list(dict.fromkeys(key for entry in entries for key in entry["config"]))
    whose = f"`{name}`" if isinstance(name, str) and name in known else "any scheduler"
    for key in mapping(section.get("config")):
        if key not in allowed:
            message = f"`{shown(key)}` is not a configuration key of {whose}"
            path = ("base", "scheduler", "config", key)
            yield Finding("E326", message, path, did_you_mean(key, allowed), key=True)


def components(view: View) -> Iterator[Finding]:
    """E329: replaced components are parts of the pipeline, and only optional ones are left out."""
    entry = view.pipeline_entry
    entries = diffusers_table.pipelines().values() if entry is None else [entry]
    whose = "any text-to-image pipeline" if entry is None else f"`{view.pipeline}`"
    known: dict[str, bool] = {}
    for one in entries:
        for name, component in one["components"].items():
            known[name] = known.get(name, False) or component["optional"]
    for name, component in mapping(view.base.get("components")).items():
        path = ("base", "components", name)
        if name == "scheduler":
            hint = "Write `base.scheduler: {class: …, config: {…}}`."
            yield Finding("E329", "the scheduler is not replaced as a component", path, hint, key=True)
        elif name not in known:
            message = f"`{shown(name)}` is not a component of {whose}"
            yield Finding("E329", message, path, did_you_mean(name, known, "Its components"), key=True)
        elif component is None and not known[name]:
            message = f"`{name}` cannot be left out: {whose} needs it"
            yield Finding("E329", message, path, "Delete the key, or name a model.")


def sampling(view: View) -> Iterator[Finding]:
    """E323, E324: what `sampling` sets are arguments of the pipeline's call, and not those that we supply."""
    taken = diffusers_table.call_parameters(view.pipeline)
    known = list(dict.fromkeys([*(name for name in _COMMON if name in taken), *taken]))
    whose = "any text-to-image pipeline" if view.pipeline is None else f"`{view.pipeline}`"
    for key, value in mapping(view.tree.get("sampling")).items():
        path = ("sampling", key)
        instead = diffusers_table.where_supplied(key)
        if instead is not None:
            yield Finding("E324", f"`{shown(key)}` is supplied by recipe_runner", path, instead, key=True)
        elif key not in known and value is not None:
            message = f"`{shown(key)}` is not an argument of {whose}"
            other = _OTHER_WORDS.get(key.lower())
            hint = f"Did you mean `{other}`?" if other in known else did_you_mean(key, known, "Arguments")
            yield Finding("E323", message, path, hint, key=True)


def pickles(view: View) -> Iterator[Finding]:
    """E330: no pickled weights file, unless the recipe allows them."""
    if mapping(view.tree.get("runtime")).get("allow_pickle") is True:
        return
    for path, section in _sections(view):
        for key in ("model", "weight_name"):
            name = section.get(key)
            if isinstance(name, str) and PurePosixPath(name.partition("?")[0]).suffix.lower() in PICKLED:
                message = f"`{shown(name)}` is a pickle, which can run code when it is read"
                hint = "Use a .safetensors file, or set `runtime.allow_pickle: true` if you trust it."
                yield Finding("E330", message, (*path, key), hint)


def _sections(view: View) -> Iterator[tuple[RecipePath, Mapping[str, Json]]]:
    yield ("base",), view.base
    for name, component in mapping(view.base.get("components")).items():
        yield ("base", "components", name), mapping(component)
    for name, adapter in view.adapters.items():
        yield ("adapters", name), adapter
        yield ("adapters", name, "image_encoder"), mapping(adapter.get("image_encoder"))
