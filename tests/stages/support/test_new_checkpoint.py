"""A new network: which inputs it can grow from, and a stem that is computed from training views."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decant.data.views import ViewSet
from decant.errors import UserError
from decant.stages.support.network import fit_stem, new_checkpoint, without_val
from decant.study import Teacher, Views
from decant.training.loop import network_input

Chain = Any
GROWING = Teacher(architecture="vit_tiny_patch16_224", input_px=32, grow_from=0.5)


def test_an_input_that_grows_is_refused_for_a_network_of_one_size() -> None:
    with pytest.raises(UserError, match="grow_from"):
        new_checkpoint(GROWING, ["a", "b"], 0, "crop")


def test_a_vision_transformer_that_resamples_its_positions_may_grow() -> None:
    growing = GROWING.model_copy(update={"model_args": {"dynamic_img_size": True, "patch_size": 8, "depth": 1}})
    classifier = new_checkpoint(growing, ["a", "b"], 0, "crop").classifier
    assert classifier(torch.rand(1, 3, 16, 16)).shape == classifier(torch.rand(1, 3, 32, 32)).shape == (1, 2)


def test_a_head_that_starts_at_zero_makes_all_classes_equally_likely() -> None:
    def first_logits(head: str) -> Tensor:
        teacher = Teacher(architecture="test_efficientnet", input_px=32, head=head)
        return new_checkpoint(teacher, ["a", "b", "c"], 0, "crop").classifier.eval()(torch.ones(2, 3, 32, 32))

    assert torch.equal(first_logits("zero"), torch.zeros(2, 3))
    assert first_logits("random").abs().min() > 0


def test_a_stem_is_computed_from_training_views(chain: Chain) -> None:
    teacher = Teacher(architecture="fast_cnn", input_px=32)
    views = ViewSet.of(chain.data.cache, Views(), 1, np.arange(len(chain.data.cache)))
    checkpoint = new_checkpoint(teacher, ["a", "b"], 0, "crop")
    random = checkpoint.classifier.backbone.stem.weight.clone()
    fit_stem(checkpoint, views)
    stem = checkpoint.classifier.backbone.stem
    assert not torch.equal(stem.weight, random)
    images = network_input(views.render(views.partners, 0, 32), torch.device("cpu"))
    whitened = stem(checkpoint.classifier.normalised(images))[:, :12].permute(1, 0, 2, 3).reshape(12, -1)
    torch.testing.assert_close(torch.cov(whitened).diag(), torch.ones(12), atol=0.5, rtol=0)


def test_the_stem_of_another_network_is_left_alone(chain: Chain) -> None:
    checkpoint = new_checkpoint(Teacher(architecture="test_efficientnet", input_px=32), ["a", "b"], 0, "crop")
    before = {key: value.clone() for key, value in checkpoint.classifier.state_dict().items()}
    fit_stem(checkpoint, ViewSet.of(chain.data.cache, Views(), 1, np.arange(4)))
    assert all(torch.equal(value, before[key]) for key, value in checkpoint.classifier.state_dict().items())


def test_a_refit_trains_as_many_epochs_as_were_trained_and_chooses_nothing(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n2,0.4\n3,0.4\n")
    chosen = Teacher(epochs=9, patience=2, keep="best")
    refitted = without_val(chosen, tmp_path)
    assert (refitted.epochs, refitted.patience, refitted.keep) == (3, 0, "last")
    assert without_val(chosen, None) == chosen
    assert without_val(chosen.model_copy(update={"keep": "soup"}), tmp_path).keep == "soup"
