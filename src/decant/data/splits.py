"""Which image trains, which one chooses and which one measures: given splits kept, missing ones drawn."""

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from decant.data.sources.base import Found
from decant.errors import UserError

STRICTNESS = {
    "test": 2,
    "val": 1,
    "train": 0,
}  # a group across splits stays in the one that measures most strictly
EACH_SPLIT_FROM_GROUPS = 4  # a class with so many groups is seen in every split


@dataclass
class Group:
    """Rows that must not be parted."""

    name: str
    counts: Counter[str]  # rows of each class
    given: set[str]

    @property
    def size(self) -> int:
        return self.counts.total()

    @property
    def main_class(self) -> str:
        return min(self.counts, key=lambda label: (-self.counts[label], label))


def assign_splits(rows: pd.DataFrame, seed: int, val_fraction: float, test_fraction: float) -> pd.Series:
    """The split of every row; given ones are kept, missing ones drawn. Same index as `rows`.

    rows: columns label, split (None where not given), group, action. Where no row that is kept and labelled
    has the split test, `test_fraction` of what may train is drawn as test, and likewise for val: class by
    class, in whole groups, in an order that depends on the seed and the groups' names alone. What is left
    trains, and every class keeps an image to train on, if it must be at the cost of the other splits. Rows
    set aside go with their group and never count.
    """
    groups = labelled_groups(rows)
    given = {split for group in groups.values() for split in group.given}
    drawn: dict[str, str] = {}
    for name, group in groups.items():
        strictest = max(group.given, key=STRICTNESS.__getitem__, default="train")
        if strictest != "train":
            drawn[name] = strictest
    fractions = {"test": test_fraction, "val": val_fraction}
    wanted = {split: fraction for split, fraction in fractions.items() if split not in given}
    candidates = [group for name, group in groups.items() if name not in drawn]
    drawn.update(draw(candidates, wanted, seed))
    return pd.Series(
        [settle(*row, drawn, set(wanted)) for row in zip(rows["split"], rows["label"], rows["group"], strict=True)],
        index=rows.index,
        dtype=object,
        name="split",
    )


def separate_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with those set aside that would leak: a group across given splits stays in the strictest alone.

    A train row leaves when its group also has a kept val or test row, a val row when it has a test row; the
    action becomes "drop" and the reason begins with "leak: ". Rows to predict carry no label and leak none.
    """
    live = rows[(rows["action"] != "drop") & rows["split"].isin(list(STRICTNESS))]
    rank = live["split"].map(STRICTNESS)
    strictest = rank.groupby(live["group"]).transform("max")
    leaking = live.index[rank < strictest]
    names = {number: split for split, number in STRICTNESS.items()}
    result = rows.copy()
    result.loc[leaking, "action"] = "drop"
    result.loc[leaking, "reason"] = [f"leak: its group has a row in {names[n]}" for n in strictest[leaking]]
    return result


def folds(groups: Sequence[str], labels: Sequence[int], k: int, seed: int) -> NDArray[np.int64]:
    """Fold 0 … k - 1 of each row, int64 [n]: stratified by label, groups whole, in any order of the rows.

    UserError when there are too few groups, or no class has k rows.
    """
    names, target = np.asarray(groups, dtype=str), np.asarray(labels)
    if len(set(names.tolist())) < k or np.unique(target, return_counts=True)[1].max(initial=0) < k:
        raise UserError(
            f"{len(target)} images in {len(set(names.tolist()))} groups of near duplicates are too few for "
            f"{k} folds; set fewer folds or give more images."
        )
    order = np.lexsort((target, names))
    result = np.full(len(target), -1, dtype=np.int64)
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer than k images misses from some folds
        for fold, (_, held) in enumerate(splitter.split(order, target[order], names[order])):
            result[order[held]] = fold
    return result


def limited(found: Sequence[Found], limit: int, val_fraction: float, test_fraction: float, seed: int) -> list[Found]:
    """At most about `limit` images of each class to train on, and of all else the same share; a fixed choice.

    Images of which the splits are still to be drawn leave room for what the draw takes. Every class keeps an
    image in each split in which it has one.
    """
    given = {item.split for item in found if item.given_label is not None}
    drawn = (test_fraction if "test" not in given else 0) + (val_fraction if "val" not in given else 0)
    kinds: dict[tuple[str | None, str | None], list[Found]] = defaultdict(list)
    for item in found:
        to_train = item.given_label is not None and item.split in (None, "train")
        kinds[item.given_label, "train" if to_train else item.split].append(item)
    pools = {label: len(items) for (label, split), items in kinds.items() if label is not None and split == "train"}
    room = int(limit / (1 - drawn) + 1e-9)
    shares = {label: min(1.0, room / size) for label, size in pools.items()}
    overall = sum(min(room, size) for size in pools.values()) / max(1, sum(pools.values()))
    chosen = set()
    for (label, split), items in kinds.items():
        count = min(room, len(items)) if split == "train" else round(len(items) * shares.get(label or "", overall))
        chosen |= {item.path for item in by_hash(items, seed)[: max(1, count)]}
    return [item for item in found if item.path in chosen]


def by_hash(items: Iterable[Found], seed: int) -> list[Found]:
    return sorted(items, key=lambda item: shuffled(seed, item.path))


def shuffled(seed: int, name: str) -> bytes:
    """A key that sorts names at random, each in its own place whichever others there are."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def labelled_groups(rows: pd.DataFrame) -> dict[str, Group]:
    """The groups of the rows that are kept, labelled and not to be predicted."""
    live = rows[(rows["action"] != "drop") & rows["label"].notna() & ~rows["split"].isin(["predict", "unlabelled"])]
    groups: dict[str, Group] = {}
    for name, label, split in zip(live["group"], live["label"], live["split"], strict=True):
        group = groups.setdefault(name, Group(name, Counter(), set()))
        group.counts[label] += 1
        if isinstance(split, str):
            group.given.add(split)
    return groups


def draw(groups: Sequence[Group], wanted: dict[str, float], seed: int) -> dict[str, str]:
    """Group name -> split of those drawn, class by class; a group goes by its most frequent class."""
    classes: dict[str, list[Group]] = defaultdict(list)
    for group in sorted(groups, key=lambda group: shuffled(seed, group.name)):
        classes[group.main_class].append(group)
    drawn: dict[str, str] = {}
    for members in classes.values():
        total = sum(group.size for group in members)
        left = members
        for split, fraction in wanted.items():
            least = 1 if len(members) >= EACH_SPLIT_FROM_GROUPS else 0
            taken = take(left, max(least, round(total * fraction)))
            drawn.update(dict.fromkeys((group.name for group in taken), split))
            left = [group for group in left if group.name not in drawn]
    return give_back(groups, drawn)


def take(groups: Sequence[Group], count: int) -> list[Group]:
    """Groups from the front until they hold about `count` rows; one that would overshoot is left out."""
    taken: list[Group] = []
    size = 0
    for group in groups:
        if size < count and size + group.size - count <= count - size:
            taken.append(group)
            size += group.size
    return taken


def give_back(groups: Sequence[Group], drawn: dict[str, str]) -> dict[str, str]:
    """`drawn` without the smallest group of each class that would have nothing left to train on."""
    training = Counter[str]()
    for group in groups:
        if group.name not in drawn:
            training += group.counts
    for label in sorted({label for group in groups for label in group.counts}):
        if not training[label]:
            smallest = min((g for g in groups if g.counts[label]), key=lambda g: (g.size, g.name))
            drawn = {name: split for name, split in drawn.items() if name != smallest.name}
            training += smallest.counts
    return drawn


def settle(split: str | None, label: str | None, group: str, drawn: dict[str, str], wanted: set[str]) -> str:
    """The final split of one row. One given to train moves only where a split was missing and was drawn."""
    if split in ("predict", "unlabelled", "val", "test"):
        return split
    if not isinstance(label, str):
        return "unlabelled"
    if split == "train" and drawn.get(group) not in wanted:
        return "train"
    return drawn.get(group, "train")
