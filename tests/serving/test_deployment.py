"""The files for containers, which cannot be built here: they name files that exist, and the packages of the lock."""

import re
from pathlib import Path

import pytest

DEPLOYMENTS = ("distill/deploy", "distill/deploy/space")
PACKAGES = {"onnxruntime", "numpy", "pillow", "flask", "waitress"}


@pytest.mark.parametrize("folder", DEPLOYMENTS)
def test_the_container_has_the_five_packages_as_pinned(repository: Path, folder: str) -> None:
    lock = (repository / "requirements.lock").read_text().splitlines()
    pins = (repository / folder / "requirements.txt").read_text().splitlines()
    assert {pin.partition("==")[0].lower() for pin in pins} == PACKAGES and set(pins) <= set(lock)


def test_docker_gets_what_the_container_copies_and_no_data(repository: Path) -> None:
    copied = re.findall(r"^COPY (\S+) ", (repository / "distill/deploy/Dockerfile").read_text(), re.MULTILINE)
    first, *rules = [line for line in (repository / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert first == "*"  # all is left out, except:
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied)


@pytest.mark.parametrize("folder", DEPLOYMENTS)
def test_the_container_copies_what_exists_and_runs_without_rights(repository: Path, folder: str) -> None:
    text = (repository / folder / "Dockerfile").read_text()
    sources = re.findall(r"^COPY (\S+) ", text, re.MULTILINE)
    own = repository / folder if folder.endswith("space") else repository
    missing = [source for source in sources if not any((root / source).exists() for root in (own, repository))]
    assert [Path(source).name for source in missing] == ["student.onnx"]  # which the user adds
    assert re.search(r"^USER (?!root)", text, re.MULTILINE) and text.index("USER") < text.index("CMD")
