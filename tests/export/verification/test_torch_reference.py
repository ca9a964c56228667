"""The student in PyTorch as the reference for an exported file."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from decant.export.verification.torch_reference import TorchReference
from decant.models.checkpoint import Checkpoint


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("fails", [False, True])
def test_it_computes_on_one_thread_and_restores_the_number_of_threads(checkpoint: Checkpoint, fails: bool) -> None:
    reference = TorchReference(checkpoint)
    threads: list[int] = []

    def called(*_: object) -> None:
        threads.append(torch.get_num_threads())
        if fails:
            raise ValueError("planted")

    reference.classifier.register_forward_pre_hook(called)
    prepared = reference.prepare(np.zeros((40, 50, 3), np.uint8))
    if fails:
        with pytest.raises(ValueError, match="planted"):
            reference.network(prepared)
    else:
        reference.network(prepared)
    assert threads == [1]
    assert torch.get_num_threads() == 2
