"""The reference of the verification tests."""

import pytest

from decant.export.verification.torch_reference import TorchReference
from decant.models.checkpoint import Checkpoint


@pytest.fixture(scope="session")
def reference(checkpoint: Checkpoint) -> TorchReference:
    """The exported student in PyTorch."""
    return TorchReference(checkpoint)
