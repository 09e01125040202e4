"""Two recipes are compared by meaning, with what a change costs and which input is the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.git import Repository

from recipe_runner.diff.compare import compare
from recipe_runner.diff.difference import Difference
from recipe_runner.diff.operand import read_side
from recipe_runner.diff.word_diff import compare_words
from recipe_runner.problems.problem import RecipeRunnerError
from recipe_runner.report.diff_lines import sections

DEMO = Path(__file__).parents[2] / "recipes/demo"
ADAPTERS = f"""\
adapters:
  outline:
    kind: lora
    model: {DEMO}/lora/outline.safetensors
    scale: 0.6
"""
RECIPE = f"""\
recipe: 1
name: demo
base:
  model: {DEMO}/model
{ADAPTERS}prompts:
  - id: star
    prompt: a large yellow star on a blue background
  - id: heart
    prompt: a pink heart
seeds: [1, 2]
sampling: {{num_inference_steps: 4}}
"""


def difference(old: str, new: str) -> Difference:
    """The difference of two recipe texts."""
    for name, text in (("old.yaml", old), ("new.yaml", new)):
        Path(name).write_text(text)
    return compare(read_side("old.yaml"), read_side("new.yaml"))


def lines(found: Difference) -> list[str]:
    """What is said of each change."""
    return [
        f"{line.sign} {section} {line.path}: {''.join(piece.text for piece in line.pieces)}"
        for section, entries in sections(found.changes)
        for line in entries
    ]


def edited(*pairs: tuple[str, str], text: str = RECIPE) -> str:
    """The recipe with texts replaced; each must be there."""
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


OTHER = f"  again:\n    kind: lora\n    model: {DEMO}/lora/outline.safetensors\n    scale: 0.25\n"
WITH_TWO = edited(("prompts:", f"{OTHER}prompts:"))
SWAPPED = edited(("  outline:", f"{OTHER}  outline:"))

CASES: dict[str, tuple[str, str, list[str], dict[str, int], list[str]]] = {
    "scale": (
        RECIPE,
        edited(("scale: 0.6", "scale: 0.8")),
        ["~ adapters outline.scale: 0.6 → 0.8"],
        {"changes": 4},
        ["adapters.outline.scale: 0.6 → 0.8"],
    ),
    "block scales": (
        edited(("scale: 0.6", "scale: {unet: {down: 0.5, up: 1}}")),
        edited(("scale: 0.6", "scale: {unet: {down: 0.75, up: 1.0}, text_encoder: 0}")),
        ["~ adapters outline.scale.unet.down: 0.5 → 0.75", "+ adapters outline.scale.text_encoder: 0.0"],
        {"changes": 4},
        ["adapters.outline.scale.unet.down: 0.5 → 0.75", "adapters.outline.scale.text_encoder: 0.0 (new)"],
    ),
    "adapter added": (
        RECIPE,
        WITH_TWO,
        [f"+ adapters again: {{model: {DEMO}/lora/outline.safetensors, kind: lora, scale: 0.25}}"],
        {"changes": 4},
        ["adapters.again (new)"],
    ),
    "adapter removed": (
        RECIPE,
        edited((ADAPTERS, "")),
        [f"- adapters outline: {{model: {DEMO}/lora/outline.safetensors, kind: lora, scale: 0.6}}"],
        {"changes": 4},
        ["adapters.outline (gone)"],
    ),
    "adapters reordered": (
        WITH_TWO,
        SWAPPED,
        ["~ adapters adapters: order outline, again → again, outline"],
        {"changes": 4},
        ["order of adapters: outline, again → again, outline"],
    ),
    "adapter renamed": (
        RECIPE,
        edited(("  outline:", "  lines:")),
        ["~ adapters lines: renamed from outline"],
        {"stays": 4},
        [],
    ),
    "words of a prompt": (
        RECIPE,
        edited(("blue background", "very dark green background")),
        ["~ prompts star.prompt: a large yellow star on a bluevery dark green background"],
        {"changes": 2, "stays": 2},
        ["prompts.star.prompt: blue → very dark green"],
    ),
    "a prompt, a seed": (
        RECIPE,
        edited(("seeds: [1, 2]", "seeds: {start: 2, count: 4}"), ("  - id: heart\n    prompt: a pink heart\n", "")),
        ["- prompts heart: {prompt: a pink heart}", "+ seeds seeds: 3 to 5", "- seeds seeds: 1"],
        {"stays": 1, "appears": 3, "vanishes": 3},
        ["seed 3", "seed 4", "seed 5", "seed 1", "prompt heart"],
    ),
    "a prompt in front without ids": (
        edited(("id: star\n    prompt", "prompt"), ("id: heart\n    prompt", "prompt")),
        edited(("- id: star\n    prompt", "- prompt: a new one\n  - prompt"), ("id: heart\n    prompt", "prompt")),
        ["+ prompts prompt-1: {prompt: a new one}"],
        {"stays": 4, "appears": 2},
        ["prompt prompt-1"],
    ),
    "an axis": (
        f"{RECIPE}matrix: {{adapters.outline.scale: [0, 0.6]}}\n",
        f"{RECIPE}matrix: {{adapters.outline.scale: [0.6, 0.9, 0.0]}}\n",
        ["+ matrix adapters.outline.scale: 0.9", "~ matrix adapters.outline.scale: order 0, 0.6 → 0.6, 0.0"],
        {"stays": 8, "appears": 4},
        ["adapters.outline.scale = 0.9"],
    ),
    "a default": (
        RECIPE,
        edited(("{num_inference_steps: 4}", "{num_inference_steps: 4, guidance_scale: 7.0}")),
        ["~ sampling guidance_scale: 7.5 → 7.0"],
        {"changes": 4},
        ["sampling.guidance_scale: 7.5 → 7.0"],
    ),
    "base": (
        RECIPE,
        edited(("/model\n", "/model\n  dtype: float16\n  components: {safety_checker: null}\n")),
        ["~ base dtype: float32 → float16", "+ base components.safety_checker: left out"],
        {"changes": 4},
        ["base.dtype: float32 → float16", "base.components.safety_checker: left out (new)"],
    ),
    "what no image shows": (
        RECIPE,
        edited(("name: demo", "name: demo\ndescription: why"), ("sampling", "runtime: {device: cpu}\nsampling")),
        ["+ recipe description: why", "~ runtime device: auto → cpu"],
        {"stays": 4},
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_told_by_meaning_with_its_cost_and_reason(case: str) -> None:
    old, new, expected, fates, reasons = CASES[case]
    found = difference(old, new)
    assert lines(found) == expected
    assert found.cost is not None
    assert {fate: count for fate, count in found.cost.count().items() if count} == fates
    assert list(dict.fromkeys(reason for _, reason in found.cost.reasons())) == reasons
    assert found.cost.provisional == ()
    assert not found.same
    made = fates.get("changes", 0) + fates.get("appears", 0)
    assert (found.cost.to_make, found.cost.denoising_steps) == (made, 4 * made)


def test_what_shares_a_batch_is_a_reason_at_level_fast() -> None:
    fast = f"{RECIPE}runtime: {{reproducibility: fast, batch_size: 4}}\n"
    found = difference(fast, fast.replace("batch_size: 4", "batch_size: 3"))
    assert lines(found) == ["~ runtime batch_size: 4 → 3"]
    assert found.cost is not None
    assert found.cost.count()["changes"] == 4
    assert ("changes", "denoise.seeds: [1, 2, 1, 2] → [1, 2, 1]") in found.cost.reasons()


def test_the_members_of_a_merge_are_reasons() -> None:
    merge = f"{ADAPTERS}{OTHER}  both: {{kind: merge, adapters: [outline, again], weights: [0.5, 0.5]}}\n"
    text = edited((ADAPTERS, merge))
    found = difference(text, text.replace("[0.5, 0.5]", "[0.5, 0.7]"))
    assert found.cost is not None
    assert found.cost.provisional == ()
    assert dict(found.cost.reasons()) == {("changes", "adapters.both.weights: [0.5, 0.5] → [0.5, 0.7]"): 4}


def test_comments_layout_and_written_defaults_are_no_difference() -> None:
    other = edited(
        ("recipe: 1", "# another comment\nrecipe: 1"),
        ("seeds: [1, 2]", "seeds: {start: 1, count: 2}"),
        ("scale: 0.6", "scale: 6.0e-1"),
        ("/model\n", "/model\n  dtype: 'float32'\n"),
        ("{num_inference_steps: 4}", "\n  guidance_scale: 7.5\n  num_inference_steps: 4"),
    )
    found = difference(RECIPE, other)
    assert found.changes == ()
    assert found.same


def test_what_an_old_recipe_names_may_be_gone() -> None:
    found = difference(edited((f"{DEMO}/model", "no/such/model")), edited(("[1, 2]", "[1, 2, 3]")))
    assert found.cost is not None
    assert found.cost.count() == {"changes": 4, "stays": 0, "appears": 2, "vanishes": 0}
    assert found.cost.provisional == (
        "old.yaml cannot be planned: no/such/model: no such file or folder beside the recipe",
    )
    assert [reason.partition(":")[0] for _, reason in found.cost.reasons()] == ["base.model", "seed 3"]


def test_a_model_that_was_not_fetched_makes_the_cost_provisional() -> None:
    hub = edited((f"{DEMO}/model\n", "someone/a-model\n  revision: v1\n"))
    found = difference(hub, edited(("v1", "v2"), text=hub))
    assert lines(found) == ["~ base revision: v1 → v2"]
    assert found.cost is not None
    assert found.cost.provisional == ("base is not on this machine",)
    assert found.cost.count()["changes"] == 4


def test_sources_of_a_revision_are_looked_up_in_the_working_tree(repository: Repository) -> None:
    text = edited((f"{DEMO}/model", "demo/model"), (f"{DEMO}/lora", "demo/lora"))
    (repository.path / "recipes").mkdir()
    (repository.path / "recipes/demo").symlink_to(DEMO)
    repository.commit({"recipes/a.yaml": text})
    repository.commit({"recipes/a.yaml": edited(("0.6", "0.7"), text=text)})
    for inside, operand in (("", "HEAD~1:recipes/a.yaml"), ("recipes", "HEAD~1:./a.yaml")):
        with repository.inside(inside):
            found = compare(read_side(operand), read_side("a.yaml" if inside else "recipes/a.yaml"))
        assert found.cost is not None
        assert found.cost.provisional == ()
        assert found.cost.count()["changes"] == 4
        assert found.changes[0].place is not None
        assert (found.changes[0].place.line, found.old) == (9, operand)


@pytest.mark.parametrize(
    ("operands", "code"),
    [
        (("nothing.yaml", "a.yaml"), "E831"),
        (("HEAD:nothing.yaml", "a.yaml"), "E831"),
        (("folder", "a.yaml"), "E831"),
        (("/dev/null", "/dev/null"), "E831"),
        (("a.lock.yaml", "a.yaml"), "E830"),
        (("broken.yaml", "a.yaml"), "E104"),
        (("invalid.yaml", "a.yaml"), "E202"),
    ],
)
def test_what_cannot_be_compared_says_why(operands: tuple[str, str], code: str) -> None:
    Path("folder").mkdir()
    for name, text in (
        ("a.yaml", RECIPE),
        ("a.lock.yaml", "lock: 1\nsources: {}\n"),
        ("broken.yaml", "recipe: ["),
        ("invalid.yaml", "recipe: 1\n"),
    ):
        Path(name).write_text(text)
    with pytest.raises(RecipeRunnerError) as caught:
        compare(read_side(operands[0]), read_side(operands[1]))
    assert caught.value.problems[0].code == code


def test_a_recipe_that_was_not_there_appears_whole() -> None:
    Path("a.yaml").write_text(RECIPE)
    found = compare(read_side("/dev/null"), read_side("a.yaml"))
    assert found.cost is not None
    assert (found.cost.count()["appears"], found.changes[0].what) == (4, "added")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a red star", "a blue star", " a |-red|+blue|  star"),
        ("a star", "a (star:1.2)", " a |+(| star|+:1.2)"),
        ("", "a star", "+a star"),
        ("cat, night", "an old dog at noon", "-cat, night|+an old dog at noon"),
        ("日本 cat", "日本 dog", " 日本 |-cat|+dog"),
    ],
)
def test_prompts_are_compared_word_by_word(old: str, new: str, expected: str) -> None:
    words = compare_words(old, new)
    assert "|".join(f"{word.sign}{word.text}" for word in words) == expected
    assert "".join(word.text for word in words if word.sign != "+") == old
    assert "".join(word.text for word in words if word.sign != "-") == new
