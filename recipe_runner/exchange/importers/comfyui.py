"""A ComfyUI graph, read from its sampler backwards: text, adapters, checkpoint, size.

A graph can do anything; a recipe draws from text. So the first sampler that starts from empty latents is the recipe,
and every node that it does not need is named as lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from recipe_runner.exchange.importers.comfy_graph import ComfyNode, Graph, api_graph
from recipe_runner.exchange.importers.comfy_workflow import workflow_graph
from recipe_runner.exchange.importers.foreign_json import integer_of, mapping, number_of, text_of
from recipe_runner.exchange.importers.generation import ForeignAdapter, ForeignModel, Generation
from recipe_runner.exchange.importers.prompt_syntax import plain_prompt

if TYPE_CHECKING:
    from recipe_runner.canonical import Json

_CHECKPOINTS = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name")
_TEXTS = ("text", "text_g", "t5xxl", "clip_l", "text_l", "prompt", "string", "text_positive", "value", "string_field")
_VALUES = ("value", "int", "float", "number", "seed", "noise_seed", "string", "text", "Number", "Value", "INT")
_LATENTS = ("latent_image", "latent", "samples")
_WORTH_NOTHING = (
    "SaveImage", "PreviewImage", "VAEDecode", "VAEDecodeTiled", "Note", "MarkdownNote", "Reroute", "PrimitiveNode",
    "LoadVAE", "Image Save", "SaveImageWebsocket",
)  # fmt: skip
_FLOW = ("Flux", "SD3", "AuraFlow", "DualCLIPLoader", "TripleCLIPLoader", "QwenImage", "Chroma", "HiDream", "Lumina")
_MOST_SENTENCES = 40
_MOST_STACKED = 50
_MOST_SAMPLERS = 50
_MOST_HOPS = 1_000


def read_comfyui(tree: Mapping[str, Any]) -> Generation | None:
    """What a graph in the API or the editor's format says; None where it is none or samples nothing."""
    inner = tree.get("prompt")
    if isinstance(inner, Mapping):
        # The body of a request, and what a file of Civitai's has.
        return read_comfyui(inner)
    graph = workflow_graph(tree) or api_graph(tree)
    if graph is None:
        return None
    reader = _Reader(graph)
    sampler = reader.first_sampler()
    return None if sampler is None else reader.generation(sampler)


class _Reader:
    """One graph; `_used` are the nodes that went into the recipe."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._used: set[str] = set()
        self._lost: list[str] = []

    def first_sampler(self) -> ComfyNode | None:
        """The sampler that the others build on: one whose latents come from no other sampler, else the first."""
        samplers = [node for node in self._graph.values() if _is_sampler(node)][:_MOST_SAMPLERS]
        for node in samplers:
            if not any(_is_sampler(other) for other in self._upstream(node, _LATENTS)):
                return node
        return samplers[0] if samplers else None

    def generation(self, sampler: ComfyNode) -> Generation:
        """The recipe of one sampler."""
        self._used.add(sampler.key)
        adapters, base, skip = self._models(sampler)
        positive = self._prompt(sampler, "positive", "the prompt")
        negative = self._prompt(sampler, "negative", "the negative prompt")
        sampling = self._sampling(sampler, skip)
        vae = self._vae(sampler)
        seed = integer_of(self._value(sampler, "seed", "noise_seed"))
        kinds = " ".join(node.kind for node in self._graph.values())
        name = base.name.lower() if base is not None else ""
        self._name_the_rest()
        return Generation(
            program="ComfyUI",
            prompts={"prompt": positive.text, **({"negative_prompt": negative.text} if negative.text else {})},
            seeds=() if seed is None else (seed,),
            sampling=sampling,
            sampler=text_of(self._value(sampler, "sampler_name")),
            schedule=str(self._value(sampler, "scheduler") or ""),
            flow=any(mark in kinds for mark in _FLOW) or "flux" in name or "sd3" in name,
            base=base,
            components={} if vae is None else {"vae": ForeignModel(name=vae)},
            adapters=(*adapters, *positive.adapters, *negative.adapters),
            lost=(*positive.lost, *negative.lost, *self._lost),
        )

    def _source(self, value: Any, name: str = "") -> ComfyNode | None:
        """The node behind a link, past reroutes and bypassed nodes."""
        for _ in range(_MOST_HOPS):
            node = self._graph.get(value[0]) if isinstance(value, tuple) else None
            if node is None or node.kind not in ("Reroute", "bypassed", "PrimitiveReroute", "Reroute (rgthree)"):
                return node
            self._used.add(node.key)
            ways = [link for key, link in node.links() if key == name or node.kind != "bypassed"]
            value = ways[0] if ways else None
        return None

    def _value(self, node: ComfyNode, *names: str) -> Any:
        """An input's value: its own, that of a node that holds one, or that of the sampler's helpers."""
        for name in names:
            value = node.inputs.get(name)
            if isinstance(value, tuple):
                value = self._held(value)
            if value is not None and not isinstance(value, (tuple, list, Mapping)):
                return value
        # SamplerCustomAdvanced and its kind have them in nodes beside it.
        for name in ("noise", "sampler", "sigmas", "guider"):
            helper = self._source(node.inputs.get(name))
            if helper is not None and helper is not node:
                self._used.add(helper.key)
                found = next((helper.inputs[each] for each in names if each in helper.inputs), None)
                found = self._held(found) if isinstance(found, tuple) else found
                if found is not None:
                    return found
        return None

    def _held(self, link: Any) -> Any:
        """The one value of a node that only holds a value, wherever it got it from."""
        for _ in range(20):
            node = self._source(link)
            if node is None:
                return None
            self._used.add(node.key)
            found = next((node.inputs[name] for name in _VALUES if name in node.inputs), None)
            if not isinstance(found, tuple):
                return found
            link = found
        return None

    def _models(self, sampler: ComfyNode) -> tuple[list[ForeignAdapter], ForeignModel | None, int | None]:
        """Adapters from the checkpoint on, the checkpoint, and clip skip in diffusers' count."""
        adapters: list[ForeignAdapter] = []
        guider = self._source(sampler.inputs.get("guider"))
        node = self._source(sampler.inputs.get("model") or (guider.inputs.get("model") if guider else None), "model")
        base = None
        for _ in range(_MOST_HOPS):
            if node is None:
                break
            self._used.add(node.key)
            adapters[:0] = _loras(node)
            name = next((text_of(node.inputs.get(key)) for key in _CHECKPOINTS if text_of(node.inputs.get(key))), None)
            if name is not None:
                base = ForeignModel(name=name)
                break
            known = _loras(node) or node.kind in ("Reroute", "bypassed") or "model" not in node.inputs
            if not known:
                self._lose(node, "the model passes through")
            node = self._source(node.inputs.get("model"), "model")
        skips = [node for node in self._graph.values() if node.kind == "CLIPSetLastLayer"]
        stop = integer_of(self._value(skips[0], "stop_at_clip_layer")) if skips else None
        self._used.update(node.key for node in skips)
        return adapters, base, None if stop is None or stop >= -1 else -stop - 1

    def _prompt(self, sampler: ComfyNode, side: str, what: str) -> Any:
        guider = self._source(sampler.inputs.get("guider"))
        link = sampler.inputs.get(side)
        if link is None and guider is not None:
            link = guider.inputs.get(side) or (guider.inputs.get("conditioning") if side == "positive" else None)
        texts = list(dict.fromkeys(self._texts(link, side)))
        for text in texts[1:]:
            if text.strip():
                self._lost.append(f"{what} is composed of several: `{text.strip()[:100]}`")
        return plain_prompt(texts[0] if texts else "", "comfyui", what)

    def _texts(self, link: Any, side: str) -> Iterator[str]:
        """Every text that a conditioning is made of, nearest first."""
        pending, seen = deque([link]), set()
        while pending:
            node = self._source(pending.popleft())
            if node is None or node.key in seen:
                continue
            seen.add(node.key)
            self._used.add(node.key)
            own = node.inputs.get(side)
            if isinstance(own, str):
                # A loader that encodes its own texts.
                yield own
                continue
            if "clip" in node.inputs or "Encode" in node.kind or "Prompt" in node.kind:
                texts = [text for text in (self._text(node, name) for name in _TEXTS) if text is not None]
                if texts:
                    yield from dict.fromkeys(texts)
                    continue
            both = "positive" in node.inputs and "negative" in node.inputs
            ways = [
                (name, way) for name, way in node.links() if name != ("negative" if side == "positive" else "positive")
            ]
            wanted = ("conditioning", side) if both else ("conditioning", "positive", "negative")
            pending += [way for name, way in ways if name.startswith(wanted)]
            if node.kind not in ("ConditioningCombine", "ConditioningConcat", "FluxGuidance", "Reroute", "bypassed"):
                self._lose(node, f"the {side} conditioning passes through")

    def _text(self, node: ComfyNode, name: str) -> str | None:
        value = node.inputs.get(name)
        if isinstance(value, tuple):
            value = self._held(value)
        return value if isinstance(value, str) else None

    def _sampling(self, sampler: ComfyNode, skip: int | None) -> dict[str, Json]:
        guidance = next(
            (node for node in self._graph.values() if node.kind in ("FluxGuidance", "CLIPTextEncodeFlux")), None
        )
        cfg, distilled = number_of(self._value(sampler, "cfg")), None
        if guidance is not None:
            distilled = number_of(self._value(guidance, "guidance"))
            self._used.add(guidance.key)
        start, end = self._value(sampler, "start_at_step"), self._value(sampler, "end_at_step")
        steps = integer_of(self._value(sampler, "steps"))
        if (integer_of(start) or 0) > 0 or (steps is not None and (integer_of(end) or steps) < steps):
            self._lost.append(f"only the steps from {start} to {end} are taken")
        denoise = number_of(self._value(sampler, "denoise"))
        if denoise is not None and denoise != 1:
            self._lost.append(f"denoise {denoise}: not from pure noise")
        height, width, count = self._size(sampler)
        if count is not None and count > 1:
            self._lost.append(f"a batch of {count}: one seed is written")
        found = {
            "num_inference_steps": steps,
            "guidance_scale": float(distilled) if distilled is not None else None if cfg is None else float(cfg),
            "true_cfg_scale": float(cfg) if distilled is not None and cfg is not None and cfg > 1 else None,
            "height": height,
            "width": width,
            "clip_skip": skip,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _size(self, sampler: ComfyNode) -> tuple[int | None, int | None, int | None]:
        for node in self._upstream(sampler, _LATENTS):
            before = "empty_latent_" if "empty_latent_width" in node.inputs else ""
            sized = f"{before}width" in node.inputs and f"{before}height" in node.inputs
            if sized and not any(True for _ in _pixels(node)):
                self._used.add(node.key)
                names = (f"{before}height", f"{before}width", "batch_size")
                size = [integer_of(self._value(node, name)) for name in names]
                return size[0], size[1], size[2]
            if any(True for _ in _pixels(node)):
                self._lose(node, "the latents come from an image:")
        return None, None, None

    def _vae(self, sampler: ComfyNode) -> str | None:
        """The VAE file that decodes what the sampler made, where it is not the checkpoint's own."""
        decoders = [node for node in self._graph.values() if "vae" in node.inputs and "samples" in node.inputs]
        for node in decoders:
            behind = self._source(node.inputs["samples"])
            if behind is sampler or len(decoders) == 1:
                self._used.add(node.key)
                loader = self._source(node.inputs["vae"], "vae")
                name = None if loader is None else text_of(loader.inputs.get("vae_name"))
                if loader is not None and name is not None:
                    self._used.add(loader.key)
                return name
        return None

    def _upstream(self, node: ComfyNode, names: tuple[str, ...]) -> list[ComfyNode]:
        """The nodes above `node` along inputs of these names, nearest first."""
        found: dict[str, ComfyNode] = {}
        pending = deque(link for name, link in node.links() if name in names)
        while pending:
            source = self._source(pending.popleft())
            if source is not None and source.key not in found and source is not node:
                found[source.key] = source
                pending += [link for name, link in source.links() if name in names]
        return list(found.values())

    def _lose(self, node: ComfyNode, how: str) -> None:
        self._lost.append(f"{how} {_shown(node)}")

    def _name_the_rest(self) -> None:
        rest = [node for node in self._graph.values() if node.key not in self._used and node.kind not in _WORTH_NOTHING]
        # Loaders of text encoders belong to the base's own folder.
        rest = [node for node in rest if "CLIPLoader" not in node.kind]
        self._lost += [f"the node {_shown(node)}" for node in rest[:_MOST_SENTENCES]]
        if len(rest) > _MOST_SENTENCES:
            self._lost.append(f"{len(rest) - _MOST_SENTENCES} more nodes")


def _is_sampler(node: ComfyNode) -> bool:
    inputs = node.inputs
    return "latent_image" in inputs and ("positive" in inputs or "guider" in inputs or "sampler_name" in inputs)


def _pixels(node: ComfyNode) -> Iterator[str]:
    return (name for name, _ in node.links() if name in ("pixels", "image", "samples"))


def _loras(node: ComfyNode) -> list[ForeignAdapter]:
    """LoRAs that one node applies: LoraLoader, and stacks whose inputs are objects (`lora_1: {on, lora, strength}`)."""
    entries = [mapping(value) for value in node.inputs.values() if "lora" in mapping(value)]
    if "lora_name" in node.inputs:
        strengths = {"strength_model": node.inputs.get("lora_model_strength", 1)} if "ckpt_name" in node.inputs else {}
        entries = [{**strengths, **node.inputs, "lora": node.inputs["lora_name"]}]
    for number in range(1, _MOST_STACKED + 1):
        # Stacks with a name and a strength for each place.
        name = node.inputs.get(f"lora_name_{number}", node.inputs.get(f"lora_{number}_name"))
        if name is not None and node.inputs.get(f"switch_{number}", "On") not in ("Off", False):
            keys = (f"model_weight_{number}", f"model_str_{number}", f"lora_wt_{number}", f"lora_{number}_strength")
            entries.append(
                {"lora": name, "strength": next((node.inputs[key] for key in keys if key in node.inputs), 1)}
            )
    found = []
    for entry in entries:
        name, model = text_of(entry.get("lora")), number_of(entry.get("strength_model", entry.get("strength", 1)))
        text = number_of(entry.get("strength_clip", entry.get("strengthTwo")))
        if name is None or name == "None" or entry.get("on") is False:
            continue
        scale: Json = 1.0 if model is None else float(model)
        options: dict[str, str] = {}
        if node.kind == "LoraLoaderModelOnly":
            options["target"] = "unet"
        elif text is not None and text != model:
            scale = {"unet": scale, "text_encoder": float(text)}
        found.append(ForeignAdapter(kind="lora", model=ForeignModel(name=name, options=options), scale=scale))
    return found


def _shown(node: ComfyNode) -> str:
    values = ", ".join(
        f"{name}={value}"[:60] for name, value in node.inputs.items() if isinstance(value, (str, int, float))
    )
    return f"{node.kind[:60]}{f' ({values[:120]})' if values else ''}"
