"""One list of pins for pip, conda and CI; a Makefile whose targets print what they do."""

import os
import re
import shutil
import stat
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LEFT_OUT = re.compile(r"nvidia-|cuda-|triton$")  # torch asks for these on Linux; elsewhere they do not exist
MARKER_VALUES = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    "darwin": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    "win32": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.fixture(scope="module")
def lock(repository: Path) -> dict[str, Requirement]:
    return requirements((repository / "requirements.lock").read_text().splitlines())


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def environment(repository: Path) -> dict:
    return yaml.safe_load((repository / "environment.yml").read_text())


def test_the_lock_holds_exact_versions_and_nothing_else(repository: Path, lock: dict[str, Requirement]) -> None:
    lines = [line for line in (repository / "requirements.lock").read_text().splitlines() if line[:1] != "#"]
    pinned = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+( ; sys_platform == \"\w+\")?")
    assert [line for line in lines if not pinned.fullmatch(line)] == []  # no index, host, path or range
    assert len(lines) == len(lock)


def test_every_direct_dependency_is_pinned_within_its_range(project: dict, lock: dict[str, Requirement]) -> None:
    direct = requirements(project["dependencies"] + project["optional-dependencies"]["dev"])
    assert sorted(direct.keys() - lock.keys()) == []
    outside = [str(asked) for name, asked in direct.items() if version_of(lock[name]) not in asked.specifier]
    assert outside == []


@pytest.mark.parametrize("platform", MARKER_VALUES)
@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_lock_holds_what_its_packages_need(lock: dict[str, Requirement], platform: str, python: str) -> None:
    values = {
        **MARKER_VALUES[platform],
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": "",
    }
    missing = []
    for name, pin in lock.items():
        if pin.marker and not pin.marker.evaluate(values):
            continue
        for needed in map(Requirement, installed_requirements(name, pin)):
            if LEFT_OUT.match(needed.name) or (needed.marker and not needed.marker.evaluate(values)):
                continue
            held = lock.get(canonicalize_name(needed.name))
            if held is None or not needed.specifier.contains(version_of(held), prereleases=True):
                missing.append(f"{name} needs {needed}")
    assert missing == []


def installed_requirements(name: str, pin: Requirement) -> list[str]:
    """What the installed package asks for; nothing where another version, or none, is installed."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return []
    return (installed.requires or []) if installed.version == version_of(pin) else []


def test_conda_installs_the_pins_of_the_lock(repository: Path, environment: dict, lock: dict[str, Requirement]) -> None:
    *conda, pip = environment["dependencies"]
    assert [package.partition("=")[0] for package in conda] == ["python", "pip"]
    lines = []
    for entry in pip["pip"]:
        if entry.startswith("-r "):
            lines += (repository / entry.removeprefix("-r ")).read_text().splitlines()
        else:
            assert entry == "-e ."
    installed = {name: str(pin) for name, pin in requirements(lines).items()}
    assert installed == {name: str(pin) for name, pin in lock.items()}


def test_conda_brings_a_python_that_the_project_supports(project: dict, environment: dict) -> None:
    (python,) = [entry for entry in environment["dependencies"] if str(entry).startswith("python=")]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python.removeprefix("python="))


def test_ci_runs_the_tests_and_nothing_else(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    commands = [line for line in script.read_text().splitlines() if re.search(r"\b(make|pip|python\S*|pytest)\b", line)]
    assert commands == ["exec make test"]


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """make without what an outer make hands down."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=folder, env={**kept, **variables}, capture_output=True, text=True)


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    for name in ["Makefile", "requirements.lock", "pyproject.toml"]:
        shutil.copy(repository / name, tmp_path)
    return tmp_path


def test_make_alone_lists_the_targets(repository: Path) -> None:
    result = make(repository)
    listed = {line.split()[0] for line in result.stdout.splitlines()[1:]}
    assert {"demo", "test", "test-all", "lint", "clean"} <= listed


def test_the_first_call_installs_and_the_second_does_not(checkout: Path) -> None:
    first = make(checkout, "-n", "demo").stdout
    assert "pip install" in first
    assert "6 GB" in first
    mark_installed(checkout, first)
    second = make(checkout, "-n", "demo").stdout
    assert "pip install" not in second
    assert "distill/run.py --study demo" in second


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_changed_pins_install_again_and_new_file_times_do_not(checkout: Path, changed: str) -> None:
    mark_installed(checkout, make(checkout, "-n", "test").stdout)
    os.utime(checkout / changed, (4e9, 4e9))
    assert "pip install" not in make(checkout, "-n", "test").stdout
    (checkout / changed).write_text((checkout / changed).read_text() + "# changed\n")
    assert "pip install" in make(checkout, "-n", "test").stdout


def mark_installed(checkout: Path, dry_run: str) -> None:
    stamp = checkout / re.findall(r"^touch (\S+)$", dry_run, flags=re.MULTILINE)[-1]
    stamp.parent.mkdir(exist_ok=True)
    stamp.touch()


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with the tools that every system has, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ["make", "sh", "cat", "cksum", "tr", "ls", "rm", "touch", "echo", "test"]:
        found = shutil.which(tool)
        if found:
            (folder / tool).symlink_to(found)
    return folder


def fake(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_a_python_that_runs_make_says_what_to_install(checkout: Path, bare_path: Path) -> None:
    fake(bare_path / "python3.11", "echo 'shim: python3.11: command not found' >&2; exit 127")
    fake(bare_path / "python3", "exit 1")  # runs, but is too old
    result = make(checkout, "env", PATH=str(bare_path))
    assert result.returncode != 0
    assert "No Python 3.11 or 3.12" in result.stderr
    assert "python3.11-venv" in result.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_that_does_not_run_is_passed_over(checkout: Path, bare_path: Path) -> None:
    fake(bare_path / "python3.11", "exit 127")
    fake(bare_path / "python3.12", f'[ "$1" = -c ] || echo "$@" > "{checkout}/called"')
    result = make(checkout, "env", PATH=str(bare_path))
    assert "creates .venv with python3.12" in result.stdout
    assert (checkout / "called").read_text() == "-m venv .venv\n"
