"""The command `decant`: its list, its scripts, and mistakes."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from decant import __main__ as command
from decant import scripts
from decant.errors import UserError
from decant.scripts import COMMANDS, script_path
from decant.study_files import ROOT


def test_the_installed_command_is_this_function() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"decant": "decant.__main__:main"}
    assert callable(command.main)


def test_help_lists_every_command_with_what_its_script_does(capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--help"])
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()[2:]]
    assert [name for name, _ in lines] == list(COMMANDS)
    asked = "run clean train combine soft-labels distill export verify predict plan report review".split()
    assert set(asked) <= set(COMMANDS)
    assert dict(lines)["clean"].startswith("Examine")


@pytest.mark.parametrize("name", [name for name, (path, *_) in COMMANDS.items() if (ROOT / path).is_file()])
def test_a_command_is_its_script(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(command.runpy, "run_path", lambda path, run_name: ran.append([path, *sys.argv[1:]]))
    monkeypatch.setattr(sys, "argv", ["decant"])
    command.main([name, "--study", "micro"])
    path, *options = COMMANDS[name]
    assert ran == [[str(ROOT / path), *options, "--study", "micro"]]


def test_an_unknown_command_names_the_nearest(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["trian"])
    assert ended.value.code == 2
    assert "did you mean train?" in caplog.text


def test_without_a_checkout_the_command_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pip install -e"):
        script_path("distill/run.py", tmp_path)
    assert scripts.script_path("distill/run.py") == ROOT / "distill" / "run.py"


def test_the_list_needs_no_heavy_package() -> None:
    lines = ["import sys", "from decant.__main__ import main", "main(['--help'])", "print('torch' in sys.modules)"]
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "False"
