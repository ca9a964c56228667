"""The bundle: what a study hands in, its README, programs that run by themselves, and care for a user's files."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decant.errors import UserError
from decant.stages.support import bundle as bundle_module
from decant.stages.support.bundle import imported, readme, write_bundle
from decant.study import documented
from decant.study_reading import load_study


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gathered")
    for name in ("REPORT.md", "submission.csv", "report.html", "benchmarks/precision/metrics.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def bundle(chain: Any, gathered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(chain.experiment, gathered, gathered, folder)
    return folder


def test_the_readme_links_a_file_for_each_demand_and_every_link_exists(bundle: Path) -> None:
    text = (bundle / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {
        "student.onnx",
        "classes.txt",
        "preprocessing.json",
        "distill/verify_onnx.py",
        "commands.sh",
        "study.yaml",
    } <= set(links)
    assert {"report.html", "results/REPORT.md", "results/submission.csv"} <= set(links)
    assert all((bundle / link).exists() for link in links)
    assert "slides" not in text  # none were made


@pytest.mark.parametrize("may_be_shared", [False, True])
def test_images_that_may_not_be_shared_are_mentioned(chain: Any, may_be_shared: bool) -> None:
    study = chain.experiment.study
    data = study.data.model_copy(update={"may_be_shared": may_be_shared})
    experiment = replace(chain.experiment, study=study.model_copy(update={"data": data}))
    assert ("only to those who may see them" in readme(experiment, {})) != may_be_shared


def test_the_commands_are_a_shell_script_with_every_script(bundle: Path) -> None:
    subprocess.run(["sh", "-n", bundle / "commands.sh"], check=True)
    text = (bundle / "commands.sh").read_text(encoding="utf-8")
    assert all(name in text for name in ("clean_data", "train_teacher", "combine", "make_soft_labels", "export_onnx"))


def test_the_commands_run_the_study_of_the_folder(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "python").write_text('#!/bin/sh\necho "$1 $3"\n', encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    run = subprocess.run(["sh", bundle / "commands.sh"], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[0] == f"distill/run.py {bundle / 'study.yaml'}"


def without_names(study: dict[str, Any]) -> dict[str, Any]:
    """All values of a study but the names of the files that they came from."""
    sections = [study["ensemble"], study["student"], *study["teachers"].values()]
    return (
        {**study, "extends": ""}
        | {"sections": [{**section, "recipe": ""} for section in sections]}
        | dict.fromkeys(("ensemble", "student", "teachers"))
    )


def test_the_study_of_the_folder_is_the_study_that_was_run(chain: Any, bundle: Path) -> None:
    read, ran = load_study(str(bundle / "study.yaml")), chain.experiment.study
    assert without_names(documented(read)) == without_names(documented(ran))


@pytest.mark.parametrize("offered", [False, True])
def test_an_int8_file_is_handed_in_only_if_it_is_offered(
    chain: Any, gathered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: bool
) -> None:
    monkeypatch.setattr(bundle_module, "is_offered", lambda folder: offered)
    files = write_bundle(chain.experiment, gathered, gathered, tmp_path / "bundle")
    assert ("student_int8.onnx" in files) == offered
    assert ("student_int8.onnx" in (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")) == offered


def test_the_verification_runs_from_the_folder_alone(bundle: Path, data_root: Path) -> None:
    """With Python's path emptied of this checkout, so that only the modules in the folder are found."""
    program = (
        "import runpy, sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
        f"sys.argv = ['verify', 'student.onnx', '--data', {str(data_root / 'shapes' / 'train')!r}]; "
        "runpy.run_path('distill/verify_onnx.py', run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-I", "-c", program], cwd=bundle, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"passed\s+top1", run.stdout)


def test_a_users_file_is_never_overwritten(chain: Any, gathered: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="not written here"):
        write_bundle(chain.experiment, gathered, gathered, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_bundle_is_written_again_without_what_is_gone(chain: Any, gathered: Path, bundle: Path) -> None:
    (gathered / "submission.csv").unlink()
    write_bundle(chain.experiment, gathered, gathered, bundle)
    assert not (bundle / "results" / "submission.csv").exists()
    assert "submission" not in (bundle / "README.md").read_text(encoding="utf-8")


def test_modules_are_found_with_their_packages_and_without_lazy_imports(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy\nfrom decant.export.runtime import OnnxClassifier\ndef f():\n    import decant.timing\n"
    )
    names = {name for name, _ in imported(script)}
    assert {"decant", "decant.export", "decant.export.runtime"} <= names
    assert not {name for name in names if name.startswith(("decant.timing", "numpy", "decant.export.runtime."))}
