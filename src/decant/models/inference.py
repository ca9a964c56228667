"""Inference from encoded images: batches through the evaluation transform, log-probabilities and features."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from decant.data.evaluation_transform import evaluation_transform
from decant.data.images import decode
from decant.data.pool import batched, parallel
from decant.data.predictions import Predictions
from decant.data.preprocessing import Preprocessing
from decant.models.backbones import embed, head_of
from decant.models.classifier import Classifier, placed
from decant.models.folded_norms import foldable_pairs, folded_copy

Members = Mapping[str, Callable[[Tensor], Tensor]]
IDENTITY: Members = {"identity": lambda images: images}


def evaluation_batches(
    images: Iterable[tuple[str, bytes]], preprocessing: Preprocessing, batch_size: int = 64
) -> Iterator[tuple[list[str], Tensor]]:
    """Decode and transform images (id, encoded bytes): yield ids and float32 [B, 3, height, width] in [0, 1]."""

    def prepare(image: tuple[str, bytes]) -> tuple[str, Tensor]:
        return image[0], evaluation_transform(decode(image[1]), preprocessing)

    for batch in batched(parallel(prepare, images), batch_size):
        ids, tensors = zip(*batch, strict=True)
        yield list(ids), torch.stack(tensors)


def predict(
    classifier: Classifier,
    batches: Iterable[tuple[list[str], Tensor]],
    device: torch.device,
    members: Members = IDENTITY,
) -> Predictions:
    """Log-probabilities float32 [n, K] of each TTA member, in the order of the batches."""
    network: Classifier | None = None
    ids: list[str] = []
    rows: dict[str, list[np.ndarray]] = {name: [] for name in members}
    with torch.inference_mode():
        for batch_ids, images in batches:
            network = network or for_inference(classifier, device, images.shape[2:])
            ids += batch_ids
            images = images.to(device)
            for member, transform in members.items():
                rows[member].append(log_probabilities(network, transform(images)))
    if not ids:
        empty = np.zeros((0, head_of(classifier).out_features), np.float32)
        return Predictions([], dict.fromkeys(members, empty))
    return Predictions(ids, {name: np.concatenate(parts) for name, parts in rows.items()})


def for_inference(classifier: Classifier, device: torch.device, size: Sequence[int]) -> Classifier:
    """The classifier on `device` in evaluation mode; on a CPU a copy whose norms are folded, if it has any.

    size: height and width of an input that the network accepts.
    """
    classifier = placed(classifier, device).eval()
    height, width = size
    pairs = foldable_pairs(classifier, (height, width)) if device.type == "cpu" else []
    return folded_copy(classifier, pairs) if pairs else classifier


def log_probabilities(classifier: Classifier, images: Tensor) -> np.ndarray:
    """float32 [B, K] for images float32 [B, 3, height, width] in [0, 1]; the classifier must be in evaluation mode."""
    logits = classifier(images.contiguous(memory_format=torch.channels_last)).float()
    return F.log_softmax(logits, dim=1).cpu().numpy()


def features_of(classifier: Classifier, images: Tensor) -> np.ndarray:
    """The head's input, float32 [B, D], for images as above; the classifier must be in evaluation mode."""
    with torch.inference_mode():
        return embed(classifier, images.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()
