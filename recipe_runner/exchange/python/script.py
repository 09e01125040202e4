"""A recipe as a plain diffusers script: the same pixels, and nothing of this package in it.

What varies between the variants of a matrix stands in a table; everything else stands once. Where diffusers would
make other pictures, a comment says so, and the exporter counts it as wrong.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.exchange.exporters.exported import Exported
from recipe_runner.exchange.python.base import BaseCode
from recipe_runner.exchange.python.code import Code, Pair, Place, as_tuple, laid_out, literal
from recipe_runner.exchange.python.embeds import FUNCTION, faces_function
from recipe_runner.exchange.python.images import (
    bundled_loras,
    calls_of,
    encoder_parts,
    image_adapters,
    images_of,
    left_out,
    load_lines,
    masks_of,
    scale_argument,
    shown_images,
    unchecked,
)
from recipe_runner.exchange.python.loop import Column, loop, saving
from recipe_runner.exchange.python.loras import differences, load_call
from recipe_runner.exchange.python.tokens import token_code, wrong_tokens
from recipe_runner.pipelines import table as diffusers_table
from recipe_runner.plan.compile import Plan
from recipe_runner.plan.resolved import ResolvedLora, ResolvedMerge
from recipe_runner.sources.face_models import NOTICE
from recipe_runner.sources.source import Source
from recipe_runner.weights.ip_adapter import is_off

if TYPE_CHECKING:
    from recipe_runner.plan.resolved import ResolvedBase
    from recipe_runner.plan.resolved_recipe import ResolvedVariant

_CLIP_SKIP = '''

def embed(pipeline, prompt, clip_skip):
    """The prompt's embedding without the encoder's last `clip_skip` layers; diffusers' own argument fails here."""
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    tokens = tokenizer(
        pipeline.maybe_convert_prompt(prompt, tokenizer), padding="max_length", truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        states = encoder(tokens.input_ids.to(encoder.device), output_hidden_states=True).hidden_states
        return getattr(encoder, "text_model", encoder).final_layer_norm(states[-(clip_skip + 1)])
'''
_MASKS = '''
def masks(paths, height, width):
    """Black and white pictures that limit where the images of an IP-Adapter act."""
    found = IPAdapterMaskProcessor().preprocess([load_image(str(path)) for path in paths], height=height, width=width)
    return found.reshape(1, found.shape[0], found.shape[2], found.shape[3])
'''
_STRICT = """\
# The same bits on the same hardware and versions: deterministic kernels, and no TF32.
torch.use_deterministic_algorithms(True)
torch.backends.cudnn.deterministic = True
torch.backends.cudnn.benchmark = False
torch.backends.cuda.matmul.fp32_precision = "ieee"
torch.backends.cudnn.conv.fp32_precision = "ieee"
torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
"""


def to_python(plan: Plan, folder: Path, *, beside_script: bool, description: str = "") -> Exported:
    """The script of a plan. Its paths are relative to `folder`: the script's own, or the working directory."""
    return _Script(plan, Place(folder), beside_script=beside_script, description=description).exported()


class _Script:
    def __init__(self, plan: Plan, place: Place, *, beside_script: bool, description: str) -> None:
        self._plan = plan
        self._recipe = plan.recipe
        self._place = place
        self._beside = beside_script
        self._description = description
        self._wrong: dict[str, None] = {}
        self._notes: dict[str, None] = {}
        self._imports: dict[str, dict[str, None]] = {
            library: {}
            for library in (
                "diffusers",
                "diffusers.image_processor",
                "diffusers.models.embeddings",
                "diffusers.utils",
                "huggingface_hub",
                "insightface.app",
                "insightface.utils",
                "onnxruntime",
                "safetensors.torch",
                "transformers",
            )
        }
        self._loaders: dict[str, str] = {}
        self._shown = shown_images(plan.recipe)
        self._numpy = False

    def exported(self) -> Exported:
        variants = self._recipe.variants
        loads = Column("load", [Code(self._loader(variant)) for variant in variants])
        schedulers = Column("scheduler", [self._scheduler(variant.base) for variant in variants])
        columns = {
            "prefix": Column("prefix", [self._prefix(variant.index) for variant in variants]),
            "load": loads,
            "scheduler": schedulers,
            "scales": Column("scales", [self._scales(variant) for variant in variants]),
            "looks": Column("looks", [self._looks(variant) for variant in variants]),
            "guided": Column("guided", [self._guided(variant) for variant in variants]),
            "prompts": Column("prompts", [self._prompts(variant) for variant in variants]),
            "seeds": Column("seeds", [list(variant.seeds) for variant in variants]),
            "arguments": Column("arguments", [self._arguments(variant) for variant in variants]),
            "save": Column("save", [saving(variant.output) for variant in variants]),
        }
        for role, source in self._plan.sources().items():
            if isinstance(source, Source) and "://" in source.address:
                self._notes[f"{role} was fetched from {source.address}; the script reads the copy on this machine"] = (
                    None
                )
        embeds = any(self._embeds(variant) for variant in variants)
        body = loop(columns, batch=self._batch, embeds=embeds)
        if self._together:
            self._wrong["level fast: a run encodes each prompt by itself, so the last bits of a batch differ"] = None
        text = "\n".join(
            [self._head(), self._settings(), *self._functions(), "", self._constants(columns), body.lstrip("\n")]
        )
        return Exported(texts={f"{self._recipe.name}.py": text}, wrong=tuple(self._wrong), notes=tuple(self._notes))

    def _head(self) -> str:
        said = " ".join(f"{self._recipe.name}: {self._description}".rstrip(": ").split()).replace("\\", "/")
        said = "".join(letter for letter in said.replace('"', "'") if letter.isprintable())
        version = diffusers_table.table()["diffusers"]
        finds = ", peft and insightface" if self._imports["insightface.app"] else " and peft"
        lines = [
            f'"""{said[:110]}',
            "",
            f"Written by recipe-runner for diffusers {version}; needs torch, transformers, accelerate{finds} too.",
            "On the same hardware and versions it makes the pixels of `recipe-runner run`.",
            '"""',
            "",
        ]
        for sentence in self._wrong:
            lines += textwrap.wrap(f"OTHER PICTURES: {sentence}", 105, initial_indent="# ", subsequent_indent="#   ")
        for sentence in self._notes:
            lines += textwrap.wrap(f"Note: {sentence}", 105, initial_indent="# ", subsequent_indent="#   ")
        lines += [""] if self._wrong or self._notes else []
        lines += ["import copy", *(["import os"] if self._strict else []), "from pathlib import Path", ""]
        if self._strict:
            lines += [
                "# cuBLAS reads this when CUDA starts.",
                'os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")',
                "",
            ]
        lines += ["import numpy as np"] if self._numpy else []
        lines.append("import torch")
        for library, names in self._imports.items():
            if names:
                lines.append(f"from {library} import {', '.join(sorted(names))}")
        return "\n".join(lines) + "\n"

    @property
    def _strict(self) -> bool:
        return self._recipe.reproducibility == "strict"

    @property
    def _together(self) -> bool:
        """Whether a run makes several pictures at once."""
        return self._recipe.reproducibility == "fast" and self._recipe.batch_size > 1

    @property
    def _batch(self) -> int:
        """Pictures that the script makes at once; diffusers' call shows all of them the same images."""
        return self._recipe.batch_size if self._together and not self._shown else 1

    def _settings(self) -> str:
        folder = "Path(__file__).parent" if self._beside else "Path()"
        device = self._recipe.device
        chosen = '"cuda" if torch.cuda.is_available() else "cpu"' if device == "auto" else literal(device)
        lines = [f"FOLDER = {folder}", f"OUTPUT = Path({literal(self._recipe.name)})", f"DEVICE = {chosen}"]
        text = "\n".join(lines) + "\n"
        if self._strict:
            text += "\n" + _STRICT
        if self._recipe.threads is not None:
            text += f"torch.set_num_threads({self._recipe.threads})  # the number decides the last bits on a CPU\n"
        return text

    def _constants(self, columns: Mapping[str, Column]) -> str:
        lines = []
        for name in ("prompts", "seeds", "arguments"):
            column = columns[name]
            if not column.varies:
                lines.append(laid_out(name.upper(), column.values[0]))
        varying = [column for column in columns.values() if column.varies]
        count = len(self._recipe.variants)
        rows = [{column.name: column.values[number] for column in varying} for number in range(count)]
        lines.append(laid_out("VARIANTS", [Code("{}")] if not varying else rows) if varying else "")
        return "\n".join(line for line in lines if line) + "\n"

    def _functions(self) -> list[str]:
        functions = [
            f"\ndef {name}():\n    {body}\n    return pipeline\n".replace("\n\n    return", "\n    return")
            for body, name in self._loaders.items()
        ]
        if any(self._embeds(variant) for variant in self._recipe.variants):
            functions.insert(0, _CLIP_SKIP.lstrip("\n").join(["\n", ""]))
        if self._imports["diffusers.image_processor"]:
            functions.insert(0, _MASKS)
        if self._imports["diffusers.models.embeddings"]:
            functions.insert(0, FUNCTION)
        if self._imports["insightface.app"]:
            functions.insert(0, faces_function(self._place))
        return functions

    def _loader(self, variant: ResolvedVariant) -> str:
        """The name of the function that loads this variant's base and adapters."""
        base = BaseCode(variant.base, self._place, encoder_parts(variant, self._shown, self._place))
        lines = [base.load(), "pipeline.to(DEVICE)"]
        tokens = token_code(variant, self._place)
        # Image prompts first: loading one switches the LoRAs that are there off.
        lines += [*load_lines(variant, self._shown, self._place), *tokens.lines]
        self._notes.update(dict.fromkeys(tokens.notes))
        for function in tokens.functions:
            self._imports["safetensors.torch" if function == "load_file" else "huggingface_hub"][function] = None
        self._wrong.update(dict.fromkeys(left_out(variant, self._shown)))
        self._notes.update(dict.fromkeys(unchecked(variant, self._shown)))
        for library, names in base.names.items():
            self._imports[library].update(dict.fromkeys(names))
        self._wrong.update(dict.fromkeys(base.problems()))
        self._notes.update(dict.fromkeys(base.notes()))
        for adapter in variant.adapters:
            if isinstance(adapter, ResolvedMerge):
                told = "diffusers merges no adapters, so it is left out; `export-adapter` writes it as one LoRA"
                self._wrong[f"adapter {adapter.name}: {told}"] = None
            if not isinstance(adapter, ResolvedLora):
                continue
            if adapter.tensors is None:
                self._notes[
                    f"adapter {adapter.name}: not on this machine, so what diffusers does with it is not checked"
                ] = None
            for sentence in (*differences(adapter, variant.base), *wrong_tokens(adapter)):
                self._wrong[f"adapter {adapter.name}: {sentence}"] = None
            lines.append(load_call(adapter, self._place))
        body = "\n    ".join(lines)
        if body not in self._loaders:
            self._loaders[body] = "load" if not self._loaders else f"load_{len(self._loaders) + 1}"
        return self._loaders[body]

    def _scheduler(self, base: ResolvedBase) -> object:
        if base.scheduler_class is None and not base.scheduler_config:
            return None
        if base.scheduler_class is not None:
            self._imports["diffusers"][base.scheduler_class] = None
        return Pair(Code(base.scheduler_class or "None"), dict(base.scheduler_config))

    def _scales(self, variant: ResolvedVariant) -> object:
        bundled = bundled_loras(variant, self._shown)
        found: dict[str, object] = {}
        for adapter in variant.adapters:
            if adapter.kind == "lora":
                found[adapter.name] = adapter.scale
            elif adapter.name in bundled:
                found[bundled[adapter.name]] = 0.0 if is_off(adapter.scale) else 1.0
        return found

    def _looks(self, variant: ResolvedVariant) -> object:
        return scale_argument(variant, self._shown)

    def _prompts(self, variant: ResolvedVariant) -> dict[str, dict[str, object]]:
        tokens = token_code(variant, self._place)
        found: dict[str, dict[str, object]] = {}
        for prompt in variant.prompts:
            found[prompt.id] = {name: tokens.said(text) for name, text in prompt.texts.items()}
            images = images_of(variant, prompt.id, self._shown, self._place)
            found[prompt.id] |= images
            self._import_readers(literal(images))
            masks = masks_of(variant, self._shown, self._place)
            if masks:
                self._imports["diffusers.image_processor"]["IPAdapterMaskProcessor"] = None
                self._imports["diffusers.utils"]["load_image"] = None
                found[prompt.id]["cross_attention_kwargs"] = {"ip_adapter_masks": masks}
        return found

    def _import_readers(self, images: str) -> None:
        """Import what reads `images`, the source of a prompt's."""
        if "load_image(" in images:
            self._imports["diffusers.utils"]["load_image"] = None
        if "load_file(" in images:
            self._imports["safetensors.torch"]["load_file"] = None
        if "faces(" in images:
            self._imports["insightface.app"]["FaceAnalysis"] = None
            self._imports["insightface.utils"]["face_align"] = None
            self._imports["onnxruntime"]["SessionOptions"] = None
            self._notes[NOTICE] = None
        self._numpy |= "np.load(" in images or "faces(" in images

    def _guided(self, variant: ResolvedVariant) -> bool | None:
        """Whether the script encodes images with what guidance steers away from; None where the call does it."""
        family, _ = calls_of(variant)
        if family is not None and family.name != "unet":
            return None
        shown = [
            self._shown.get((adapter.name, prompt.id))
            for adapter in image_adapters(variant, self._shown)
            for prompt in variant.prompts
        ]
        if not any(each.faces is not None or each.embeds for each in shown if each is not None):
            return None
        self._imports["diffusers.models.embeddings"]["ImageProjection"] = None
        return variant.guides_any

    def _arguments(self, variant: ResolvedVariant) -> dict[str, object]:
        defaults = diffusers_table.call_defaults(variant.base.pipeline)
        given = {name: value for name, value in variant.sampling.items() if defaults.get(name, ...) != value}
        return {name: as_tuple(diffusers_table.call_value(name, value)) for name, value in given.items()}

    def _embeds(self, variant: ResolvedVariant) -> bool:
        return "clip_skip" in variant.sampling and variant.base.pipeline == "StableDiffusionPipeline"

    def _prefix(self, index: int) -> str:
        count = len(self._recipe.variants)
        return f"{index + 1:0{max(3, len(str(count)))}d}-" if count > 1 else ""
