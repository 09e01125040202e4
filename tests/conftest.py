"""Guards around every test: no network but loopback, no writes to the home folder or to real caches."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Before anything imports huggingface_hub or torch, which read these once: nothing may reach out, the thread count
# decides float bits, and no test may read or write this person's caches.
_caches = tempfile.mkdtemp(prefix="recipe-runner-tests-")
if "PYTEST_XDIST_WORKER" not in os.environ:
    # Whatever a test, or a process that it starts, leaves in the temporary folder goes with ours. A worker of
    # pytest-xdist inherits the folder. pytest's own folders stay where they are, for those who look at a failure.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = os.path.join(_caches, "tmp")  # noqa: PTH118
    os.mkdir(tempfile.tempdir)  # noqa: PTH102
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=os.path.join(_caches, "huggingface"),  # noqa: PTH118 - a plain string for the environment
    HF_HUB_DISABLE_TELEMETRY="1",
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="PASSIVE",
    RECIPE_RUNNER_CACHE=os.path.join(_caches, "recipe_runner"),  # noqa: PTH118
    XDG_CACHE_HOME=os.path.join(_caches, "xdg"),  # noqa: PTH118
    HOME=os.path.join(_caches, "home"),  # noqa: PTH118
)
os.makedirs(os.environ["HOME"], exist_ok=True)  # noqa: PTH103


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(_caches, ignore_errors=True)


_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every connection to another machine raise."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOOPBACK:
            message = f"a test tried to reach {address}"
            raise AssertionError(message)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty working directory."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
