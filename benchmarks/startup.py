"""Start of the light commands: CPU seconds of whole processes; the floor is Python that starts and ends, and the imports of typer and rich."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CASE = "startup"
UNIT = "CPU seconds of `advisor --help`, whole process"
TIMES = 5
COMMANDS = {
    "advisor --version": ["-m", "advisor", "--version"],
    "advisor explain, facts alone": ["-m", "advisor", "explain", "s.json", "--json"],
    "advisor classify, facts alone": ["-m", "advisor", "classify", "s.json", "--format", "jsonl"],
    "advisor explain, a text": ["-m", "advisor", "explain", "A robot arm meets new objects each day.", "--json"],
    "floor: python -c pass": ["-c", "pass"],
    "floor: import typer, rich.console": ["-c", "import typer, rich.console"],
}


def run(seed: int) -> dict[str, Any]:
    """The best of five starts each, after one that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        facts = {"training_tasks": "distribution", "test_tasks": "shifted"}
        (Path(folder) / "s.json").write_text(json.dumps({"facts": facts}))
        figure = seconds(["-m", "advisor", "--help"], folder)
        reference = {name: seconds(arguments, folder) for name, arguments in COMMANDS.items()}
    return {"figure": figure, "cpu_seconds": figure, "settings": {"starts": TIMES}, "reference": reference}


def seconds(arguments: list[str], folder: str) -> float:
    """CPU seconds of a Python process, the least of several."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]),
    }
    found = []
    for _ in range(TIMES + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found[1:])
