"""Every script has --help with an example, and a user's mistake gives one line with the mend."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from decant.stages.support.command import run
from decant.study_files import ROOT

FOLDERS = ("research", "ensembles", "distill", "benchmarks")
SCRIPTS = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*.py"))
WITHOUT_A_STUDY = (
    "benchmarks/soft_labels.py",
    "benchmarks/cleaning.py",
    "benchmarks/cold_start.py",
    "benchmarks/export_time.py",
    "benchmarks/predict.py",
    "benchmarks/preprocessing.py",
    "benchmarks/documents.py",
    "benchmarks/serving.py",
    "benchmarks/tables.py",
    "benchmarks/training.py",
    "distill/predict.py",
    "distill/serve.py",
    "distill/verify_onnx.py",
    "research/draw_toy_vehicles.py",
)
At = Callable[[str], ModuleType]


@pytest.mark.parametrize("path", SCRIPTS)
def test_help_explains_the_script_with_an_example(path: str, script_at: At, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        script_at(path).main(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    purpose = (script_at(path).__doc__ or "").strip().splitlines()[0]
    assert purpose.split(":")[0] in told.replace("\n", " ")
    assert "example" in told and f"python {path}" in told


@pytest.mark.parametrize("path", [path for path in SCRIPTS if path not in WITHOUT_A_STUDY])
def test_help_lists_the_keys_of_a_study(path: str, script_at: At, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script_at(path).main(["--help"])
    told = capsys.readouterr().out
    for key in ("data.source", "teachers.NAME.epochs", "ensemble.pooling", "student.temperature", "--wandb"):
        assert key in told


@pytest.mark.parametrize("path", SCRIPTS)
def test_an_option_that_does_not_exist_ends_with_code_2(
    path: str, script_at: At, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        script_at(path).main(["--stduy", "micro"])
    assert ended.value.code == 2
    assert "--stduy" in capsys.readouterr().err


def mistake(script_at: At, caplog: pytest.LogCaptureFixture, path: str, *words: str) -> str:
    """The one line in which a call of the script ends."""
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as ended:
        run(script_at(path).main, list(words))
    assert ended.value.code == 2
    (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    message = error.getMessage()
    assert message.startswith("error: ") and "\n" not in message and error.exc_info is None
    return message


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    return ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), "--wandb", "disabled"]


def test_an_unknown_study_lists_the_known_ones(
    script_at: At, caplog: pytest.LogCaptureFixture, places: list[str]
) -> None:
    message = mistake(script_at, caplog, "distill/run.py", "--study", "mikro", *places)
    assert "no study 'mikro'" in message and "micro" in message.replace("mikro", "")


def test_the_report_of_a_study_that_has_not_been_run_starts_no_run(
    script_at: At, caplog: pytest.LogCaptureFixture, places: list[str], tmp_path: Path
) -> None:
    message = mistake(script_at, caplog, "benchmarks/report.py", "--study", "micro", *places)
    assert "micro has not been run here: python distill/run.py --study micro" in message
    assert not (tmp_path / "runs").exists()


def test_an_unknown_key_names_the_nearest(script_at: At, caplog: pytest.LogCaptureFixture, places: list[str]) -> None:
    words = ["--study", "micro", "--set", "teachers.convnext.epoch=3", *places]
    message = mistake(script_at, caplog, "research/train_teacher.py", *words)
    assert "teachers.convnext.epoch" in message and "did you mean" in message


def test_a_value_of_the_wrong_kind_names_its_key(
    script_at: At, caplog: pytest.LogCaptureFixture, places: list[str]
) -> None:
    words = ["--study", "micro", "--set", "student.epochs=many", *places]
    assert "student.epochs" in mistake(script_at, caplog, "distill/train_student.py", *words)


def test_an_unknown_teacher_names_the_known_ones(
    script_at: At, caplog: pytest.LogCaptureFixture, places: list[str]
) -> None:
    words = ["--study", "micro", "--teacher", "vit", *places]
    assert "convnext, probe" in mistake(script_at, caplog, "research/train_teacher.py", *words)


@pytest.mark.parametrize(
    ("study", "missing"),
    [
        ("vehicle_dataset", "vehicle_dataset.zip"),
        ("traffic_vehicles", "traffic_vehicles"),
        ("cars_make", "cars.zip"),
        ("cifar10", "cifar10"),
    ],
)
def test_missing_data_say_what_where_and_how_to_point_at_it(
    script_at: At, caplog: pytest.LogCaptureFixture, places: list[str], tmp_path: Path, study: str, missing: str
) -> None:
    words = ["--study", study, "--data", str(tmp_path / "nowhere"), *places]
    message = mistake(script_at, caplog, "research/clean_data.py", *words)
    assert missing in message and str(tmp_path / "nowhere") in message and "DECANT_DATA" in message


@pytest.mark.parametrize(
    ("photo", "said"), [("missing.jpg", "not a file"), (".", "not a file"), ("notes.txt", "not an image")]
)
def test_a_photo_that_is_none_is_named(
    script_at: At, caplog: pytest.LogCaptureFixture, tmp_path: Path, photo: str, said: str
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    words = ["--photo", str(tmp_path / photo), "--out", str(tmp_path)]
    message = mistake(script_at, caplog, "benchmarks/preprocessing.py", *words)
    assert str(tmp_path / photo) in message and said in message


@pytest.mark.parametrize(
    ("path", "option"),
    [
        ("benchmarks/export_time.py", "--images"),
        ("benchmarks/preprocessing.py", "--images"),
        ("benchmarks/preprocessing.py", "--calls"),
        ("benchmarks/cold_start.py", "--processes"),
        ("benchmarks/training.py", "--steps"),
    ],
)
@pytest.mark.parametrize("count", ["0", "many"])
def test_a_count_below_one_ends_with_code_2(
    path: str, option: str, count: str, script_at: At, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        script_at(path).main([option, count, "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert f"argument {option}: '{count}' is not a whole number above 0" in capsys.readouterr().err


def test_a_mistake_on_the_command_line_shows_one_line_and_no_traceback(tmp_path: Path) -> None:
    """In a process of its own, from another folder: what a person sees."""
    words = [sys.executable, str(ROOT / "distill" / "run.py"), "--study", "mikro", "--runs", "runs"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: no study 'mikro'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--plan", "--dry-run"])
def test_the_wait_for_the_libraries_is_announced_before_they_are_loaded(option: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch is loaded')", encoding="utf-8")
    (tmp_path / "pandas.py").write_text("raise SystemExit('pandas is loaded')", encoding="utf-8")
    script = ROOT / "distill" / "run.py"
    program = (
        f"import runpy, sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT / 'src')!r}]; "
        f"sys.argv = [{str(script)!r}, {option!r}]; runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    announced, loaded = ran.stderr.splitlines()[:2]
    assert announced.startswith("loading the libraries")
    assert loaded.endswith("is loaded")
