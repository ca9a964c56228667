"""research/tune_teacher.py: what a person gets wrong, before anything is trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

ExitCode = Callable[..., int]
SCRIPT = "research/tune_teacher.py"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--teacher: convnext, probe"),
        (["--teacher", "convnet"], "did you mean convnext"),
        (["--teacher", "convnext", "--space", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_a_mistake_ends_in_one_line_that_says_what_to_do(
    exit_code_of: ExitCode, caplog: pytest.LogCaptureFixture, tmp_path: Path, words: list[str], said: str
) -> None:
    assert exit_code_of(SCRIPT, "--study", "micro", "--runs", tmp_path / "runs", *words) == 2
    assert said in caplog.text


@pytest.mark.parametrize("words", [["--trials", "0"], ["--time-limit", "soon"]])
def test_a_limit_that_is_none_ends_with_code_2(
    exit_code_of: ExitCode, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert exit_code_of(SCRIPT, "--study", "micro", "--teacher", "convnext", *words) == 2
    assert words[0] in capsys.readouterr().err
