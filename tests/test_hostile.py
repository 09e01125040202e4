"""A stranger's recipe, run and image through every command and format: what is written acts on nobody who reads it."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.command import ROOT, Answer, call, process

from recipe_runner.report import escape

BIDI = "\u202eevil\u2066\u200b"
ESCAPES = "\x1b[31mRED\x1b]0;owned\x07 \x9b2J \x08\r"
COMMANDS = "\n::error title=fake::from a prompt\n  ::set-output name=a::b\n##[error]old ##vso[task.x]y"
PROMPT = f"=cmd|' /C calc'!A0 {ESCAPES}{BIDI}{'red star ' * 14}{COMMANDS} </pre><script>alert(1)</script> [x](y) `z` |"
CELLS = ("=1+1", "+1 red", "-2 stars", "@SUM(A1)", "\tstar", " =2", "\uff1d3")
ADDRESS = "::error title=fake::##[error]\u202e\x9b]\u2066 [bold].safetensors"
"""A recipe's address holds no control character below 0x20, and any above."""
FILE = "::error title=a::##[error]\x1b[31m\u202e [red]\n::warning::b.yaml"
RECIPE = {
    "recipe": 1,
    "name": "hostile",
    "description": PROMPT,
    "base": {"model": "demo/model", "scheduler": {"class": "DDIMScheduler"}},
    "adapters": {"outline": {"kind": "lora", "model": ADDRESS, "scale": 0.5}},
    "prompts": [
        {"id": "a", "prompt": PROMPT, "negative_prompt": PROMPT},
        *({"id": f"c{number}", "prompt": text} for number, text in enumerate(CELLS)),
    ],
    "seeds": [1],
    "sampling": {"num_inference_steps": 1},
    "runtime": {"device": "cpu", "threads": 1},
}
UNSEEN = re.compile(r"[^\n\t]")
COMMAND = re.compile(r"^\s*::|##[A-Za-z]*\[", re.MULTILINE)
OWN = re.compile(r"^::(error|warning|notice) (file|title)=[^:\n]*::", re.MULTILINE)


def assert_inert(text: str, *, own_commands: bool = False) -> None:
    """No character acts, and no line is a command but, with `own_commands`, those that this package writes."""
    odd = sorted({repr(letter) for letter in UNSEEN.findall(text) if not letter.isprintable()})
    assert not odd, (odd, text[:3000])
    assert "Traceback" not in text, text
    if own_commands:
        lines = [line for line in text.splitlines() if not OWN.match(line)]
        assert all(line.count("::") >= 2 for line in text.splitlines() if OWN.match(line))
        text = "\n".join(lines)
    assert not COMMAND.search(text), COMMAND.findall(text)


def assert_answer_inert(answer: Answer, *, own_commands: bool = False, status: int | None = None) -> None:
    assert_inert(answer.out, own_commands=own_commands)
    assert_inert(answer.err)
    assert answer.status != 4, answer
    if status is not None:
        assert answer.status == status, answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model, an adapter of a hostile name, and a hostile recipe."""
    made = tmp_path_factory.mktemp("hostile")
    (made / "demo").symlink_to(ROOT / "recipes" / "demo")
    shutil.copy(ROOT / "recipes" / "demo" / "lora" / "outline.safetensors", made / ADDRESS)
    (made / "r.yaml").write_text(json.dumps(RECIPE))
    (made / "other.yaml").write_text(json.dumps({**RECIPE, "prompts": [{"prompt": f"{PROMPT} =1 \u202e"}]}))
    broken = {**RECIPE, PROMPT: 1, "base": {"model": ADDRESS, PROMPT: PROMPT}, "sampling": {PROMPT: PROMPT}}
    (made / FILE).write_text(json.dumps(broken, ensure_ascii=False).replace("\\u001b", "\x85"))
    (made / "broken.yaml").write_text(json.dumps(broken))
    (made / "picture.png").write_bytes(picture())
    return made


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """The recipe's run, made by a process."""
    answer = process("run", "r.yaml", "-v", cwd=folder)
    assert_answer_inert(answer, status=0)
    return folder / answer.out.splitlines()[-1]


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def picture() -> bytes:
    """A PNG whose texts are hostile."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    data = file.getvalue()
    settings = f"Steps: 5, Sampler: {BIDI}\x1b, Seed: 1, Model: {ADDRESS}"
    text = f"{PROMPT} <lora:{ADDRESS}:1>\nNegative prompt: {PROMPT}\n{settings}"
    body = b"iTXtparameters\0\0\0\0\0" + text.encode()
    chunk = (len(body) - 4).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    return data[:33] + chunk + data[33:]


WORDS: dict[str, list[str]] = {
    "validate": ["validate", "r.yaml", "broken.yaml", FILE],
    "validate json": ["validate", "--format", "json", "r.yaml", "broken.yaml", FILE],
    "validate weights": ["validate", "--weights", "r.yaml"],
    "validate nothing": ["validate", PROMPT.replace("\0", "")[:80]],
    "plan": ["plan", "r.yaml", "--verbose"],
    "plan json": ["plan", "r.yaml", "--format", "json"],
    "plan mermaid": ["plan", "r.yaml", "--format", "mermaid"],
    "plan dot": ["plan", "r.yaml", "--format", "dot"],
    "plan set": ["plan", "r.yaml", "--set", f"sampling.{PROMPT}={PROMPT}"],
    "run set": ["run", "r.yaml", "--set", f"base.model={PROMPT}", "--format", "json"],
    "diff": ["diff", "r.yaml", "other.yaml"],
    "diff json": ["diff", "r.yaml", "other.yaml", "--format", "json"],
    "diff markdown": ["diff", "r.yaml", "other.yaml", "--format", "markdown"],
    "diff broken": ["diff", "r.yaml", FILE],
    "diff git": ["diff", "--git", FILE, FILE, "0", "0", "r.yaml", "0", "0"],
    "export python": ["export", "r.yaml", "--to", "python"],
    "export comfyui": ["export", "r.yaml", "--to", "comfyui"],
    "export a1111": ["export", "r.yaml", "--to", "a1111"],
    "export json": ["export", "r.yaml", "--to", "a1111", "--format", "json"],
    "import": ["import", "picture.png"],
    "import json": ["import", "picture.png", "--format", "json"],
    "import nothing": ["import", FILE],
    "inspect": ["inspect", ADDRESS, "-v"],
    "inspect json": ["inspect", ADDRESS, FILE, "--format", "json"],
    "inspect nothing": ["inspect", FILE],
    "lock check": ["lock", "--check", "r.yaml", "broken.yaml"],
    "fetch": ["fetch", "broken.yaml"],
    "explain": ["explain", PROMPT],
    "schema": ["schema", "recipe"],
    "init": ["init", FILE],
    "gc": ["gc", "--runs", PROMPT[:60]],
    "a command": [PROMPT],
    "an option": ["validate", f"--{PROMPT}"],
    "verify nothing": ["verify", FILE],
    "report nothing": ["report", FILE],
    "manifest nothing": ["manifest", FILE],
    "runs of nothing": ["runs", "list", "--runs", FILE],
    "runs list": ["runs", "list"],
}


@pytest.mark.parametrize("case", WORDS)
def test_what_a_command_says_is_inert(case: str, capsys: pytest.CaptureFixture[str], run: Path) -> None:
    assert run.is_dir()
    try:
        answer = call(capsys, *WORDS[case])
    except SystemExit as left:
        answer = Answer(int(left.code or 0), *capsys.readouterr())
    assert_answer_inert(answer)
    if "json" in case:
        assert json.loads(answer.out)


OF_RUN: dict[str, list[str]] = {
    "show": ["runs", "show", "RUN"],
    "show json": ["runs", "show", "RUN", "--format", "json"],
    "show csv": ["runs", "show", "RUN", "--format", "csv"],
    "manifest": ["manifest", "RUN"],
    "verify": ["verify", "RUN"],
    "verify inputs": ["verify", "RUN", "--inputs"],
    "verify json": ["verify", "RUN", "--inputs", "--format", "json"],
    "diff": ["diff", "RUN", "r.yaml"],
    "report": ["report", "RUN", "-o", "page.html"],
}


@pytest.mark.parametrize("case", OF_RUN)
def test_what_is_said_of_a_run_is_inert(case: str, capsys: pytest.CaptureFixture[str], run: Path) -> None:
    answer = call(capsys, *(str(run) if word == "RUN" else word for word in OF_RUN[case]))
    assert_answer_inert(answer)
    if "json" in case or case == "manifest":
        assert json.loads(answer.out)


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "--format", "github", "r.yaml", "broken.yaml", FILE],
        ["diff", "r.yaml", "other.yaml", "--format", "github"],
    ],
)
def test_the_only_workflow_commands_are_our_own(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, *words)
    assert_answer_inert(answer, own_commands=True, status=1)
    assert OWN.search(answer.out)


def test_no_cell_is_a_formula_and_prompts_are_whole(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "runs", "show", str(run), "--format", "csv")
    rows = list(csv.reader(io.StringIO(answer.out)))
    texts = [cell for row in rows for cell in row]
    assert not [cell for cell in texts if re.match("[ \u3000]*[=+\\-@\t\r\uff1d]", cell) and not is_number(cell)]
    shown = [row[rows[0].index("prompt")] for row in rows[1:]]
    assert [text.removeprefix("'") for text in shown[1:]] == list(CELLS)
    assert all(text.startswith("'") for text in shown)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_pages_are_inert(run: Path, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert call(capsys, "diff", "r.yaml", "other.yaml", "--format", "html", "-o", "diff.html").status == 1
    for path in (run / "report.html", folder / "diff.html"):
        text = path.read_text(encoding="utf-8")
        for script in re.findall(r"<script>.*?</script>|<style>.*?</style>", text, re.DOTALL):
            text = text.replace(script, "")
        assert_inert(text)
        assert "alert(1)</script>" not in text
        # Escapes of JSON within the page's data are read by its scripts.
        data = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])
        for string in strings(data):
            assert all(letter.isprintable() or letter in "\n\t" for letter in string), string


def strings(tree: object) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from (*strings(key), *strings(value))
    elif isinstance(tree, list):
        for value in tree:
            yield from strings(value)


def test_what_is_escaped_is_still_what_it_was(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the formats that have escapes of their own, nothing is lost."""
    for path in ("r.yaml", run / "resolved.yaml"):
        assert yaml.safe_load(Path(path).read_text())["prompts"][0]["prompt"] == PROMPT
    rows = json.loads(call(capsys, "runs", "show", str(run), "--format", "json").out)["images"]
    assert rows[0]["prompt"] == PROMPT
    script = ast.parse(call(capsys, "export", "r.yaml", "--to", "python").out)
    assert any(isinstance(node, ast.Constant) and node.value == PROMPT for node in ast.walk(script))
    nodes = json.loads(call(capsys, "export", "r.yaml", "--to", "comfyui").out)
    assert "\u202e" in json.dumps(nodes, ensure_ascii=False)
    imported = yaml.safe_load(call(capsys, "import", "picture.png", "--base", "demo/model").out)
    assert "\n::error title=fake::from a prompt\n" in imported["prompts"][0]["prompt"]
    told = call(capsys, "export", "r.yaml", "--to", "a1111")
    assert "escaped here" in told.err
    call(capsys, "export", "r.yaml", "--to", "a1111", "-o", "texts", "--force")
    assert "::error title=fake::from a prompt" in (Path("texts") / "a-1.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp932", "euc-kr", "utf-8"])
def test_a_stream_of_any_encoding(encoding: str, folder: Path) -> None:
    for words, status in (
        (["validate", "broken.yaml"], 1),
        (["diff", "r.yaml", "other.yaml"], 1),
        (["runs", "list"], 0),
        (["validate", "r.yaml", "broken.yaml", "--format", "json"], 1),
        (["import", "picture.png", "--format", "json", "--base", "demo/model"], 0),
    ):
        answer = subprocess.run(
            [sys.executable, "-m", "recipe_runner", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
            check=False,
            capture_output=True,
        )
        assert answer.returncode == status, answer
        assert b"E901" not in answer.stderr
        assert answer.stdout.decode("utf-8" if "json" in words else encoding)
        assert "json" not in words or json.loads(answer.stdout)


def test_a_recipe_is_utf_8_whatever_the_stream(tmp_path: Path) -> None:
    text = "caf\u00e9 \u661f\nSteps: 5, Sampler: Euler, Seed: 1"
    (tmp_path / "p.txt").write_text(text, encoding="utf-8")
    answer = process("import", "p.txt", "--base", "m", cwd=tmp_path, PYTHONIOENCODING="ascii:surrogateescape")
    assert "prompt: caf\u00e9 \u661f" in answer.out, answer


SINKS = {
    "visible": escape.visible, "one_line": escape.one_line, "markdown": escape.markdown, "mermaid": escape.mermaid,
    "dot": escape.dot, "html": escape.html_text, "csv": escape.csv_cell,
}  # fmt: skip


@pytest.mark.parametrize("sink", SINKS)
def test_a_sink_leaves_no_character_that_acts(sink: str) -> None:
    every = "".join(map(chr, [*range(0x3000), *range(0xD800, 0xD810), *range(0xFE00, 0x10000), 0xE0001, 0x1F600]))
    shown = str(SINKS[sink](every))
    assert all(letter.isprintable() or letter in "\n\t" for letter in shown)
    assert ("\n" in shown) == (sink in ("visible", "html", "csv"))
    assert "\U0001f600" in shown


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["::error::a\n"], "\\u003a:error::a\n"),
        (["a", "::error::b\n"], "a::error::b\n"),
        (["a\n", "\t", "::error::b\n"], "a\n\t\\u003a:error::b\n"),
        (["a\n", " ", "b ::error::c"], "a\n b ::error::c"),
        (["a\r\n::x"], "a\n\\u003a:x"),
        (["a\r::x"], "a\\u000d::x"),
        (["a ##[error]b ###vso[c] # [d]"], "a #\\u0023[error]b ##\\u0023vso[c] # [d]"),
        ([escape.Escaped("::error::own\n"), "::error::b"], "::error::own\n\\u003a:error::b"),
        (
            [escape.Coloured("\x1b[31mred\x1b[0m \x1b[2J\x1b]0;x\x07")],
            "\x1b[31mred\x1b[0m \\u001b[2J\\u001b]0;x\\u0007",
        ),
        (["\ud800\U000e0001"], "\\ud800\\udb40\\udc01"),
    ],
)
def test_a_safe_stream_knows_where_its_lines_begin(pieces: list[str], expected: str) -> None:
    below = io.StringIO()
    stream = escape.SafeStream(below)
    for piece in pieces:
        stream.write(piece)
    assert below.getvalue() == expected


def test_bars_take_no_text_for_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    from recipe_runner.report.terminal.meter import BarMeter
    from recipe_runner.report.terminal.progress import Bar

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", escape.SafeStream(terminal))
    monkeypatch.setenv("TERM", "xterm")
    name = "[red]\x1b]0;owned\x07[/red]\u202e.png"
    with Bar(2) as bar:
        bar.say(f"{name} is made\n::error::x")
        bar.image(name)
        bar._bar.refresh()
    meter = BarMeter()
    meter.downloading(name, 1, 100)
    monkeypatch.setattr("recipe_runner.report.terminal.meter.PATIENCE_SECONDS", -1.0)
    with meter:
        meter.downloading(name, 2, 100)
        meter.downloading(name, 50, 100)
    shown = terminal.getvalue()
    assert "[red]" in shown
    assert "\x1b]" not in shown
    assert "\u202e" not in shown
    assert not re.search(r"^::", shown, re.MULTILINE)
