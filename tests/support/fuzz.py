"""Documents of every kind that this package reads, changed under a seed, each given to a command that reads it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from support.cases import INVALID, VALID
from support.command import ROOT
from support.containers import gguf_bytes, torch_pickle, torch_zip
from support.file_guard import Guard
from support.foreign import png, text_chunk, with_comment
from support.mutations import (
    Mutation,
    changed_bytes,
    changed_json,
    changed_lines,
    changed_png,
    changed_safetensors,
    changed_yaml,
    changed_zip,
)
from support.records import stored_image
from support.runs import write_run
from support.safetensors_bytes import whole

from recipe_runner.api import compile_recipe
from recipe_runner.cli.main import main
from recipe_runner.problems.codes import CODES
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.record.store import Store

DEMO = ROOT / "recipes" / "demo"
SECONDS = 30
"""A watchdog, not a measure: the slowest case takes a few tenths of a second."""
_PARAMETERS = "a bear\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
_BASE = "recipe: 1\nname: r\nbase: {model: model}\nprompts: [{prompt: a bear}]\n"
_LOOK = "adapters:\n  a:\n    kind: ip_adapter\n    model: ip/ip-adapter"


@dataclass(frozen=True)
class Kind:
    """A kind of document: where it stands, what it is made from, how it is changed, and what reads it.

    `reads` is false where the document may name any file of its author's, as a recipe may.
    """

    name: str
    file: str
    seeds: tuple[bytes, ...]
    change: Mutation
    commands: tuple[tuple[str, ...], ...]
    weight: int
    reads: bool = True


@dataclass(frozen=True)
class Finding:
    """A document that brought something down, or had a file touched outside."""

    kind: str
    number: int
    document: bytes
    command: tuple[str, ...]
    reason: str


class Hang(BaseException):
    """A command took too long; nothing of the package catches it."""


class Fuzz:
    """A folder with everything in it that a document may be part of, and a guard around it."""

    def __init__(self, folder: Path) -> None:
        """Lay out the folder, which is then the working directory."""
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        (folder / "outside").mkdir()
        (folder / "outside" / "secret.json").write_text("{}")
        os.chdir(self.work)
        self.kinds = _laid_out(self.work)
        self.outcomes: dict[str, Counter[str]] = {kind.name: Counter() for kind in self.kinds}
        self._guard = Guard([self.work, *(Path(os.environ[name]) for name in ("RECIPE_RUNNER_CACHE", "HF_HOME"))])

    def run(self, count: int, seed: int, *, only: str = "") -> Iterator[Finding]:
        """Try `count` documents, and give each that something is wrong with."""
        source = random.Random(seed)
        kinds = [kind for kind in self.kinds if only in kind.name]
        weights = [kind.weight for kind in kinds]
        for number in range(count):
            kind = source.choices(kinds, weights)[0]
            original = source.choice(kind.seeds)
            document = kind.change(original, source)
            command = source.choice(kind.commands)
            if reason := self.reason(kind, document, command):
                yield Finding(kind.name, number, document, command, reason)

    def reason(self, kind: Kind, document: bytes, command: tuple[str, ...]) -> str:
        """What is wrong with the answer to a document; empty where nothing is."""
        place = self.work / kind.file
        before = place.read_bytes() if place.exists() else None
        place.write_bytes(document)
        try:
            with self._guard.watching(reads=kind.reads) as touched:
                outcome, reason = _answer(command)
        finally:
            if before is None:
                place.unlink()
            else:
                place.write_bytes(before)
        self.outcomes[kind.name][outcome] += 1
        return reason or ("touched " + "; ".join(touched) if touched else "")


def _answer(command: tuple[str, ...]) -> tuple[str, str]:
    """Whether a command accepts or refuses its document, and why its answer is not one; empty where it is."""
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    before = signal.signal(signal.SIGALRM, _bark)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            # With --debug an unexpected error comes through, and leaves no log.
            status = main(["--debug", *command])
    except RecipeRunnerError as error:
        unknown = [problem.code for problem in error.problems if problem.code not in CODES or not problem.message]
        return "refused", f"problems without a message or code: {unknown}" if unknown else ""
    except SystemExit as error:
        status = error.code
    except Hang:
        return "failed", f"it hangs: {command}"
    except BaseException:  # noqa: BLE001 - whatever it is, this is the document
        return "failed", traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if status == 0:
        return "accepted", ""
    return "refused", "" if status in (1, 2, 3) else f"status {status}"


def _bark(*_: object) -> None:
    raise Hang


def _laid_out(work: Path) -> tuple[Kind, ...]:
    shutil.copytree(DEMO / "model", work / "model")
    shutil.copytree(DEMO / "ip_adapter", work / "ip")
    (work / "r.yaml").write_text(_BASE)
    (work / "l.yaml").write_text(_BASE + "adapters: {a: {kind: lora, model: lora.safetensors}}\n")
    (work / "p.yaml").write_text(_BASE + "adapters: {a: {kind: lora, model: peft/adapter_model.safetensors}}\n")
    (work / "t.yaml").write_text(_BASE + "adapters: {a: {kind: textual_inversion, model: t.safetensors, token: <t>}}\n")
    (work / "e.yaml").write_text(f"{_BASE}{_LOOK}-faceid_shapes.safetensors\n    image_embeds: e.npy\n")
    (work / "i.yaml").write_text(f"{_BASE}{_LOOK}_shapes.safetensors\n    image: i.png\n    mask: i.png\n")
    (work / "s.yaml").write_text(_BASE.replace("model: model", "model: sharded"))
    (work / "u.yaml").write_text(
        _BASE.replace("model: model", "model: model, components: {unet: {model: u.safetensors}}")
    )
    for name, origin in (
        ("lora.safetensors", "lora/gradient.safetensors"),
        ("t.safetensors", "embeddings/teal.safetensors"),
        ("e.npy", "inputs/star.npy"),
        ("i.png", "inputs/red-heart.png"),
        ("u.safetensors", "model/unet/diffusion_pytorch_model.safetensors"),
    ):
        shutil.copy(DEMO / origin, work / name)
    _peft(work / "peft")
    _sharded(work)
    return (*_recipes(work), *_records(work), *_models(work), *_weights(work), *_pictures())


def _peft(folder: Path) -> None:
    folder.mkdir()
    module = "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    shapes = {f"{module}.lora_A.weight": (4, 64), f"{module}.lora_B.weight": (64, 4)}
    (folder / "adapter_model.safetensors").write_bytes(whole(shapes))
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["to_q"], "rank_pattern": {}}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "alpha_pattern": {module: 2}}))


def _sharded(work: Path) -> None:
    """The demo model with its VAE in a shard of its own."""
    shutil.copytree(work / "model", work / "sharded")
    vae = work / "sharded" / "vae"
    shard = "diffusion_pytorch_model-00001-of-00001.safetensors"
    (vae / "diffusion_pytorch_model.safetensors").rename(vae / shard)
    length = int.from_bytes((vae / shard).read_bytes()[:8], "little")
    names = [name for name in json.loads((vae / shard).read_bytes()[8 : 8 + length]) if name != "__metadata__"]
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names[:20], shard)}
    (vae / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def _asked(*recipes: str) -> tuple[tuple[str, ...], ...]:
    return tuple(words for recipe in recipes for words in (("validate", "--weights", recipe), ("plan", recipe)))


def _recipes(work: Path) -> tuple[Kind, ...]:
    seeds = tuple(path.read_bytes() for path in VALID) + tuple(
        (work / f"{name}.yaml").read_bytes() for name in "rlpteis"
    )
    commands: list[tuple[str, ...]] = [("validate", "x.yaml")] * 12
    commands += [("validate", "--weights", "x.yaml"), ("plan", "x.yaml"), ("diff", "x.yaml", "r.yaml")]
    commands += [("export", "x.yaml", "--to", form) for form in ("python", "comfyui", "a1111")]
    commands += [("validate", "--format", "github", "x.yaml"), ("validate", "--format", "json", "x.yaml")]
    _quiet("lock", "r.yaml", "l.yaml", "--offline")
    lock = (work / "l.lock.yaml").read_bytes()
    reads = (*_asked("l.yaml"), ("lock", "--check", "l.yaml"), ("diff", "l.lock.yaml", "r.lock.yaml"))
    return (
        Kind("recipe", "x.yaml", seeds, changed_yaml, tuple(commands), 30, reads=False),
        # Some of these are bombs already: their bytes are changed and never what they stand for.
        Kind("recipe text", "x.yaml", _of(*VALID, *INVALID), changed_bytes, (("validate", "x.yaml"),), 50, reads=False),
        Kind("lock", "l.lock.yaml", (lock,), changed_yaml, reads, 10),
    )


def _quiet(*words: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(words)


def _records(work: Path) -> tuple[Kind, ...]:
    run, other = work / "runs" / "a" / "one", work / "runs" / "a" / "two"
    for folder in (run, other):
        write_run(folder)
        recipe = (folder / "resolved.yaml").read_text().replace(str(DEMO), str(work))
        for name in ("resolved.yaml", "recipe.yaml"):
            (folder / name).write_text(recipe)
    image = compile_recipe(work / "r.yaml").images[0]
    data = (DEMO / "inputs" / "red-heart.png").read_bytes()
    store = Store(work / "runs" / "store")
    stored = stored_image("x", data)
    store.put(type(stored)(**{**_fields(stored), "node_key": image.key}), data)
    record = store.path(image.key, "json")
    entry = {**_fields(stored), "path": "images/a.png"}
    journal = [{key: entry[key] for key in _JOURNAL} for _ in range(3)]
    (run / "journal.jsonl").write_text("".join(json.dumps(each) + "\n" for each in journal))
    shown = (("runs", "list"), ("runs", "show", "runs/a/one"), ("diff", "runs/a/one", "runs/a/two"))
    looked = (*shown * 5, *(("verify", "runs/a/one"),) * 4, ("report", "runs/a/one", "--output", "o"))
    manifest = (*shown, ("manifest", "runs/a/one"), *looked, ("gc", "--runs", "runs"))
    forms = (("manifest", "runs/a/one", "--format", form) for form in ("in-toto", "ro-crate"))
    picture = min((run / "images").iterdir())
    pictures = (*_of(picture), *(with_comment(form, b"") for form in ("JPEG", "WEBP", "AVIF")))
    pictured = (
        ("diff", "runs/a/one", "runs/a/two"),
        ("verify", "runs/a/one"),
        ("report", "runs/a/one", "--output", "o"),
    )
    telemetry, resolved = run / "telemetry.json", run / "resolved.yaml"
    return (
        Kind("manifest", _name(run / "manifest.json", work), _of(run / "manifest.json"), changed_json,
             (*manifest, *forms), 10),
        Kind("picture of a run", _name(picture, work), pictures, _changed_picture, pictured, 3),
        Kind("journal", _name(run / "journal.jsonl", work), _of(run / "journal.jsonl"), changed_lines, looked, 5),
        Kind("telemetry", _name(telemetry, work), _of(telemetry), changed_json, looked, 2),
        Kind("resolved", _name(resolved, work), _of(resolved), changed_yaml, looked, 2, reads=False),
        Kind("record", _name(record, work), _of(record), changed_json,
             (("plan", "r.yaml"), ("gc", "--runs", "runs")), 6),
    )  # fmt: skip


_JOURNAL = ("path", "node_key", "file_sha256", "pixel_sha256", "size", "width", "height", "environment")


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def _of(*paths: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in paths)


def _name(path: Path, work: Path) -> str:
    return path.relative_to(work).as_posix()


def _models(work: Path) -> tuple[Kind, ...]:
    model, sharded = work / "model", work / "sharded"
    asked = _asked("r.yaml")[:1]
    index = sharded / "vae" / "diffusion_pytorch_model.safetensors.index.json"
    encoder = work / "ip" / "image_encoder" / "config.json"
    peft = work / "peft" / "adapter_config.json"
    configurations = [
        Kind(
            f"configuration {_name(path, work)}",
            _name(path, work),
            _of(path),
            changed_json,
            (*asked * 3, ("inspect", _name(path.parent, work))),
            3,
        )
        for path in sorted(model.rglob("*.json"))
        if path.name not in ("model_index.json", "tokenizer.json")
    ]
    return (
        Kind("index model_index", "model/model_index.json", _of(model / "model_index.json"), changed_json,
             (*_asked("r.yaml") * 2, ("inspect", "model")), 8),
        Kind("index shards", _name(index, work), _of(index), changed_json,
             (*_asked("s.yaml") * 2, ("inspect", "sharded"), *(("inspect", _name(index, work)),) * 3), 8),
        *configurations,
        Kind("configuration encoder", _name(encoder, work), _of(encoder), changed_json, _asked("i.yaml")[:1], 3),
        Kind("configuration peft", _name(peft, work), _of(peft), changed_json,
             (("inspect", "peft/adapter_model.safetensors"), *_asked("p.yaml")[:1]), 4),
    )  # fmt: skip


def _weights(work: Path) -> tuple[Kind, ...]:
    pickle = torch_pickle("a.lora_down.weight", 4, 8)
    zipped = torch_zip(work / "z.pt", pickle).read_bytes()
    gguf = gguf_bytes({"a.weight": (32, 256)}, {"general.architecture": "flux"})
    lora = work / "lora.safetensors"
    return (
        Kind("safetensors lora", "lora.safetensors", _of(lora), changed_safetensors,
             (("inspect", "lora.safetensors"), *_asked("l.yaml")[:1]), 6),
        Kind("safetensors embedding", "t.safetensors", _of(work / "t.safetensors"), changed_safetensors,
             (("inspect", "t.safetensors"), *_asked("t.yaml")[:1]), 4),
        Kind("safetensors part", "small.safetensors", (whole({"a": (2, 3)}, metadata={"b": "c"}),),
             changed_safetensors, (("inspect", "small.safetensors"),), 3),
        Kind("torch zip", "z.pt", (zipped,), changed_zip, (("inspect", "z.pt"),), 6),
        Kind("pickle", "z.bin", (pickle,), changed_bytes, (("inspect", "z.bin"),), 4),
        Kind("gguf", "z.gguf", (gguf,), changed_bytes, (("inspect", "z.gguf"),), 4),
        Kind("numpy", "e.npy", _of(work / "e.npy"), changed_bytes, _asked("e.yaml")[:1], 4),
    )  # fmt: skip


def _pictures() -> tuple[Kind, ...]:
    text = json.dumps({"1": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20, "model": ["2", 0]}}})
    pngs = (
        png(text_chunk("parameters", _PARAMETERS)),
        png(text_chunk("prompt", text)),
        *_of(DEMO / "inputs" / "left.png"),
    )
    comment = b"UNICODE\0" + _PARAMETERS.encode("utf-16-be")
    used = (*_asked("i.yaml")[:1],)
    others = [
        Kind(f"picture {form}", f"x.{form.lower()}", (with_comment(form, comment),), changed_bytes,
             (("import", f"x.{form.lower()}"),), 4)
        for form in ("JPEG", "WEBP", "AVIF")
    ]  # fmt: skip
    gif = io.BytesIO()
    Image.new("P", (16, 16)).save(gif, "GIF", comment=_PARAMETERS.encode())
    own = tuple(with_comment(form, comment) for form in ("JPEG", "WEBP", "AVIF"))
    texts = (_PARAMETERS.encode(), text.encode(), json.dumps({"prompt": "a", "seed": 1, "steps": 2}).encode())
    return (
        Kind("picture PNG", "x.png", pngs, changed_png, (("import", "x.png"),), 6),
        *others,
        Kind("picture GIF", "x.gif", (gif.getvalue(),), changed_bytes, (("import", "x.gif"),), 2),
        Kind("picture as input", "i.png", (*pngs, *own, gif.getvalue()), changed_bytes, used, 4),
        Kind("text", "x.txt", texts, _changed_text, (("import", "x.txt"),), 6),
    )  # fmt: skip


def _changed_picture(data: bytes, source: random.Random) -> bytes:
    return changed_png(data, source) if data.startswith(b"\x89PNG") else changed_bytes(data, source)


def _changed_text(data: bytes, source: random.Random) -> bytes:
    return changed_json(data, source) if data.startswith(b"{") else changed_bytes(data, source)


def told(findings: Sequence[Finding]) -> str:
    """Findings for a person, each with its document."""
    return "\n\n".join(
        f"{finding.kind}, number {finding.number}, {' '.join(finding.command)}\n{finding.document[:4_000]!r}\n"
        f"{finding.reason[-4_000:]}"
        for finding in findings
    )
