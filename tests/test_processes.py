"""A process alone exchanges nothing; the parts of several processes are the whole, each item once."""

import numpy as np
import pytest
import torch

from decant import processes
from decant.processes import ALONE, Team, team, working_together


def test_a_process_alone_keeps_its_values() -> None:
    tensor = torch.tensor([1.0, 2.0])
    ALONE.add([tensor])
    assert tensor.tolist() == [1.0, 2.0]
    assert ALONE.leads and list("abc")[ALONE.part] == ["a", "b", "c"]
    assert ALONE.same({"a": 1}) == {"a": 1}
    np.testing.assert_array_equal(ALONE.whole(np.arange(3), 3), [0, 1, 2])


@pytest.mark.parametrize("n", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_parts_of_all_processes_are_the_whole(n: int, count: int) -> None:
    parts = [list(range(n))[Team(rank, count).part] for rank in range(count)]
    assert sorted(item for part in parts for item in part) == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_several_processes_are_a_team_only_while_they_work_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "launched", lambda: Team(1, 2))
    assert team() == ALONE
    with pytest.raises(ValueError, match="stopped"), working_together():
        assert team() == Team(1, 2)
        raise ValueError("stopped")
    assert team() == ALONE
