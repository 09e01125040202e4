"""Every kind of file, damaged in every way: an error of its own and status 3, from every command, and nothing runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from support.command import call
from support.foreign import with_comment
from support.safetensors_bytes import header_bytes, whole

PICKLES = ("bin", "pt", "ckpt", "pth")
KINDS = {
    "lora": "base: {model: demo/model}\nadapters: {a: {kind: lora, model: FILE}}\n",
    "embedding": "base: {model: demo/model}\nadapters: {a: {kind: textual_inversion, model: FILE, token: <a>}}\n",
    "ip adapter": (
        "base: {model: demo/model}\nadapters: {a: {kind: ip_adapter, model: FILE, image: demo/inputs/red-heart.png}}\n"
    ),
    "base": "base: {model: FILE, config: demo/model, pipeline: StableDiffusionPipeline}\n",
    "component": "base: {model: demo/model, components: {vae: {model: FILE}}}\n",
}
_LOOK = "base: {model: demo/model}\nadapters:\n  a:\n    kind: ip_adapter\n    model: demo/ip_adapter/"
INPUTS = {
    "embeds.npy": f"{_LOOK}ip-adapter-faceid_shapes.safetensors\n    image_embeds: FILE\n",
    "embeds.safetensors": f"{_LOOK}ip-adapter-faceid_shapes.safetensors\n    image_embeds: FILE\n",
    "picture.png": f"{_LOOK}ip-adapter_shapes.safetensors\n    image: FILE\n",
    "mask.png": f"{_LOOK}ip-adapter_shapes.safetensors\n    image: demo/inputs/red-heart.png\n    mask: FILE\n",
}
GOOD = whole({"a.lora_down.weight": (4, 8)})
DAMAGED = {
    "empty": b"",
    "a stub": GOOD[:4],
    "cut short": GOOD[:-1],
    "cut in its header": GOOD[:40],
    "with something after it": GOOD + b"12345678",
    "without a tensor": header_bytes({}),
    "a header of an exabyte": header_bytes({}, length=2**60),
    "no JSON": header_bytes(b'{"a": [1, 2, 3  '),
    "a tensor of an exabyte": header_bytes({"a": {"dtype": "F32", "shape": [10**9] * 2, "data_offsets": [0, 16]}}),
    "zeros": bytes(200),
    "a web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n",
}


class Harm:
    """What a malicious file would have run."""

    def __reduce__(self) -> tuple[object, ...]:  # noqa: D105
        return os.mkdir, ("harm",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model and its adapters, beside which the damaged file lies."""
    made = tmp_path_factory.mktemp("damaged")
    (made / "demo").symlink_to(Path(__file__).parents[1] / "recipes" / "demo")
    return made


def statuses(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, recipe: str, *, allowed: bool = True
) -> set[tuple[int, bool]]:
    """What the commands that read weights answer: the status, and whether a problem with a code was told."""
    path = folder / "recipe.yaml"
    head = f"recipe: 1\nname: a\nprompts: [{{prompt: a bear}}]\nruntime: {{device: cpu, allow_pickle: {allowed}}}\n"
    path.write_text(head.lower() + recipe.replace("FILE", name))
    found = set()
    for words in (["validate", "--weights", str(path)], ["run", str(path)]):
        answer = call(capsys, *words)
        said = answer.out + answer.err
        found.add((answer.status, "error[E" in said and name in said and "Traceback" not in said))
    return found


@pytest.mark.parametrize("suffix", ["safetensors", *PICKLES])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_weights_file(kind: str, suffix: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for how, content in DAMAGED.items():
        (folder / f"it.{suffix}").write_bytes(content)
        assert statuses(folder, capsys, f"it.{suffix}", KINDS[kind]) == {(3, True)}, how


@pytest.mark.parametrize("name", INPUTS)
def test_a_damaged_input(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for how, content in DAMAGED.items():
        (folder / name).write_bytes(content)
        assert statuses(folder, capsys, name, INPUTS[name]) == {(3, True)}, how


@pytest.mark.parametrize("kind", KINDS)
def test_a_malicious_pickle_runs_nothing_allowed_or_not(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for suffix in ("safetensors", *PICKLES):
        for allowed in (True, False):
            for protocol in (0, 2, 4):
                (folder / f"it.{suffix}").write_bytes(pickle.dumps({"a.weight": Harm()}, protocol))
                told = statuses(folder, capsys, f"it.{suffix}", KINDS[kind], allowed=allowed)
                # Where pickles are not allowed, the name alone makes the recipe invalid (E330).
                assert told == {(3, True)} or (not allowed and told <= {(1, True), (3, True)}), suffix
            call(capsys, "inspect", str(folder / f"it.{suffix}"))
    assert not (folder / "harm").exists()
    # The file does what it says where somebody unpickles it.
    pickle.loads(pickle.dumps(Harm()))  # noqa: S301
    assert (folder / "harm").is_dir()
    (folder / "harm").rmdir()


@pytest.mark.parametrize("length", [300, 1_900, 5_000])
def test_a_name_longer_than_a_files_is_refused_wherever_it_stands(
    folder: Path, length: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    name = "x" * length
    (folder / "long").mkdir(exist_ok=True)
    (folder / "long" / "model_index.json").write_text(
        f'{{"_class_name": "StableDiffusionPipeline", "{name}": ["diffusers", "AutoencoderKL"]}}'
    )
    part = "base: {model: demo/model, components: {vae: {model: demo/model"
    for text in (
        "base: {model: long}\n",
        f"{part}, subfolder: {name}}}}}}}\n",
        f"{part}, weight_name: {name}}}}}}}\n",
        f"{part}, weight_name: {'a/' * length}b}}}}}}\n",
        f"base: {{model: demo/{name}}}\n",
        f"base: {{model: demo/model}}\nadapters: {{a: {{kind: lora, model: {name}.safetensors}}}}\n",
        KINDS["ip adapter"].replace("demo/inputs/red-heart.png", f"{name}.png"),
    ):
        (folder / "long.yaml").write_text(f"recipe: 1\nname: r\n{text}prompts: [{{prompt: a}}]\n")
        answer = call(capsys, "plan", "long.yaml")
        assert answer.status in (0, 1, 3), (text[:80], answer)
    assert call(capsys, "inspect", "long").status in (1, 3)


NUMPY_HEADERS = [
    # Each is raised about by another part of Python: the tokenizer, the parser, the compiler, numpy, mmap.
    b"{'descr': '<f4', 'shape': (512,), }  ': (((",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (512,",
    b"(" * 5_000,
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 30 + b",)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    b"{'descr': [('a', '<f4')] * 3}",
    b"\x00\xff",
    b"  {\n\t  }",
]


@pytest.mark.parametrize("header", NUMPY_HEADERS)
def test_a_numpy_file_with_a_damaged_header_is_refused(
    folder: Path, header: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    data = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header + bytes(2048)
    (folder / "header.npy").write_bytes(data)
    recipe = folder / "header.yaml"
    text = INPUTS["embeds.npy"].replace("FILE", "header.npy")
    recipe.write_text(f"recipe: 1\nname: r\n{text}prompts: [{{prompt: a}}]\n")
    answer = call(capsys, "validate", "--weights", str(recipe))
    assert answer.status in (1, 3), answer
    assert "header.npy" in answer.out


def test_an_avif_picture_with_damaged_pixels_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole_picture = with_comment("AVIF", b"UNICODE\0")
    (folder / "pixels.avif").write_bytes(whole_picture[:-20] + bytes(byte ^ 0xFF for byte in whole_picture[-20:]))
    recipe = folder / "pixels.yaml"
    text = INPUTS["picture.png"].replace("FILE", "pixels.avif")
    recipe.write_text(f"recipe: 1\nname: r\n{text}prompts: [{{prompt: a}}]\n")
    answer = call(capsys, "validate", "--weights", str(recipe))
    assert answer.status == 3, answer
    assert "E648" in answer.out
