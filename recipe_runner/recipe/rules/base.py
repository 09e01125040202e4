"""Rules for the base and the arguments of its pipeline call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
"""Names of arguments in other programs."""
_SAMPLERS = {
    "euler a": "EulerAncestralDiscreteScheduler", "euler": "EulerDiscreteScheduler", "heun": "HeunDiscreteScheduler",
    "dpm++ 2m": "DPMSolverMultistepScheduler", "dpm++ sde": "DPMSolverSDEScheduler", "unipc": "UniPCMultistepScheduler",
    "dpm++ 2m sde": "DPMSolverMultistepScheduler", "dpm2": "KDPM2DiscreteScheduler", "lcm": "LCMScheduler",
    "dpm2 a": "KDPM2AncestralDiscreteScheduler", "plms": "PNDMScheduler", "ddim": "DDIMScheduler",
}  # fmt: skip
"""Names of schedulers in other programs."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def pipeline(view: View) -> Iterator[Finding]:
    """E327, E328: `base.pipeline` is a text-to-image pipeline."""
    name = view.base.get("pipeline", "auto")
    if not isinstance(name, str) or name in ("auto", "") or name in diffusers_table.pipelines():
        return
    path = ("base", "pipeline")
    if name in diffusers_table.other_pipelines():
        hint = "Recipes make images from text; write `auto` or a text-to-image class."
        yield Finding("E328", f"`{name}` does not make images from text alone", path, hint)
    else:
        hint = did_you_mean(name, ["auto", *diffusers_table.pipelines()])
        yield Finding("E327", f"diffusers has no pipeline class `{shown(name)}`", path, hint)


def scheduler(view: View) -> Iterator[Finding]:
    """E325, E326: diffusers has the scheduler class, and the class has the configuration keys."""
    section = mapping(view.base.get("scheduler"))
    known = diffusers_table.schedulers()
    name = section.get("class")
    if isinstance(name, str) and name and name not in known:
        message = f"diffusers has no scheduler class `{shown(name)}`"
        yield Finding("E325", message, ("base", "scheduler", "class"), _scheduler_hint(name, known))
    entries, owner = list(known.values()), "any scheduler"
    if isinstance(name, str) and name in known:
        entries, owner = [known[name]], f"`{name}`"
    allowed: dict[str, None] = {}
    for entry in entries:
        allowed.update(dict.fromkeys(entry["config"]))
    for key in mapping(section.get("config")):
        if key not in allowed:
            message = f"`{shown(key)}` is not a configuration key of {owner}"
            path = ("base", "scheduler", "config", key)
            yield Finding("E326", message, path, did_you_mean(key, allowed), key=True)


def _scheduler_hint(name: str, known: Iterable[str]) -> str:
    plain = " ".join(name.lower().replace("_", " ").split()).removesuffix(" karras")
    if plain in _SAMPLERS:
        return f"Did you mean `{_SAMPLERS[plain]}`?"
    return did_you_mean(name, known)


def components(view: View) -> Iterator[Finding]:
    """E329: the pipeline has the replaced components, and only optional ones are left out."""
    known, owner = _known_components(view), _pipeline_name(view)
    for name, component in mapping(view.base.get("components")).items():
        path = ("base", "components", name)
        if name == "scheduler":
            hint = "Write `base.scheduler: {class: …, config: {…}}`."
            yield Finding("E329", "the scheduler cannot be replaced as a component", path, hint, key=True)
        elif name not in known:
            message = f"`{shown(name)}` is not a component of {owner}"
            yield Finding("E329", message, path, did_you_mean(name, known, "Its components"), key=True)
        elif component is None and not known[name]:
            message = f"`{name}` cannot be left out: {owner} needs it"
            yield Finding("E329", message, path, "Delete the key, or name a model.")


def _known_components(view: View) -> dict[str, bool]:
    """The components of the pipeline (of all pipelines while it is unknown), and whether each is optional."""
    entries = list(diffusers_table.pipelines().values())
    if view.pipeline_entry is not None:
        entries = [view.pipeline_entry]
    known: dict[str, bool] = {}
    for entry in entries:
        for name, component in entry["components"].items():
            known[name] = known.get(name, False) or component["optional"]
    return known


def _pipeline_name(view: View) -> str:
    if view.pipeline is None:
        return "any text-to-image pipeline"
    return f"`{view.pipeline}`"


def sampling(view: View) -> Iterator[Finding]:
    """E323, E324: `sampling` sets arguments of the pipeline call, but none that recipe_runner sets itself."""
    taken = diffusers_table.call_parameters(view.pipeline)
    common = [name for name in _COMMON if name in taken]
    known = list(dict.fromkeys([*common, *taken]))
    for key, value in mapping(view.tree.get("sampling")).items():
        path = ("sampling", key)
        instead = diffusers_table.where_supplied(key)
        if instead is not None:
            yield Finding("E324", f"recipe_runner sets `{shown(key)}` itself", path, instead, key=True)
        elif key not in known and value is not None:
            message = f"`{shown(key)}` is not an argument of {_pipeline_name(view)}"
            hint = did_you_mean(key, known, "Arguments")
            other = _OTHER_WORDS.get(key.lower())
            if other in known:
                hint = f"Did you mean `{other}`?"
            yield Finding("E323", message, path, hint, key=True)


def pickles(view: View) -> Iterator[Finding]:
    """E330: no pickled weights files, unless the recipe allows them."""
    if mapping(view.tree.get("runtime")).get("allow_pickle") is True:
        return
    for path, section in _sections(view):
        for key in ("model", "weight_name"):
            name = section.get(key)
            if isinstance(name, str) and _is_pickle(name):
                message = f"`{shown(name)}` is a pickle, which can execute code when it is read"
                hint = "Use a .safetensors file, or set `runtime.allow_pickle: true` if you trust it."
                yield Finding("E330", message, (*path, key), hint)


def _is_pickle(address: str) -> bool:
    path, _, _ = address.partition("?")
    return PurePosixPath(path).suffix.lower() in PICKLED


def _sections(view: View) -> Iterator[tuple[RecipePath, Mapping[str, Json]]]:
    yield ("base",), view.base
    for name, component in mapping(view.base.get("components")).items():
        yield ("base", "components", name), mapping(component)
    for name, adapter in view.adapters.items():
        yield ("adapters", name), adapter
        yield ("adapters", name, "image_encoder"), mapping(adapter.get("image_encoder"))
