"""Credentials in addresses: refused from the text alone, and printed by nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command import ROOT, call

from recipe_runner.lock.file import lock_from
from recipe_runner.problems.credentials import credential_in, is_credential_name, masked
from recipe_runner.problems.place import Place
from recipe_runner.problems.problem import Problem, RecipeRunnerError

SECRET = "S3CRET0123456789"  # noqa: S105
TOKEN = "hf_" + "abcdefghij" * 4
NAMES = ("token", "access_token", "private_token", "job_token", "hf_token", "civitai_token", "access-token", "api_key",
         "apikey", "apiKey", "key", "X-API-Key", "password", "passwd", "secret", "client_secret", "auth",
         "authorization", "Authorization", "sig", "Signature", "X-Amz-Signature", "X-Amz-Security-Token",
         "X-Amz-Credential", "AWSAccessKeyId", "X-Goog-Signature", "q-signature", "OSSAccessKeyId", "jwt",
         "sessionId", "%74oken")  # fmt: skip
HARMLESS = ("type", "format", "size", "fp", "X-Amz-Expires", "X-Amz-Date", "X-Amz-SignedHeaders", "Expires", "dl",
            "raw", "ref", "rlkey", "resourcekey", "modelVersionId", "author", "tokenizer", "design",
            "versionId")  # fmt: skip
ADDRESSES = (
    *(f"https://host.example/a.safetensors?type=Model&{name}={SECRET}" for name in NAMES),
    f"https://me:{SECRET}@host.example/a.safetensors",
    f"http://me:{SECRET}@host.example/a.safetensors",
    f"https://{SECRET}@host.example/a.safetensors",
    f"https://host.example/a.safetensors#access_token={SECRET}",
    f"https://host.example/a;token={SECRET}/a.safetensors",
    f"https://host.example/a.safetensors?t={TOKEN}",
    f"https://host.example/{TOKEN}/a.safetensors",
    f"https://host.example/get?url=https%3A%2F%2Fother.example%2Fa%3Ftoken%3D{SECRET}",
    f"host.example/a.safetensors?token={SECRET}",
)


def recipe(**parts: str) -> str:
    lines = {
        "recipe": "1",
        "name": "t",
        "base": f"{{model: {ROOT}/recipes/demo/model, dtype: float32}}",
        "prompts": "[{prompt: a red star}]",
        **parts,
    }
    return "".join(f"{name}: {text}\n" for name, text in lines.items())


def told(capsys: pytest.CaptureFixture[str], text: str, *words: str) -> str:
    """What `validate` says of a recipe in all formats; it refuses it in each."""
    Path("r.yaml").write_text(text)
    said = ""
    for form in ("human", "json", "github"):
        answer = call(capsys, "validate", "r.yaml", "--format", form, *words)
        assert answer.status == 1
        assert "E439" in answer.out
        said += answer.out + answer.err
    return said


@pytest.mark.parametrize("address", ADDRESSES)
def test_validate_refuses_a_secret_in_an_address_and_prints_it_nowhere(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(capsys, recipe(adapters=f'{{o: {{kind: lora, model: "{address}", scale: what}}}}'))
    assert SECRET not in said
    assert TOKEN not in said
    # The line is shown, and the caret stands where it did.
    assert "host.example" in said


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_known_to_be_no_secret_is_let_pass(name: str) -> None:
    assert not is_credential_name(name)
    assert credential_in(f"https://host.example/a.safetensors?{name}=1") is None


@pytest.mark.parametrize(
    "text",
    [
        "a red star, 50% off? token=blue",
        "https://host.example/@user/a.safetensors",
        "mail me@host.example / or not",
        "https://civitai.com/api/download/models/1?type=Model&format=SafeTensor&size=pruned&fp=fp16",
        "org/name",
    ],
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert credential_in(text) is None
    assert masked(text) == text


ADDRESS = f"https://host.example/a?token={SECRET}"


@pytest.mark.parametrize(
    "parts",
    [
        {"description": f"from {ADDRESS}"},
        {"prompts": f'[{{prompt: "see {ADDRESS}"}}]'},
        {"adapters": f'{{o: {{kind: lora, model: a/b}}}}\nmatrix: {{adapters.o.model: [a/b, "{ADDRESS}"]}}'},
        {"seeds": f"[1]  # seen on {ADDRESS}"},
        {"description": f"|\n  two\n  lines {ADDRESS}"},
        {"unknown": f'"{ADDRESS}"'},
        {f'"{ADDRESS}"': "1"},
    ],
)
def test_wherever_it_stands(parts: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert SECRET not in told(capsys, recipe(**parts))


def test_what_is_escaped_a_thousand_times_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"https://h/x?a=%{'25' * 2000}2F"
    Path("r.yaml").write_text(recipe(description=f'"{address}"'))
    assert call(capsys, "validate", "r.yaml").status == 0


def test_an_override_is_checked_like_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert SECRET not in told(capsys, recipe(), "--set", f"base.model={ADDRESS}")


def test_a_broken_text_is_shown_masked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(recipe(adapters=f'{{o: {{kind: lora, model: "{ADDRESS}", x: [}}}}'))
    answer = call(capsys, "validate", "r.yaml")
    assert answer.status == 1
    assert "E104" in answer.out
    assert SECRET not in answer.out + answer.err


def test_a_lock_holds_none(capsys: pytest.CaptureFixture[str]) -> None:
    file = {"name": "a", "size": 1, "sha256": "0" * 64}
    lock = {"lock": 1, "sources": {"adapters.o": {"address": ADDRESS, "files": [file]}}, "libraries": {}}
    with pytest.raises(RecipeRunnerError) as caught:
        lock_from(json.dumps(lock).encode(), "r.lock.yaml")
    assert [problem.code for problem in caught.value.problems] == ["E439"]
    assert SECRET not in str(caught.value)
    Path("r.lock.yaml").write_text(json.dumps(lock))
    said = told(capsys, recipe())
    assert "r.lock.yaml:1:" in said
    assert SECRET not in said


def test_a_problem_masks_what_it_is_made_of() -> None:
    said = f"{ADDRESS}&x=1 and http://me:{SECRET}@host/x and {TOKEN}"
    problem = Problem(code="E405", message=said, hint=said, place=Place(said, source_line=said))
    for text in (problem.message, problem.hint, problem.place.source_line, problem.path):
        assert SECRET not in text
        assert TOKEN not in text
        assert len(text) == len(said)
        assert "&x=1 and http://" in text


def test_the_password_of_an_endpoint_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from recipe_runner.sources.hub import client as hub

    for endpoint in (f"http://me:{SECRET}@127.0.0.1:9", f"me:{SECRET}@127.0.0.1:9"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(RecipeRunnerError) as caught:
            hub.look_up("org/name", None)
        assert SECRET not in str(caught.value)
        assert not any(SECRET in problem.hint for problem in caught.value.problems)
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "text",
    [
        f"a star, {ADDRESS}\nSteps: 2, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 64x64, Model: m",
        f"a star\nSteps: 2, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 64x64, Model: {ADDRESS}",
        f"a star\nSteps: 2, Sampler: Euler, CFG scale: 5, Seed: 1, Size: 64x64, Model: https://h/m;token={SECRET}",
        f"a star <lora:https://h/l?token={SECRET}:1>\nSteps: 2, Sampler: Euler, CFG scale: 5, Seed: 1, Model: m",
    ],
)
def test_an_import_writes_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("parameters.txt").write_text(text)
    for form in ("human", "json"):
        answer = call(capsys, "import", "parameters.txt", "--format", form)
        assert SECRET not in answer.out + answer.err
    assert call(capsys, "import", "parameters.txt", "--output", "r.yaml").status in (0, 1, 3)
    assert not Path("r.yaml").is_file() or SECRET not in Path("r.yaml").read_text()
