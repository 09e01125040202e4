"""What is wrong with the environment is said as that: the variable or thing to change, status 3, and no bug."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import ROOT, Answer, call, process

DEMO = ROOT / "recipes" / "demo" / "model"
RECIPE = """\
recipe: 1
name: t
base: {model: MODEL, dtype: float32}
prompts: [{prompt: a red star}]
seeds: [1]
sampling: {num_inference_steps: 1}
runtime: {device: cpu, threads: 1}
"""
URL = "https://127.0.0.1:9/x.safetensors"


def python(code: str, *words: str, cwd: Path, **environment: str | None) -> Answer:
    """The command line in a process of its own that `code` prepares; None takes a variable away."""
    merged = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport sys\nfrom recipe_runner.cli.main import main\nsys.exit(main(sys.argv[1:]))",
            *words,
        ],
        cwd=cwd,
        env={name: value for name, value in merged.items() if value is not None},
        check=False,
        capture_output=True,
        text=True,
    )
    return Answer(answer.returncode, answer.stdout, answer.stderr)


def errors(answer: Answer) -> list[dict[str, Any]]:
    """The errors of the one object on the standard output."""
    return [problem for problem in json.loads(answer.out)["problems"] if problem["severity"] == "error"]


MAIN = "import sys\nfrom recipe_runner.cli.main import main\nsys.exit(main(sys.argv[1:]))"
NO_HOME = """\
import os, pwd
def nobody(*_):
    raise KeyError("uid not found")
pwd.getpwuid = pwd.getpwnam = nobody
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("MODEL", str(DEMO)))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "--weights"], ["plan"], ["run"], ["lock"], ["export", "--to", "python"], ["fetch"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_without_a_home_there_is_no_cache(words: list[str], recipe: Path, tmp_path: Path) -> None:
    gone = dict.fromkeys(("HOME", "RECIPE_RUNNER_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE"))
    answer = python(NO_HOME, *words, str(recipe), cwd=tmp_path, **gone)
    assert answer.status == 0, answer
    assert not (tmp_path / "~").exists()


def test_without_a_home_what_needs_the_cache_names_the_variable(tmp_path: Path) -> None:
    gone = dict.fromkeys(("HOME", "RECIPE_RUNNER_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"))
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", URL) + "")
    answer = python(NO_HOME, "fetch", "r.yaml", cwd=tmp_path, **gone)
    assert answer.status == 3, answer
    assert "Set HOME, or RECIPE_RUNNER_CACHE" in answer.err
    assert python(NO_HOME, "gc", "--downloads", cwd=tmp_path, **gone).status == 0
    tilde = RECIPE.replace("MODEL", "~nobody-at-all/model")
    (tmp_path / "r.yaml").write_text(tilde)
    answer = python(NO_HOME, "plan", "r.yaml", cwd=tmp_path, **gone)
    assert (answer.status, "error[E4" in answer.err) in ((0, False), (3, True), (1, True)), answer


WRONG = {
    "socks": ("ALL_PROXY", "socks5://127.0.0.1:1080", "pip install socksio"),
    "socks, in small letters": ("all_proxy", "socks5h://user:pw-of-mine@127.0.0.1:1080", "pip install socksio"),
    "no scheme of a proxy": ("HTTPS_PROXY", "ftp://127.0.0.1:1", "HTTPS_PROXY"),
    "no port": ("https_proxy", "http://127.0.0.1:pw-of-mine", "https_proxy"),
    "no host": ("HTTP_PROXY", "http://", "HTTP_PROXY"),
    "half an address": ("ALL_PROXY", "http://[::1", "ALL_PROXY"),
    "words": ("HTTPS_PROXY", "none of it", "HTTPS_PROXY"),
    "no certificates": ("SSL_CERT_FILE", "/nowhere/cacert.pem", "SSL_CERT_FILE"),
    "a file without certificates": ("SSL_CERT_FILE", str(ROOT / "README.md"), "SSL_CERT_FILE"),
    "no folder of certificates": ("SSL_CERT_DIR", "/nowhere", "SSL_CERT_DIR"),
    "an endpoint that is none": ("HF_ENDPOINT", "localhost:80:80", "HF_ENDPOINT"),
    "an endpoint without a host": ("HF_ENDPOINT", "https://", "HF_ENDPOINT"),
}


@pytest.mark.parametrize("address", [URL, "some/model"])
@pytest.mark.parametrize("case", WRONG)
def test_a_setting_of_connections_is_named(
    case: str, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    variable, value, said = WRONG[case]
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(variable, value)
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", address))
    for words in (["fetch"], ["validate", "--weights"]):
        answer = call(capsys, *words, str(tmp_path / "r.yaml"), "--format", "json")
        problems = errors(answer)
        assert (answer.status, problems[0]["code"]) == (3, "E447"), answer
        assert problems[0]["line"] == 3
        assert variable in problems[0]["message"]
        assert said in problems[0]["message"] + problems[0]["hint"]
        assert "pw-of-mine" not in answer.out + answer.err


ADDRESSES = (
    "https://[::1/x.safetensors", "https://host:abc/x.safetensors", "https://a..b/x.safetensors", "https://",
    "https:///x.safetensors", "https://host:99999/x.safetensors", "https://[zz]/x.safetensors", "https://-\u2603.x/x",
    f"https://{'a' * 70}.org/x.safetensors", "https://ho st/x.safetensors", "https://a%00b/x.safetensors",
    "https://::1/x.safetensors", "https://:80/x.safetensors", "https://\U0001f600.org/x.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_cannot_be(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace("MODEL", json.dumps(address, ensure_ascii=False)), encoding="utf-8")
    for words in (["plan"], ["validate", "--weights"], ["run"], ["lock"], ["fetch"]):
        answer = call(capsys, *words, str(path))
        assert answer.status == 1, answer
        assert "error[E405]" in answer.err + answer.out


PAGES = ("<html>log in</html>", "[]", "{}", '"text"', '{"sha": 5}', "null", "")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_in_the_place_of_the_hub(page: str, tmp_path: Path) -> None:
    """A portal answers everything with 200."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Portal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page.encode())

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", "some/model"))
        for words in (["lock"], ["fetch"], ["validate", "--weights"]):
            answer = python(
                "", *words, "r.yaml", "--format", "json", cwd=tmp_path, HF_HUB_OFFLINE=None,
                HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}", HF_HOME=str(tmp_path / "hf"),
            )  # fmt: skip
            assert (answer.status, errors(answer)[0]["code"]) in ((3, "E436"), (3, "E402"), (3, "E434")), answer
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("words", [["plan"], ["run"], ["validate"], ["lock"], ["runs", "list"], ["gc"], ["doctor"]])
def test_a_working_directory_that_was_deleted(words: list[str], recipe: Path, tmp_path: Path) -> None:
    code = (
        f"import os\nos.mkdir({str(tmp_path / 'gone')!r})\nos.chdir({str(tmp_path / 'gone')!r})\nos.rmdir(os.getcwd())"
    )
    paths = [str(recipe)] if words[0] in ("plan", "run", "validate", "lock") else []
    answer = python(code, *words, *paths, "--format", "json", cwd=tmp_path)
    (problem,) = errors(answer)
    assert (answer.status, problem["code"]) == (3, "E903"), answer
    assert "working directory" in problem["message"]


def test_without_file_locks_it_is_said_what_works(recipe: Path, tmp_path: Path) -> None:
    code = "import sys\nsys.modules['fcntl'] = None"
    path = str(recipe)
    for words in (["validate"], ["plan"], ["diff", path], ["export", "--to", "python"], ["validate", "--weights"]):
        answer = python(code, *words, path, cwd=tmp_path)
        assert answer.status == 0, answer
    assert python(code, "runs", "list", cwd=tmp_path).status == 0
    answer = python(code, "run", path, "--format", "json", cwd=tmp_path)
    problem = json.loads(answer.out)["problems"][0]
    assert (answer.status, problem["code"]) == (3, "E905"), answer
    assert "validate, plan, diff" in problem["hint"]


@pytest.mark.parametrize(
    ("raised", "code", "status"),
    [
        ("OSError(errno.EMFILE, 'Too many open files', 'a.txt')", "E903", 3),
        ("MemoryError()", "E703", 3),
        ("ImportError('libcudnn.so.9: cannot open', name='torch')", "E904", 3),
        ("RuntimeError('Failed to import diffusers.models because of:\\nlibgomp: cannot open')", "E904", 3),
        ("RuntimeError('a bug')", "E901", 4),
        ("ImportError('cannot import name x', name='recipe_runner.api')", "E901", 4),
        ("OSError('made by somebody')", "E901", 4),
        ("KeyError('a bug')", "E901", 4),
        ("RecursionError('a bug')", "E901", 4),
    ],
)
def test_what_is_a_bug_and_what_is_not(raised: str, code: str, status: int, tmp_path: Path) -> None:
    prepared = f"import errno\nimport recipe_runner.cli.schema as s\ndef broken(_):\n    raise {raised}\ns.run = broken"
    answer = python(prepared, "schema", "--format", "json", cwd=tmp_path)
    problems = json.loads(answer.out)["problems"]
    assert (answer.status, problems[0]["code"]) == (status, code), answer
    assert "Traceback" not in answer.err


def test_symbolic_links_that_lead_to_each_other(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    recipe.write_text(RECIPE.replace("MODEL", "a"))
    for words in (
        ["plan", str(recipe)],
        ["report", "a"],
        ["verify", "a"],
        ["validate", "a"],
        ["run", "a"],
        ["lock", "a"],
    ):
        answer = python("", *words, "--format", "json", cwd=tmp_path)
        assert answer.status in (1, 3), answer
        assert errors(answer)
    answer = python("", "report", str(recipe.parent), "--output", "a/page.html", "--format", "json", cwd=tmp_path)
    assert (answer.status, len(errors(answer))) == (3, 1), answer


def test_a_bug_whose_log_cannot_be_written(tmp_path: Path) -> None:
    code = (
        "import tempfile, recipe_runner.cli.schema as s\ndef broken(_):\n    raise KeyError(1)\ns.run = broken\n"
        "def full(*_, **__):\n    raise OSError(28, 'No space left on device')\ntempfile.NamedTemporaryFile = full"
    )
    answer = python(code, "schema", cwd=tmp_path)
    assert (answer.status, "error[E901]" in answer.err, "Traceback" in answer.err) == (4, True, False), answer


def test_the_process_itself_says_it(recipe: Path, tmp_path: Path) -> None:
    """As the case was reported: the real command, in a charset without the character."""
    recipe.write_text(
        RECIPE.replace("MODEL", str(DEMO)).replace("a red star", "\u00e9, bad: 1").replace("[{", "[{bad: 1, ")
    )
    answer = process("validate", str(recipe), cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert answer.status == 1, answer
    assert "\\u00e9" in answer.out


def test_a_package_whose_metadata_cannot_be_read(recipe: Path, tmp_path: Path) -> None:
    code = (
        "import recipe_runner.runtime.device.environment as m\nknown = m.version\n"
        "m.version = lambda name: None if name == 'tokenizers' else known(name)"
    )
    answer = python(code, "run", str(recipe), "--format", "json", "--quiet", cwd=tmp_path)
    assert answer.status == 0, answer
    (manifest,) = (tmp_path / "runs").glob("*/*/manifest.json")
    versions = json.loads(manifest.read_bytes())["environment"]["versions"]
    assert "tokenizers" not in versions
    assert "diffusers" in versions
