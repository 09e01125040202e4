"""What the manifest says of adapters when a matrix changes them."""

from __future__ import annotations

from pathlib import Path

from support.command import ROOT
from support.records import run_folder

import recipe_runner
from recipe_runner.recipe.load import load_document
from recipe_runner.record.inputs import AdapterRecord
from recipe_runner.record.manifest import Failure, Manifest
from recipe_runner.record.summary import write_summary

RECIPE = ROOT / "recipes/lora-scale.yaml"
LORAS = ROOT / "recipes/demo/lora"


def manifest(*overrides: str, recipe: Path = RECIPE) -> Manifest:
    """The manifest of a run that stopped before its first image."""
    document = load_document(recipe, overrides).document
    plan = recipe_runner.compile_recipe(recipe, overrides)
    failure = Failure(code="E702", message="no memory", node=None, line=None)
    folder = run_folder(Path())
    with folder.locked():
        return write_summary(document, overrides, plan, folder, {}, environment=None, failure=failure)


def facts(adapters: tuple[AdapterRecord, ...]) -> list[tuple[str, int, tuple[float, ...]]]:
    return [(each.name, sum(m.total for m in each.tensors.values()), each.scales) for each in adapters]


def test_an_adapter_that_only_changes_its_scale_is_one() -> None:
    assert facts(manifest().adapters) == [("outline", 208, (0.0, 0.5, 1.0))]


def test_every_file_of_an_adapter_has_its_own_counts_and_scales_numbered_as_its_sources_are() -> None:
    files = ", ".join(str(LORAS / f"{name}.safetensors") for name in ("outline", "outline-kohya", "gradient"))
    axes = f"matrix={{adapters.outline.scale: [0.25, 0.5], adapters.outline.model: [{files}]}}"
    found = manifest(axes)
    assert facts(found.adapters) == [
        ("outline", 208, (0.25, 0.5)),
        ("outline#2", 312, (0.25, 0.5)),
        ("outline#3", 184, (0.25, 0.5)),
    ]
    roles = {source.role: source.address for source in found.sources if source.role.startswith("adapters.")}
    assert roles == {
        f"adapters.{name}": str(LORAS / f"{file}.safetensors")
        for name, file in (("outline", "outline"), ("outline#2", "outline-kohya"), ("outline#3", "gradient"))
    }


def test_members_of_a_merge_make_it_another() -> None:
    files = ", ".join(str(LORAS / f"{name}.safetensors") for name in ("outline", "outline-kohya"))
    merged = manifest(
        "adapters.both={kind: merge, adapters: [outline, other], weights: [1, 2]}",
        f"adapters.other={{kind: lora, model: {LORAS / 'gradient.safetensors'}}}",
        f"matrix={{adapters.outline.model: [{files}]}}",
    )
    assert [adapter.name for adapter in merged.adapters] == ["both", "both#2"]


def test_masks_that_change_leave_an_adapter_one() -> None:
    left, right = (str(ROOT / f"recipes/demo/inputs/{side}.png") for side in ("left", "right"))
    axes = f"matrix={{adapters.halves.mask: [[{left}, {right}], [{right}, {left}]]}}"
    found = manifest(axes, recipe=ROOT / "recipes/ip-adapter-masks.yaml")
    assert [adapter.name for adapter in found.adapters] == ["halves"]
    assert "adapters.halves.mask[0]#2" in [source.role for source in found.sources]
