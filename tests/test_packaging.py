"""The wheel holds everything and works where no checkout is."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ("targets", "kernels", "templates")
MODEL = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    (path,) = out.glob("edgec-*-py3-none-any.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the wheel in it; dependencies come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(folder)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    return folder


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    """The output of the installed `edgec`, without a network."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    command = [sys.executable, str(installed / "bin" / "edgec"), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout


def test_contents(wheel: Path) -> None:
    """Data folders file by file, the model, the licence; no tests, no caches; below 10 MB."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in DATA:
        files = {p for p in (ROOT / folder).rglob("*") if p.is_file() and not p.name.startswith(".")}
        want = {f"edgec/_data/{p.relative_to(ROOT).as_posix()}" for p in files}
        assert want, f"{folder}/ is empty"
        assert want <= names, sorted(want - names)
    assert {f"edgec/models/stories/{name}" for name in MODEL} <= names
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "edgec").rglob("*.py")}
    assert modules <= names, sorted(modules - names)
    assert any(name.endswith("/LICENSE") for name in names)
    stray = [n for n in names if "__pycache__" in n or not n.startswith(("edgec/", "edgec-"))]
    assert not stray, stray
    assert wheel.stat().st_size < 10_000_000


def test_every_package_says_what_it_is() -> None:
    """Each folder with Python files is a package with a docstring."""
    for folder in {p.parent for p in (ROOT / "edgec").rglob("*.py")}:
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert text.startswith('"""'), folder


def test_help_and_targets(installed: Path, tmp_path: Path) -> None:
    """The console script starts, and the data folders are found in the wheel rather than in a checkout."""
    assert "build" in run(installed, tmp_path, "--help")
    listed = run(installed, tmp_path, "target", "list")
    for target in (ROOT / "targets").glob("*.toml"):
        assert target.stem in listed
    where = run_python(installed, tmp_path, "import edgec.resources as r; print(r.folder('kernels'))")
    assert where.startswith(str(installed.resolve()))


@pytest.mark.slow
def test_build_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The embedded model compiles from the installed wheel alone."""
    run(installed, tmp_path, "build", "-o", "out")
    assert (tmp_path / "out" / "project" / "model.c").is_file()


def run_python(installed: Path, cwd: Path, code: str) -> str:
    """The output of a line of Python that imports the installed package."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True, text=True).stdout
