"""The text layer: YAML 1.2's scalars, the place of every key and value, and what is refused."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recipe_runner.canonical import Json
from recipe_runner.document import tree as nodes
from recipe_runner.document.document import Document, parse_document
from recipe_runner.document.paths import PathSyntaxError, format_path, parse_path, replaced
from recipe_runner.document.scalars import NotFiniteError, TooLargeError, read_scalar
from recipe_runner.problems.problem import RecipeInvalid, RecipeSyntaxError

TEXT = """\
# a comment
recipe: 1
name: "né\u00e9 x"   # another
base: {model: a/b, components: {vae: {model: v}}}
prompts:
  - id: bears
    prompt: >-
      folded
      text
  - prompt: "two
      lines"
seeds: [1, 22,
  333]
\u65e5\u672c: {\u8a9e: x}
"""


@pytest.fixture
def document() -> Document:
    return parse_document(TEXT, "a.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("nULL", "nULL"),
        ("true", True), ("True", True), ("TRUE", True), ("tRUE", "tRUE"), ("false", False),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("0", 0), ("-0", 0), ("+12", 12), ("0755", 755), ("0o755", 493), ("0x1F", 31), ("0b11", "0b11"), ("1_000",
        "1_000"),
        ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("1e4", 1e4), ("1e-4", 1e-4), ("1E+2", 100.0), ("+.5e1", 5.0),
        ("1.2.3", "1.2.3"), ("12:30:45", "12:30:45"), ("2026-11-22", "2026-11-22"), ("1e", "1e"), ("-", "-"), (".",
        "."),
        ("0x", "0x"), ("0o8", "0o8"), ("+0x1", "+0x1"), (".in", ".in"), ("1e400x", "1e400x"), ("\u0661", "\u0661"),
    ],
)  # fmt: skip
def test_plain_scalars_are_read_as_yaml_1_2_reads_them(text: str, value: object) -> None:
    read = read_scalar(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".inf", "-.inf", "+.INF", "1e400", "-1e400"])
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    with pytest.raises(NotFiniteError):
        read_scalar(text)


@pytest.mark.parametrize("text", ["18446744073709551616", "-18446744073709551616", "9" * 5000, "0x10000000000000000"])
def test_integers_beyond_64_bits_are_refused(text: str) -> None:
    with pytest.raises(TooLargeError):
        read_scalar(text)


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**64) + 1, 2**64 - 1)))
def test_numbers_come_back_as_they_were_written(number: float) -> None:
    assert read_scalar(repr(number)) == number
    assert type(read_scalar(repr(number))) is type(number)


def test_the_tree(document: Document) -> None:
    assert document.tree == {
        "recipe": 1,
        "name": "n\u00e9\u00e9 x",
        "base": {"model": "a/b", "components": {"vae": {"model": "v"}}},
        "prompts": [{"id": "bears", "prompt": "folded text"}, {"prompt": "two lines"}],
        "seeds": [1, 22, 333],
        "\u65e5\u672c": {"\u8a9e": "x"},
    }


@pytest.mark.parametrize(
    ("path", "key", "place"),
    [
        ((), False, (2, 1, 1)),
        (("recipe",), False, (2, 9, 1)),
        (("recipe",), True, (2, 1, 6)),
        (("name",), False, (3, 7, 7)),
        (("base",), False, (4, 7, 43)),
        (("base", "model"), False, (4, 15, 3)),
        (("base", "components", "vae", "model"), True, (4, 39, 5)),
        (("base", "components", "vae", "model"), False, (4, 46, 1)),
        (("prompts",), True, (5, 1, 7)),
        (("prompts", 0), False, (6, 5, 1)),
        (("prompts", 0, "prompt"), False, (7, 13, 2)),
        (("prompts", 1, "prompt"), False, (10, 13, 4)),
        (("prompts", 1, "prompt"), True, (10, 5, 6)),
        (("seeds",), False, (12, 8, 7)),
        (("seeds", 1), False, (12, 12, 2)),
        (("seeds", 2), False, (13, 3, 3)),
        (("seeds", 2), True, (13, 3, 3)),
        (("\u65e5\u672c", "\u8a9e"), False, (14, 9, 1)),
        (("nowhere", "at", "all"), False, (2, 1, 1)),
        (("base", "nowhere"), False, (4, 7, 43)),
        (("base", "nowhere"), True, (4, 1, 4)),
        (("seeds", 99), False, (12, 8, 7)),
        (("recipe", "x"), False, (2, 9, 1)),
    ],
)
def test_every_key_and_value_has_its_place(
    document: Document, path: tuple[str | int, ...], place: tuple[int, int, int], *, key: bool
) -> None:
    mark = document.place(path, key=key)
    assert (mark.line, mark.column, mark.width) == place
    assert mark.path == "a.yaml"
    assert mark.source_line == TEXT.split("\n")[mark.line - 1]


def walk(node: nodes.TreeNode, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(node.parts, dict):
        return [path, *(found for name, part in node.parts.items() for found in walk(part, (*path, name)))]
    if isinstance(node.parts, list):
        return [path, *(found for index, part in enumerate(node.parts) for found in walk(part, (*path, index)))]
    return [path]


plain = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=12)
trees = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(-1e9, 1e9), plain),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(plain, inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(plain, trees, min_size=1, max_size=5), st.booleans())
def test_what_is_written_in_quotes_comes_back_with_both_parsers(tree: object, flow: bool) -> None:  # noqa: FBT001
    text = yaml.safe_dump(tree, default_style='"', default_flow_style=flow, allow_unicode=False, width=40)
    # The dumper writes numbers in quotes, with a tag of their own; take the tags and those quotes away.
    for tag in ("int", "float", "bool", "null"):
        text = re.sub(rf'!!{tag} "([^"]*)"', r"\1", text)
    document = parse_document(text, "a.yaml")
    assert document.tree == tree
    for path in walk(document.root):
        mark = document.place(path)
        assert 1 <= mark.column <= len(mark.source_line) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "_Loader", yaml.SafeLoader)
        assert parse_document(text, "a.yaml").root == document.root


def test_a_byte_order_mark_at_the_beginning_is_no_mistake() -> None:
    for data in (b"\xef\xbb\xbfa: 1", "\ufeffa: 1"):
        document = parse_document(data, "a.yaml")
        assert document.tree == {"a": 1}
        assert document.place(("a",)).column == 4


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_line_breaks_of_every_system_count_alike(line_break: str) -> None:
    document = parse_document(TEXT.replace("\n", line_break), "a.yaml")
    assert document.place(("seeds", 2)).line == 13
    assert document.place(("seeds", 2)).source_line == "  333]"


def refused(data: bytes | str) -> list[tuple[str, int, int]]:
    with pytest.raises(RecipeSyntaxError) as caught:
        parse_document(data, "a.yaml")
    return [(problem.code, problem.line, problem.column) for problem in caught.value.problems]


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    assert refused(b"a: " + b"x" * 1024 * 1024) == [("E103", 1, 1)]


def test_a_list_as_large_as_a_file_can_be_is_refused() -> None:
    ((code, line, _),) = refused("a: [" + "1," * 400_000 + "1]")
    assert (code, line) == ("E113", 1)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")])
def test_depth_is_refused_before_it_hurts(opening: str, closing: str) -> None:
    ((code, line, _),) = refused("a:\n  " + opening * 100_000 + "1" + closing * 100_000)
    assert code in {"E114", "E109"}
    assert line == 2


def test_depth_counts_what_an_alias_stands_for() -> None:
    text = "a: &a " + "[" * 20 + "1" + "]" * 20 + "\nb: " + "[" * 20 + "*a" + "]" * 20
    assert refused(text) == [("E114", 2, 24)]


def test_an_alias_costs_nothing_until_its_copies_count() -> None:
    text = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 25))
    ((code, line, _),) = refused(text)
    assert (code, line) == ("E113", 17)


def test_an_anchor_may_be_used_again_for_another_value() -> None:
    assert parse_document("a: &x 1\nb: *x\nc: &x 2\nd: *x\n", "a").tree == {"a": 1, "b": 1, "c": 2, "d": 2}
    assert refused("a: &x 1\nb: &x [*x]\n") == [("E112", 2, 8)]


def test_all_mistakes_that_leave_the_text_readable_are_told_at_once() -> None:
    assert refused("a: 1\na: 2\n1: 3\nb: .nan\nc: !x y\n<<: 1\n") == [
        ("E108", 2, 1), ("E109", 3, 1), ("E117", 4, 4), ("E111", 5, 4), ("E110", 6, 1),
    ]  # fmt: skip


def test_quoted_texts_are_texts() -> None:
    text = "'<<': '1'\n'1': \"true\"\n\"~\": '.nan'\n"
    assert parse_document(text, "a").tree == {"<<": "1", "1": "true", "~": ".nan"}


BASE = "recipe: 1\nprompts:\n  - {id: one, prompt: a}\n  - prompt: b\nseeds: [1, 2]\nbase: {scheduler: null}\n"


def test_overrides_replace_add_and_leave_the_document_alone() -> None:
    document = parse_document(BASE, "a.yaml")
    before = repr(document.tree)
    made = document.with_overrides(
        [
            "seeds[1]=7",
            "prompts.one.prompt=x = y",
            "prompts.prompt-2.negative_prompt=",
            "sampling.height=512",
            "base.scheduler.config={a: [1, 2]}",
            "recipe=2",
            "recipe=1",
        ]
    )
    assert made.tree == {
        "recipe": 1,
        "prompts": [{"id": "one", "prompt": "x = y"}, {"prompt": "b", "negative_prompt": None}],
        "seeds": [1, 7],
        "base": {"scheduler": {"config": {"a": [1, 2]}}},
        "sampling": {"height": 512},
    }
    assert repr(document.tree) == before
    assert made.text == document.text
    mark = made.place(("base", "scheduler", "config", "a", 1))
    assert (mark.path, mark.line, mark.column) == ("--set", 1, 31)
    assert mark.source_line == "base.scheduler.config={a: [1, 2]}"
    mark = made.place(("sampling", "height"), key=True)
    assert (mark.path, mark.column, mark.width) == ("--set", 10, 6)
    mark = made.place(("prompts", 0, "id"))
    assert (mark.path, mark.line) == ("a.yaml", 3)


@pytest.mark.parametrize(
    ("option", "code", "column"),
    [
        ("seeds", "E301", 1), ("=1", "E301", 1), ("a..b=1", "E301", 3), ("a b=1", "E301", 2), ("seeds[x]=1", "E301", 6),
        ("seeds[2]=1", "E302", 6), ("recipe.x=1", "E302", 8), ("prompts.two.prompt=1", "E302", 9), ("base[0]=1",
        "E302", 5),
        ("seeds=[1", "E303", 9), ("seeds=a: b: c", "E303", 11), ("seeds=*a", "E303", 7), ("seeds=!x 1", "E111", 7),
        ("seeds=\u2028", "E102", 7), ("seeds=.inf", "E117", 7), ("seeds={a: 1, a: 2}", "E108", 14),
    ],
)  # fmt: skip
def test_an_override_that_does_not_apply_is_told_at_its_place(option: str, code: str, column: int) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        parse_document(BASE, "a.yaml").with_overrides([option])
    (problem,) = caught.value.problems
    assert (problem.code, problem.path, problem.line, problem.column) == (code, "--set", 1, column)
    assert problem.place.source_line == option


names = st.text("abcxyz_-0123456789\u00e9", min_size=1, max_size=8)


@given(st.tuples(names), st.lists(st.one_of(names, st.integers(0, 999_999)), max_size=6))
def test_paths_come_back_as_they_were_written(first: tuple[str], rest: list[str | int]) -> None:
    path = (*first, *rest)
    assert tuple(step.name for step in parse_path(format_path(path))) == path


@given(st.text(max_size=20))
def test_any_text_is_a_path_or_told_not_to_be(text: str) -> None:
    try:
        steps = parse_path(text)
    except PathSyntaxError as error:
        columns = [error.column]
    else:
        columns = [step.column for step in steps]
        assert format_path([step.name for step in steps]).count(".") == text.count(".")
    assert all(1 <= column <= len(text) + 1 for column in columns)


def test_replacing_shares_what_it_does_not_touch() -> None:
    tree: dict[str, Json] = {"a": {"b": [1, {"c": 2}]}, "d": {"e": 3}}
    made = replaced(tree, ("a", "b", 1, "c"), 9)
    assert made == {"a": {"b": [1, {"c": 9}]}, "d": {"e": 3}}
    assert tree == {"a": {"b": [1, {"c": 2}]}, "d": {"e": 3}}
    assert isinstance(made, dict)
    assert made["d"] is tree["d"]
