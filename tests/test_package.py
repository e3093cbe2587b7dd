"""What is shipped: the wheel, installed into an empty environment without the checkout, works from an empty folder."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tracked tree without touching the network."""
    source = tmp_path_factory.mktemp("source") / "tree"
    ignore = shutil.ignore_patterns(".venv", ".git", "__pycache__", "dist", "*.egg-info", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, source, ignore=ignore)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=source, check=True, capture_output=True
    )
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment with the wheel installed, and of the checkout's environment only the third-party packages."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    import numpy

    third_party = Path(numpy.__file__).parent.parent
    for entry in third_party.iterdir():  # links, one by one, so that the checkout's editable install stays outside
        if not entry.name.startswith(("_metarl", "__editable__", "metarl_advisor", "advisor", "reference_impls")):
            if not (site / entry.name).exists() and entry.suffix != ".pth":
                (site / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [python.parent / "advisor", *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )


def test_the_wheel_holds_rules_weights_and_reference_files(wheel: Path) -> None:
    """Rules, the reader's weights, the templates and the reference implementations travel in the wheel, and no test does."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("advisor/_rules/settings.toml", "advisor/reader/weights/quick.safetensors", "reference_impls/maml.py"):
        assert name in names
    assert "advisor/reader/weights/LICENSE-APACHE-2.0" in names
    assert not any("/weights/training/" in name for name in names)  # 43 MB that only the training needs
    assert any(n.startswith("advisor/starter/templates/") for n in names)
    assert not any(n.startswith(("tests/", "rules/", "benchmarks/")) for n in names)


def test_the_installed_package_explains_and_writes(installed: Path, tmp_path: Path) -> None:
    """Installed from the wheel, `explain` and `new` work in an empty folder, from the wheel's own files."""
    where = subprocess.run(
        [installed, "-c", "import advisor.resources as r; print(r.rules_folder(), r.reference_folder())"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert str(installed.parent.parent) in where and str(ROOT) not in where
    explained = run(
        installed, tmp_path, "explain", "Trained on ten cities, it drives in those same ten cities and no other."
    )
    assert explained.returncode == 0 and "What was understood" in explained.stdout, explained.stderr
    written = run(installed, tmp_path, "new", "project", "--family", "rl2")
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "project" / "README.md").is_file()
    assert (
        next((tmp_path / "project").rglob("rl2.py")).read_bytes() == (ROOT / "reference_impls" / "rl2.py").read_bytes()
    )


def test_the_installed_reader_says_where_it_can_be_trained(installed: Path, tmp_path: Path) -> None:
    """The wheel leaves out what the training starts from: one clear line and no traceback."""
    done = subprocess.run(
        [installed, "-m", "advisor.reader", "train", "--out", "made"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and "train from a checkout" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_the_installed_package_works_beside_a_checkout(installed: Path, tmp_path: Path) -> None:
    """A run on a cluster or a resumed one may mix wheel and checkout: both have the same version, whatever a wheel leaves out."""
    asked = "from advisor.executors import folder_version; print(folder_version(None))"
    said = [
        subprocess.run([python, "-c", asked], cwd=folder, capture_output=True, text=True, check=True).stdout
        for python, folder in ((installed, tmp_path), (sys.executable, ROOT))
    ]
    assert said[0] == said[1]


def test_the_checkout_reads_its_own_rules() -> None:
    """In a checkout the rules beside the package are read, not the copy that an editable install leaves behind."""
    from advisor.resources import rules_folder

    assert rules_folder() == ROOT / "rules"


def test_the_wheel_is_pure(wheel: Path) -> None:
    """One wheel for every platform."""
    assert wheel.name.endswith("-py3-none-any.whl")
