"""The folder of links that a library loads a part from, and what stands behind the refusals while planning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.handles import base_model, handle, source

from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.runtime.live import LivePipeline
from recipe_runner.runtime.load.part_files import PartFiles
from recipe_runner.sources.find import find_base
from recipe_runner.sources.source import Address, Source


@pytest.fixture
def found(tmp_path: Path) -> Source:
    """A source of two files in a folder, one beside it and one below it, of a folder that holds more."""
    for name in ("part/a.json", "part/b.json", "part/below/c.json", "d.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    whole = source(tmp_path)
    (tmp_path / "part" / "hidden.json").write_text("hidden")
    return whole


def test_it_holds_the_files_of_the_source_and_no_others(found: Source) -> None:
    with PartFiles(found, "part").linked() as folder:
        assert {path.name: path.read_text() for path in folder.iterdir()} == {
            "a.json": "part/a.json",
            "b.json": "part/b.json",
        }
    assert not folder.exists()
    assert (found.root / "part" / "a.json").read_text() == "part/a.json"
    with PartFiles(found, "").linked() as folder:
        assert [path.name for path in folder.iterdir()] == ["d.json"]


def test_it_goes_when_loading_fails(found: Source) -> None:
    with pytest.raises(ValueError, match="broken"), PartFiles(found, "part").linked() as folder:
        raise ValueError("broken")
    assert not folder.exists()


def test_where_symbolic_links_need_a_privilege(found: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(1314, "a required privilege is not held by the client")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "symlink_to", refuse)
    with PartFiles(found, "part").linked() as folder:
        assert sorted(path.read_text() for path in folder.iterdir()) == ["part/a.json", "part/b.json"]


def test_a_folder_for_temporary_files_that_cannot_be_written(found: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(found.root / "nowhere"))
    with pytest.raises(RecipeRunnerError) as caught, PartFiles(found, "part").linked():
        pass
    (problem,) = caught.value.problems
    assert (problem.code, problem.message.partition(":")[0]) == ("E801", f"cannot write {found.root}/nowhere")


def refused(folder: Path, **changes: Any) -> str:
    """The problem that loading the base raises."""
    with pytest.raises(RecipeRunnerError) as caught:
        LivePipeline("cpu", "strict", 1).require(handle(base_model(folder, **changes)))
    (problem,) = caught.value.problems
    return f"{problem.code} {problem.message}"


def test_a_class_of_another_type_is_refused_before_it_is_loaded(sd15_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd15_folder, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    # The weights of the text encoder are broken: nobody gets to see them.
    (folder / "text_encoder" / "model.safetensors").write_bytes(b"broken")
    for component, entry in (
        ("text_encoder", ["transformers", "AutoModel"]),
        ("text_encoder", ["transformers", "T5EncoderModel"]),
        ("tokenizer", ["transformers", "CLIPTextModel"]),
        ("unet", ["diffusers", "AutoModel"]),
    ):
        (folder / "model_index.json").write_text(json.dumps({**index, component: entry}))
        assert refused(folder).startswith(f"E506 {component}: StableDiffusionPipeline needs a ")


def test_a_message_names_the_folder_and_not_the_links(sd15_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sd15_folder, tmp_path / "model")
    found = find_base(Address("model"), folder=tmp_path).source
    kept = tuple(file for file in found.files if file.name != "unet/config.json")
    without = Source(address=found.address, root=found.root, files=kept)
    assert refused(folder, source=without) == (
        "E513 unet: UNet2DConditionModel cannot be loaded: Error no file named config.json found in directory "
        "model/unet."
    )
