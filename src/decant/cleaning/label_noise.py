"""Label noise: the share of given labels that are wrong, estimated in two ways that do not depend on each other.

1. From duplicates. Two copies of one image show one class, so different labels mean that a label is wrong. This needs
   no classifier, but it misses wrong labels that were copied with their image, and the interval is wide for few copies.
2. From the joint distribution of given labels and out-of-fold predictions. The off-diagonal mass of the confident joint
   (Northcutt, Jiang & Chuang 2021) contains the mistakes of the classifier too (results/cleaning has examples).
   Therefore the mistakes that the classifier itself expects are taken out. The given label is modelled
   as a draw from the calibrated prediction, which with probability `rate` was replaced by another class at random
   (backward and forward models of noise: Patrini et al. 2017). Labels that even a calibrated prediction calls almost
   impossible are evidence of noise; labels of which the prediction is not sure are not.

The second estimate is too low if mistaken labels are similar classes, as with human annotators: such noise looks like
classes that overlap. No estimate from predictions alone can separate the two.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from cleanlab.count import compute_confident_joint
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binomtest, chi2

from decant.cleaning.label_issues import find_label_issues, labelled_rows

LARGEST_RATE = 0.5  # above it, labels and mistakes cannot be distinguished
WIDEST = 0.3  # a wider interval is of no use
LARGEST_SUGGESTED = 0.3  # of the labels, whatever the estimate
LOWEST_PROBABILITY = 1e-6
LOG_SHARPNESS = (-3.0, -1.5, -0.7, 0.0, 0.7, 1.5, 3.0)  # grid of the natural logarithm of 1 / temperature
RATES = (0.0, 0.02, 0.1, 0.2, 0.35, LARGEST_RATE)  # grid
DEVIANCE_95 = float(chi2.ppf(0.95, 1))
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseRate:
    """A share of wrong labels with its 95 % interval, and the number of images or pairs that it was estimated from."""

    rate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class LabelNoise:
    """Both estimates for one set of n labelled images, and the confident joint without the correction.

    An estimate is None where it cannot be made: no duplicates, or no usable prediction.
    """

    n: int
    duplicates: NoiseRate | None
    joint: NoiseRate | None
    confident_joint: float | None

    @property
    def rate(self) -> float:
        """The joint's rate, moved into the interval of the duplicates, which need no classifier.

        0 if the joint's interval is wider than WIDEST or missing: such predictions cannot rank the suspects either.
        """
        if self.joint is None or self.joint.high - self.joint.low > WIDEST:
            return 0.0
        least, most = (self.duplicates.low, self.duplicates.high) if self.duplicates else (0.0, 1.0)
        return float(np.clip(self.joint.rate, least, most))

    @property
    def suggestions(self) -> int:
        """The largest number of labels to suggest for a check: n times the rate, at most LARGEST_SUGGESTED of n."""
        return int(self.n * min(self.rate, LARGEST_SUGGESTED))


@dataclass(frozen=True)
class JudgedLabels:
    """The ids of a set of labelled images, the estimated noise of their labels, and all suspects, as from
    `find_label_issues`.
    """

    ids: NDArray[np.object_]
    noise: LabelNoise
    suspects: pd.DataFrame

    @property
    def suggested(self) -> pd.DataFrame:
        """The most suspect rows, as many as the estimated noise warrants."""
        return self.suspects.head(self.noise.suggestions)


def judge_labels(
    probabilities: Floats, targets: NDArray[np.int64], ids: NDArray[np.object_], groups: Sequence[str]
) -> JudgedLabels:
    """Find suspect labels and estimate how many are wrong. Arguments as for `label_noise` and `find_label_issues`."""
    noise = label_noise(probabilities, targets, groups)
    return JudgedLabels(ids[np.asarray(targets) >= 0], noise, find_label_issues(probabilities, targets, ids))


def label_noise_metrics(judged: JudgedLabels) -> dict[str, Any]:
    """Return the entry of a set of labels for `clean/metrics.json`; suspects = suggested + not_suggested."""
    noise, suspects, suggested = judged.noise, len(judged.suspects), len(judged.suggested)
    return {
        "labels": noise.n,
        "rate": rounded(noise.rate),
        "confident_joint": rounded(noise.confident_joint),
        "from_joint": rate_metrics(noise.joint),
        "from_duplicates": rate_metrics(noise.duplicates),
        "suspects": suspects,
        "suggested": suggested,
        "not_suggested": suspects - suggested,
    }


def rate_metrics(estimate: NoiseRate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {name: rounded(value) if name != "n" else value for name, value in asdict(estimate).items()}


def rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def label_noise(probabilities: Floats, targets: NDArray[np.int64], groups: Sequence[str]) -> LabelNoise:
    """Estimate the noise of the given labels.

    probabilities: float [n, K], out of fold or from a model that was not trained on these rows. targets: int64 [n], -1
    for no label. groups: [n], equal for copies of one image.
    """
    labelled = labelled_rows(probabilities, targets)
    n, classes = labelled.probabilities.shape
    duplicates = noise_from_duplicates(groups, targets, classes)
    if classes < 2:
        return LabelNoise(n, duplicates, None, None)
    joint = noise_from_joint(labelled.probabilities, labelled.targets)
    return LabelNoise(n, duplicates, joint, confident_joint_noise(labelled.probabilities, labelled.targets))


def noise_from_duplicates(groups: Sequence[str], targets: NDArray[np.int64], classes: int) -> NoiseRate | None:
    """Estimate from one pair of images per group of duplicates; None without any pair.

    groups: [n], equal for copies of one image. targets: int64 [n], -1 for no label. If every label is wrong with
    probability r, independently, and then any other class, a pair differs with probability 2r − r² K / (K − 1). The
    interval is Clopper and Pearson's, transformed.
    """
    pairs = first_pairs(groups, targets)
    if not len(pairs) or classes < 2:
        return None
    contradicting = int((pairs[:, 0] != pairs[:, 1]).sum())
    interval = binomtest(contradicting, len(pairs)).proportion_ci(0.95, "exact")
    rate, low, high = (
        rate_of_contradictions(share, classes)
        for share in (contradicting / len(pairs), float(interval.low), float(interval.high))
    )
    return NoiseRate(rate, low, high, len(pairs))


def first_pairs(groups: Sequence[str], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The labels of the first two labelled images of each group; int64 [pairs, 2]. More would not be independent."""
    labels: dict[str, list[int]] = {}
    for group, target in zip(groups, targets, strict=True):
        if target >= 0:
            labels.setdefault(group, []).append(int(target))
    return np.array([copies[:2] for copies in labels.values() if len(copies) > 1], np.int64).reshape(-1, 2)


def rate_of_contradictions(share: float, classes: int) -> float:
    """The noise rate r at which `share` of the pairs differ: the smaller root of share = 2r − r² K / (K − 1)."""
    most = (classes - 1) / classes
    return most * (1 - float(np.sqrt(max(0.0, 1 - share / most))))


def noise_from_joint(probabilities: Floats, targets: NDArray[np.int64]) -> NoiseRate | None:
    """Estimate from out-of-fold predictions by maximum likelihood; None if they predict no better than a constant.

    probabilities: float64 [n, K], rows sum to 1. targets: int64 [n] in [0, K), every class at least once, K > 1. The
    model: P(label) = (1 − r) p + r (1 − p) / (K − 1), with p the probability of the label after temperature scaling
    (Guo et al. 2017). Temperature and r are fitted together; the interval is that of the profile likelihood.
    """
    logits = np.log(np.clip(probabilities, LOWEST_PROBABILITY, 1))

    def loss(rate: float) -> float:
        """The lowest total negative log-likelihood at this rate, over all temperatures."""
        return minimum(lambda sharpness: contaminated_loss(logits, targets, np.exp(sharpness), rate), LOG_SHARPNESS)[1]

    rate, lowest = minimum(loss, RATES)
    if lowest >= constant_loss(targets):
        return None
    low, high = profile_interval(loss, rate, lowest)
    return NoiseRate(rate, low, high, len(targets))


def minimum(function: Callable[[float], float], grid: Sequence[float]) -> tuple[float, float]:
    """(argument, value) of the smallest value of a function of one number.

    The best point of the grid is refined between its neighbours. The grid protects from a local minimum: uncertain
    predictions and noise explain labels alike.
    """
    values = [function(point) for point in grid]
    best = int(np.argmin(values))
    bounds = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    refined = minimize_scalar(function, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    if refined.fun < values[best]:
        return float(refined.x), float(refined.fun)
    return float(grid[best]), values[best]


def contaminated_loss(logits: Floats, targets: NDArray[np.int64], sharpness: float, rate: float) -> float:
    """The total negative log-likelihood of the given labels under the model of `noise_from_joint`.

    logits: float64 [n, K], logarithms of the probabilities. targets: int64 [n] in [0, K). sharpness: 1 / temperature.
    """
    scaled = logits * sharpness
    scaled -= scaled.max(axis=1, keepdims=True)
    given = np.exp(scaled[np.arange(len(targets)), targets]) / np.exp(scaled).sum(axis=1)
    likelihood = (1 - rate) * given + rate * (1 - given) / (logits.shape[1] - 1)
    return -float(np.log(np.maximum(likelihood, 1e-300)).sum())


def constant_loss(targets: NDArray[np.int64]) -> float:
    """The total negative log-likelihood of the labels [n] if the frequencies of the classes are the prediction."""
    counts = np.unique(targets, return_counts=True)[1]
    return -float((counts * np.log(counts / len(targets))).sum())


def profile_interval(loss: Callable[[float], float], rate: float, lowest: float) -> tuple[float, float]:
    """The rates between 0 and LARGEST_RATE whose loss exceeds the lowest by less than half of chi-squared's 95 %."""

    def excess(other: float) -> float:
        return 2 * (loss(other) - lowest) - DEVIANCE_95

    low = 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, rate, xtol=1e-4))
    high = LARGEST_RATE if excess(LARGEST_RATE) <= 0 else float(brentq(excess, rate, LARGEST_RATE, xtol=1e-4))
    return low, high


def confident_joint_noise(probabilities: Floats, targets: NDArray[np.int64]) -> float:
    """The off-diagonal mass of cleanlab's confident joint: the noise rate, without a correction for the classifier.

    probabilities: float64 [n, K]. targets: int64 [n] in [0, K). Source: Northcutt, Jiang & Chuang 2021.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)  # a class with a single row
        joint = compute_confident_joint(targets, probabilities, calibrate=True)
    return 1 - float(np.trace(joint) / joint.sum())
