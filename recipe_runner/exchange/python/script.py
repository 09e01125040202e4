"""Write a recipe as a plain diffusers script that makes the same pixels without this package.

A table has the values that differ between the variants of a matrix; all other values are written once. When diffusers
makes other images, a comment says so, and the exporter reports it as wrong.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recipe_runner.exchange.exporters.exported import Exported
from recipe_runner.exchange.python.base import BaseCode
from recipe_runner.exchange.python.code import Code, Pair, ScriptPlace, as_tuple, laid_out, literal
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
    from recipe_runner.plan.resolved_base import ResolvedBase
    from recipe_runner.plan.resolved_recipe import ResolvedVariant

_TITLE, _COMMENT = 110, 105
"""Characters of the script's title, and of a line of a comment."""
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
    """Black and white images that limit where the images of an IP-Adapter act."""
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
    """The script of a plan. Its paths are relative to `folder`: the script's folder, or the working directory."""
    return _Script(plan, ScriptPlace(folder), beside_script=beside_script, description=description).exported()


class _Script:
    def __init__(self, plan: Plan, place: ScriptPlace, *, beside_script: bool, description: str) -> None:
        self._plan = plan
        self._recipe = plan.recipe
        self._place = place
        self._beside = beside_script
        self._description = description
        self._wrong: dict[str, None] = {}
        self._notes: dict[str, None] = {}
        self._imports: defaultdict[str, set[str]] = defaultdict(set)
        self._loaders: dict[str, str] = {}
        self._shown = shown_images(plan.recipe)
        self._numpy = False

    def exported(self) -> Exported:
        values: dict[str, Callable[[ResolvedVariant], object]] = {
            "prefix": self._prefix,
            "load": self._loader,
            "scheduler": self._scheduler,
            "scales": self._scales,
            "looks": self._looks,
            "guided": self._guided,
            "prompts": self._prompts,
            "seeds": lambda variant: list(variant.seeds),
            "arguments": self._arguments,
            "save": lambda variant: saving(variant.output),
        }
        columns: dict[str, Column] = {}
        for name, value in values.items():
            columns[name] = Column(name, list(map(value, self._recipe.variants)))
        self._note_downloads()
        if self._together:
            self._wrong["level fast: a run encodes each prompt by itself, so the last bits of a batch differ"] = None
        body = loop(columns, batch=self._batch, embeds=self._embeds).lstrip("\n")
        text = "\n".join([self._head(), self._settings(), *self._functions(), "", self._constants(columns), body])
        return Exported(texts={f"{self._recipe.name}.py": text}, wrong=tuple(self._wrong), notes=tuple(self._notes))

    def _note_downloads(self) -> None:
        for role, source in self._plan.sources().items():
            if isinstance(source, Source) and "://" in source.address:
                note = f"{role} was fetched from {source.address}; the script reads the copy on this machine"
                self._notes[note] = None

    def _head(self) -> str:
        """The docstring, the comments and the imports."""
        lines = self._docstring()
        for sentence in self._wrong:
            lines += _comment(f"OTHER IMAGES: {sentence}")
        for sentence in self._notes:
            lines += _comment(f"Note: {sentence}")
        if self._wrong or self._notes:
            lines.append("")
        lines += self._import_lines()
        return "\n".join(lines) + "\n"

    def _docstring(self) -> list[str]:
        title = " ".join(f"{self._recipe.name}: {self._description}".rstrip(": ").split())
        title = title.replace("\\", "/").replace('"', "'")
        title = "".join(filter(str.isprintable, title))
        version = diffusers_table.table()["diffusers"]
        needs = "torch, transformers, accelerate and peft"
        if self._imports["insightface.app"]:
            needs = "torch, transformers, accelerate, peft and insightface"
        return [
            f'"""{title[:_TITLE]}',
            "",
            f"Written by recipe-runner for diffusers {version}; also needs {needs}.",
            "On the same hardware and with the same versions, it makes the pixels of `recipe-runner run`.",
            '"""',
            "",
        ]

    def _import_lines(self) -> list[str]:
        lines = ["import copy", "from pathlib import Path", ""]
        if self._strict:
            lines.insert(1, "import os")
            lines += [
                "# cuBLAS reads this when CUDA starts.",
                'os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")',
                "",
            ]
        if self._numpy:
            lines.append("import numpy as np")
        lines.append("import torch")
        for library, names in sorted(self._imports.items()):
            if names:
                lines.append(f"from {library} import {', '.join(sorted(names))}")
        return lines

    @property
    def _strict(self) -> bool:
        return self._recipe.reproducibility == "strict"

    @property
    def _together(self) -> bool:
        """Whether a run makes several images at once."""
        return self._recipe.reproducibility == "fast" and self._recipe.batch_size > 1

    @property
    def _batch(self) -> int:
        """How many images the script makes at once; a call of diffusers uses the same image prompts for all of them."""
        if self._together and not self._shown:
            return self._recipe.batch_size
        return 1

    @property
    def _embeds(self) -> bool:
        """Whether the script encodes prompts with skipped layers."""
        return any(_skips_layers(variant) for variant in self._recipe.variants)

    def _settings(self) -> str:
        folder = "Path(__file__).parent" if self._beside else "Path()"
        device = literal(self._recipe.device)
        if self._recipe.device == "auto":
            device = '"cuda" if torch.cuda.is_available() else "cpu"'
        lines = [f"FOLDER = {folder}", f"OUTPUT = Path({literal(self._recipe.name)})", f"DEVICE = {device}"]
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
        if varying:
            names = [column.name for column in varying]
            rows = zip(*[column.values for column in varying], strict=True)
            lines.append(laid_out("VARIANTS", [dict(zip(names, row, strict=True)) for row in rows]))
        return "\n".join(filter(None, lines)) + "\n"

    def _functions(self) -> list[str]:
        functions = []
        if self._imports["insightface.app"]:
            functions.append(faces_function(self._place))
        if self._imports["diffusers.models.embeddings"]:
            functions.append(FUNCTION)
        if self._imports["diffusers.image_processor"]:
            functions.append(_MASKS)
        if self._embeds:
            functions.append(_CLIP_SKIP)
        for body, name in self._loaders.items():
            function = f"\ndef {name}():\n    {body}\n    return pipeline\n"
            functions.append(function.replace("\n\n    return", "\n    return"))
        return functions

    def _loader(self, variant: ResolvedVariant) -> Code:
        """The name of the function that loads this variant's base and adapters."""
        base = BaseCode(variant.base, self._place, encoder_parts(variant, self._shown, self._place))
        lines = [base.load(), "pipeline.to(DEVICE)"]
        tokens = token_code(variant, self._place)
        # Image prompts first: loading them switches off the LoRAs that are already loaded.
        lines += [*load_lines(variant, self._shown, self._place), *tokens.lines]
        self._notes.update(dict.fromkeys(tokens.notes))
        for function in tokens.functions:
            library = "safetensors.torch" if function == "load_file" else "huggingface_hub"
            self._imports[library].add(function)
        self._wrong.update(dict.fromkeys(left_out(variant, self._shown)))
        self._notes.update(dict.fromkeys(unchecked(variant, self._shown)))
        for library, names in base.names.items():
            self._imports[library].update(names)
        self._wrong.update(dict.fromkeys(base.problems()))
        self._notes.update(dict.fromkeys(base.notes()))
        for adapter in variant.adapters:
            if isinstance(adapter, ResolvedMerge):
                reason = "diffusers cannot merge adapters, so it is left out; `export-adapter` writes it as one LoRA"
                self._wrong[f"adapter {adapter.name}: {reason}"] = None
            elif isinstance(adapter, ResolvedLora):
                self._check_lora(adapter, variant.base)
                lines.append(load_call(adapter, self._place))
        body = "\n    ".join(lines)
        if body not in self._loaders:
            self._loaders[body] = f"load_{len(self._loaders) + 1}" if self._loaders else "load"
        return Code(self._loaders[body])

    def _check_lora(self, adapter: ResolvedLora, base: ResolvedBase) -> None:
        if adapter.tensors is None:
            note = f"adapter {adapter.name}: not on this machine, so what diffusers does with it is not checked"
            self._notes[note] = None
        for sentence in (*differences(adapter, base), *wrong_tokens(adapter)):
            self._wrong[f"adapter {adapter.name}: {sentence}"] = None

    def _scheduler(self, variant: ResolvedVariant) -> object:
        base = variant.base
        if base.scheduler_class is None and not base.scheduler_config:
            return None
        if base.scheduler_class is not None:
            self._imports["diffusers"].add(base.scheduler_class)
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
            arguments: dict[str, object] = {name: tokens.translated(text) for name, text in prompt.texts.items()}
            images = images_of(variant, prompt.id, self._shown, self._place)
            arguments |= images
            self._import_readers(literal(images))
            masks = masks_of(variant, self._shown, self._place)
            if masks:
                self._imports["diffusers.image_processor"].add("IPAdapterMaskProcessor")
                self._imports["diffusers.utils"].add("load_image")
                arguments["cross_attention_kwargs"] = {"ip_adapter_masks": masks}
            found[prompt.id] = arguments
        return found

    def _import_readers(self, images: str) -> None:
        """Import the functions that `images`, the code of a prompt's images, calls."""
        if "load_image(" in images:
            self._imports["diffusers.utils"].add("load_image")
        if "load_file(" in images:
            self._imports["safetensors.torch"].add("load_file")
        if "faces(" in images:
            self._imports["insightface.app"].add("FaceAnalysis")
            self._imports["insightface.utils"].add("face_align")
            self._imports["onnxruntime"].add("SessionOptions")
            self._notes[NOTICE] = None
        self._numpy |= "np.load(" in images or "faces(" in images

    def _guided(self, variant: ResolvedVariant) -> bool | None:
        """Whether the script encodes images together with their negatives; None when the call encodes them."""
        family, _ = calls_of(variant)
        if family is not None and family.name != "unet":
            return None
        if not self._encodes_images(variant):
            return None
        self._imports["diffusers.models.embeddings"].add("ImageProjection")
        return variant.guides_any

    def _encodes_images(self, variant: ResolvedVariant) -> bool:
        for adapter in image_adapters(variant, self._shown):
            for prompt in variant.prompts:
                shown = self._shown.get((adapter.name, prompt.id))
                if shown is not None and (shown.faces is not None or shown.embeds):
                    return True
        return False

    def _arguments(self, variant: ResolvedVariant) -> dict[str, object]:
        defaults = diffusers_table.call_defaults(variant.base.pipeline)
        arguments: dict[str, object] = {}
        for name, value in variant.sampling.items():
            if defaults.get(name, ...) != value:
                arguments[name] = as_tuple(diffusers_table.call_value(name, value))
        return arguments

    def _prefix(self, variant: ResolvedVariant) -> str:
        count = len(self._recipe.variants)
        if count == 1:
            return ""
        digits = max(3, len(str(count)))
        return f"{variant.index + 1:0{digits}d}-"


def _skips_layers(variant: ResolvedVariant) -> bool:
    return "clip_skip" in variant.sampling and variant.base.pipeline == "StableDiffusionPipeline"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _COMMENT, initial_indent="# ", subsequent_indent="#   ")
