"""A small space and a teacher that it is around."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decant.study import Teacher
from decant.tuning.space import Space, read_space

LINES = """
learning_rate: {times: [0.1, 10], log: true}
batch_size: {choices: [8, 16]}
views.mix: {range: [0.0, 0.5]}
"""


@pytest.fixture
def space_of(tmp_path: Path) -> Callable[..., Space]:
    """A function that reads lines of YAML as the space of a teacher."""

    def read(lines: str, teacher: Teacher | None = None) -> Space:
        path = tmp_path / "space.yaml"
        path.write_text(lines, encoding="utf-8")
        return read_space(path, teacher or Teacher(epochs=8), "some_study", "net")

    return read


@pytest.fixture(scope="session")
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "small.yaml"
    path.write_text(LINES, encoding="utf-8")
    return path
