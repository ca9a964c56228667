"""The layers of pyproject.toml hold, and their contracts notice what they are there for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = [
    "benchmarking",
    "proposal",
    "tuning",
    "stages",
    "reporting",
    "timing",
    "serving",
    "export",
    "distillation",
    "ensemble",
    "training",
    "models",
    "cleaning",
    "data",
    "evaluation",
    "pages",
]
FOUNDATIONS = ["study", "study_reading", "workspace", "tracking", "machine", "seeds", "processes"]


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter with the contracts in `root` on the package in `root/src`."""
    main = "from importlinter.cli import lint_imports_command as main; main()"
    return subprocess.run(
        [sys.executable, "-c", main, "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def skeleton(repository: Path, tmp_path: Path) -> Path:
    """An empty package with the project's layout and the project's contracts."""
    shutil.copy(repository / "pyproject.toml", tmp_path)
    package = tmp_path / "src" / "decant"
    for name in PACKAGES:
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (tmp_path / "src" / "toy_vehicles").mkdir()
    (tmp_path / "src" / "toy_vehicles" / "__init__.py").touch()
    for name in ["__init__", "__main__", "budget", "cores", "errors", "scripts", "study_files", *FOUNDATIONS]:
        (package / f"{name}.py").touch()
    return tmp_path


def test_no_import_of_the_project_breaks_a_layer(repository: Path) -> None:
    result = lint(repository)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_module_may_import_the_errors(skeleton: Path) -> None:
    for name in [*(f"{package}/__init__" for package in PACKAGES), *FOUNDATIONS]:
        (skeleton / f"src/decant/{name}.py").write_text("import decant.errors\n")
    result = lint(skeleton)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("errors", "study"),
        ("study", "data"),
        ("study_files", "study"),
        ("workspace", "study"),
        ("tracking", "workspace"),
        ("machine", "tracking"),
        ("seeds", "study"),
        ("data", "models"),
        ("cleaning", "models"),
        ("cleaning", "training"),
        ("models", "training"),
        ("training", "ensemble"),
        ("training", "distillation"),
        ("ensemble", "distillation"),
        ("export", "training"),
        ("export", "reporting"),
        ("reporting", "training"),
        ("reporting", "stages"),
        ("export", "timing"),
        ("timing", "reporting"),
        ("export", "serving"),
        ("serving", "timing"),
        ("pages", "data"),
        ("data", "evaluation"),
        ("evaluation", "data"),
        ("stages", "tuning"),
        ("stages", "benchmarking"),
    ],
)
def test_an_import_against_the_layers_is_found(skeleton: Path, importer: str, imported: str) -> None:
    folder = skeleton / "src" / "decant"
    file = folder / importer / "planted.py" if (folder / importer).is_dir() else folder / f"{importer}.py"
    file.write_text(f"import decant.{imported}\n")
    result = lint(skeleton)
    assert result.returncode == 1
    assert f"decant.{imported}" in result.stdout


def test_a_module_without_a_layer_is_found(skeleton: Path) -> None:
    (skeleton / "src" / "decant" / "misc.py").touch()
    result = lint(skeleton)
    assert result.returncode == 1
    assert "misc" in result.stdout
