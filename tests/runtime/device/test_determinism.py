"""Levels set every switch and put back what was there; devices, failures and the self-test say what they are."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from support.handles import base_model, handle
from support.plain import our_picture

from recipe_runner.canonical import canonical
from recipe_runner.graph.execute import boundary
from recipe_runner.problems.problem import OperationFailed
from recipe_runner.record.environment import Environment
from recipe_runner.runtime.device.determinism import read_switches, reproducible
from recipe_runner.runtime.device.devices import choose_device, present_devices
from recipe_runner.runtime.device.environment import describe_environment, quiet
from recipe_runner.runtime.device.rng import global_rng_kept
from recipe_runner.runtime.device.selftest import selftest
from recipe_runner.runtime.live import LivePipeline

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def test_strict_turns_every_source_of_chance_off() -> None:
    with reproducible("strict"):
        assert read_switches() == {
            "deterministic_algorithms": True,
            "fill_uninitialized_memory": False,
            "cudnn_deterministic": True,
            "cudnn_benchmark": False,
            "matmul_precision": "ieee",
            "convolution_precision": "ieee",
            "fp16_reduced_reduction": False,
            "bf16_reduced_reduction": False,
        }


@pytest.mark.parametrize("level", ["seeded", "fast"])
def test_the_other_levels_set_the_defaults_back(level: Any) -> None:
    before = read_switches()
    with reproducible("strict"), reproducible(level):
        assert read_switches() == {
            "deterministic_algorithms": False,
            "fill_uninitialized_memory": True,
            "cudnn_deterministic": False,
            "cudnn_benchmark": False,
            "matmul_precision": "none",
            "convolution_precision": "tf32",
            "fp16_reduced_reduction": True,
            "bf16_reduced_reduction": True,
        }
    assert read_switches() == before


def test_threads_are_put_back_even_after_a_failure() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with reproducible("strict", before + 1):
            assert torch.get_num_threads() == before + 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_cublas_has_its_workspace_before_cuda_starts() -> None:
    LivePipeline("cpu", "strict")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")


def test_a_device_that_is_not_there_names_those_that_are() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == present_devices()[0].split(":")[0]
    with pytest.raises(OperationFailed) as caught:
        choose_device("cuda:97")
    (problem,) = caught.value.problems
    assert (problem.code, problem.message.startswith("there is no device `cuda:97`; this machine has")) == (
        "E701",
        True,
    )


def test_the_environment_is_json_and_says_what_was_used() -> None:
    found = describe_environment(CPU, "strict", 1)
    canonical(found)
    assert found["versions"]["torch"] == torch.__version__  # type: ignore[index,call-overload]
    assert found["determinism"]["threads"] == 1  # type: ignore[index,call-overload]
    assert Environment.model_validate(found).reproducibility == "strict"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "E703"),
        (MemoryError(), "E703"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), "E703"),
        (KeyError("what"), "E704"),
        (RuntimeError(), "E704"),
    ],
)
def test_what_libraries_raise_becomes_a_problem(raised: Exception, code: str) -> None:
    with pytest.raises(OperationFailed) as caught, boundary("denoise"):
        raise raised
    assert caught.value.problems[0].code == code
    assert caught.value.problems[0].message.startswith("denoise ")
    assert caught.value.__cause__ is raised


def test_an_operation_is_quiet_and_leaves_the_filters() -> None:
    before = list(warnings.filters)
    with quiet():
        warnings.warn("not for the user", FutureWarning, stacklevel=1)
    assert warnings.filters == before


def test_noise_from_the_global_generator_is_refused() -> None:
    state = torch.get_rng_state()
    with pytest.raises(OperationFailed) as caught, global_rng_kept(CPU, refuse=True):
        torch.randn(2)
    assert caught.value.problems[0].code == "E708"
    with global_rng_kept(CPU, seed=4):
        first = torch.randn(2)
    with global_rng_kept(CPU, seed=4):
        assert torch.equal(torch.randn(2), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_scheduler_whose_noise_no_seed_reaches_is_refused_at_level_strict(flux_folder: Path) -> None:
    # The Flux pipeline hands its scheduler no generator, and this setting makes it draw noise.
    base = base_model(flux_folder, scheduler_config={"stochastic_sampling": True})
    call = {"num_inference_steps": 2, "height": 16, "width": 16}
    with pytest.raises(OperationFailed) as caught:
        our_picture(LivePipeline("cpu", "strict", 1), handle(base), "a", 1, **call)
    assert caught.value.problems[0].code == "E708"
    pictures = [our_picture(LivePipeline("cpu", "seeded", 1), handle(base), "a", 1, **call) for _ in range(2)]
    assert np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize(("part", "name"), [("unet", "denois"), ("vae", "decod")])
def test_numbers_that_are_not_finite_stop_the_image(part: str, name: str, sd15_folder: Path) -> None:
    live, wanted = LivePipeline("cpu", "strict", 1), handle(base_model(sd15_folder))
    model = getattr(live.require(wanted), part)
    layer = model.conv_out if part == "unet" else model.decoder.conv_out
    layer.bias = torch.nn.Parameter(torch.full_like(layer.bias, float("nan")))
    with pytest.raises(OperationFailed) as caught:
        our_picture(live, wanted, "a", 0, num_inference_steps=1)
    (problem,) = caught.value.problems
    assert (problem.code, problem.message.startswith(name)) == ("E705", True)


@pytest.mark.parametrize(
    ("argument", "hint"), [("num_inference_step", "Did you mean `num_inference_steps`?"), ("generator", None)]
)
def test_an_argument_that_the_call_does_not_take(argument: str, hint: str | None, sd15_folder: Path) -> None:
    live, wanted = LivePipeline("cpu", "strict", 1), handle(base_model(sd15_folder))
    conditioning = live.encode(wanted, {"prompt": "a"})
    with pytest.raises(OperationFailed) as caught:
        live.denoise(wanted, [conditioning], [0], {argument: 3})
    (problem,) = caught.value.problems
    assert problem.code == "E706"
    assert hint in (None, problem.hint)


def test_words_that_no_encoder_reads_are_told(sd15_folder: Path) -> None:
    live, wanted = LivePipeline("cpu", "strict", 1), handle(base_model(sd15_folder))
    assert live.encode(wanted, {"prompt": "a red circle"}).warnings == ()
    (warning,) = live.encode(wanted, {"prompt": "a " * 18 + "red pizza bear"}).warnings
    assert (warning.code, warning.severity) == ("W751", "warning")
    assert warning.message == "prompt: text encoder reads 20 tokens; it does not see `red pizza bear`"


def test_the_self_test_makes_the_same_bits_twice() -> None:
    result = selftest("cpu")
    assert result.identical
    assert result.seconds > 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_self_test_makes_the_same_bits_twice_on_cuda() -> None:
    assert selftest("cuda").identical
