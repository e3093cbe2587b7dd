"""Shared by all tests: one thread for torch, and the command line as a user runs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def advisor(tmp_path: Path) -> Run:
    """Runs `advisor ...` in an empty folder and returns the finished process."""

    def run(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "advisor", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "100", "PYTHONUTF8": "1", **env},
            timeout=600,
        )

    return run
