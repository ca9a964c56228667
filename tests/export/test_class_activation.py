"""The class activation map of an exported file, against PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from decant.data.evaluation_transform import evaluation_transform
from decant.data.preprocessing import Preprocessing
from decant.export.class_activation import MAP, Node, NoMap, Places, averaged, places_of, with_map
from decant.export.runtime import open_session, run
from decant.export.student import export_student
from decant.models.backbones import head_of
from decant.models.checkpoint import Checkpoint
from decant.models.classifier import Classifier

Images = list[tuple[str, np.ndarray]]
MakeCheckpoint = Callable[..., Checkpoint]


def exported_bytes(checkpoint: Checkpoint, folder: Path) -> bytes:
    export_student(checkpoint, folder, temperature=1.7)
    return (folder / "student.onnx").read_bytes()


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet", "small_cnn"])
def test_the_map_is_the_last_layer_at_each_place_and_its_mean_the_logits(
    make_checkpoint: MakeCheckpoint, images: Images, tmp_path: Path, architecture: str
) -> None:
    checkpoint = make_checkpoint(architecture)
    session = open_session(with_map(exported_bytes(checkpoint, tmp_path))[0], threads=1)
    for _, image in images[7:10]:
        maps, logits = run(session, {"images": image[None]}, [MAP, "logits"])
        np.testing.assert_allclose(maps.mean(axis=(2, 3)), logits, atol=1e-4)
        np.testing.assert_allclose(maps, expected_map(checkpoint, image), atol=1e-3)
        assert maps.std(axis=(2, 3)).min() > 1e-3  # else it would not differ between places


def expected_map(checkpoint: Checkpoint, image: np.ndarray) -> np.ndarray:
    """[1, K, h, w] by PyTorch."""
    classifier, head = checkpoint.classifier, head_of(checkpoint.classifier)
    prepared = evaluation_transform(image, checkpoint.preprocessing)[None]
    with torch.inference_mode():
        features = cast(Callable[[Tensor], Tensor], classifier.backbone.forward_features)(
            classifier.normalised(prepared)
        )
        return head(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).numpy()


def test_an_output_is_added_and_the_predictions_stay_the_same_bits(exported: Path, images: Images) -> None:
    data = (exported / "student.onnx").read_bytes()
    changed = with_map(data)[0]
    assert changed.startswith(data)
    onnx.checker.check_model(onnx.load_from_string(changed), full_check=True)
    wanted = ["probabilities", "logits"]
    for _, image in images[:3]:
        before, after = (run(open_session(model, 1), {"images": image[None]}, wanted) for model in (data, changed))
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("mobilenetv3_small_050", "follows HardSwish"),  # its last convolution comes after the average
        ("test_convnext", "follows Transpose"),  # a norm over channels comes after the average
        ("test_vit", "follows"),  # the class token
    ],
)
def test_a_network_with_another_end_has_no_map(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, architecture: str, reason: str
) -> None:
    arguments = {"img_size": 64} if "vit" in architecture else {}
    data = exported_bytes(make_checkpoint(architecture, **arguments), tmp_path)
    with pytest.raises(NoMap, match=f"{reason}.*not an average"):
        with_map(data)


class Convolutions(nn.Module):
    """Convolutions with equal weights, so that a cell's gradient is centred where the cell looks."""

    def __init__(self, convolution: type[nn.Conv2d], padding: object) -> None:
        super().__init__()
        sides = ((3, 5), (5, 3), (4, 3))  # height and width of each window
        self.layers = nn.Sequential(*(convolution(3, 3, side, stride=2, padding=padding) for side in sides))
        for layer in self.layers:
            nn.init.ones_(layer.weight)
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean(dim=(2, 3)))


@pytest.mark.parametrize(("convolution", "padding"), [(Conv2dSame, ""), (nn.Conv2d, 1), (nn.Conv2d, 0)])
def test_cells_lie_where_the_gradient_of_a_cell_has_its_centre(
    tmp_path: Path, convolution: type[nn.Conv2d], padding: object
) -> None:
    backbone = Convolutions(convolution, padding or 0).eval()
    checkpoint = Checkpoint(Classifier(backbone, [0.0] * 3, [1.0] * 3), list("abcde"), Preprocessing((96, 112)), {})
    rows, columns = with_map(exported_bytes(checkpoint, tmp_path))[1]
    image = torch.zeros(1, 3, 96, 112, requires_grad=True)
    backbone.layers(image)[0, 0, 5, 6].backward()
    assert image.grad is not None
    weight = image.grad[0].sum(dim=0).double()
    for places, cell, sums in ((rows, 5, weight.sum(dim=1)), (columns, 6, weight.sum(dim=0))):
        middle = (sums * (torch.arange(len(sums)) + 0.5)).sum() / sums.sum()
        assert places.first + cell * places.step == pytest.approx(middle.item(), abs=1e-6)


def test_a_reshape_before_the_features_leaves_no_places(exported: Path) -> None:
    model = onnx.load(exported / "student.onnx")
    pool = next(node for node in model.graph.node if node.op_type == "GlobalAveragePool")
    turned = onnx.helper.make_node("Transpose", [pool.input[0]], ["turned"], perm=[0, 1, 3, 2])
    model.graph.node.insert(list(model.graph.node).index(pool), turned)
    pool.input[0] = "turned"
    with pytest.raises(NoMap, match="Transpose moves them"):
        with_map(model.SerializeToString())


def test_other_bytes_are_no_model() -> None:
    assert Places() == Places(0.5, 1.0)
    with pytest.raises((NoMap, ValueError)):
        with_map(b"not a model")


def test_a_damaged_graph_whose_nodes_form_a_circle_has_no_map() -> None:
    """A walk along such nodes would never end."""
    circle = {"a": Node("Identity", ["b"], ["a"], {}), "b": Node("Relu", ["a"], ["b"], {})}
    with pytest.raises(NoMap, match="circle"):
        places_of("a", circle, axis=0)
    with pytest.raises(NoMap, match="circle"):
        averaged("a", {"a": Node("Identity", ["a"], ["a"], {})})


def test_features_that_come_from_elsewhere_have_no_places() -> None:
    with pytest.raises(NoMap, match="prepared image"):
        places_of("a", {"a": Node("Relu", ["constant"], ["a"], {})}, axis=0)
