"""Splits: given splits are kept and missing ones drawn; groups stay whole. Also folds, and a limit per class."""

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from decant.data.sources.base import ListedImage
from decant.errors import UserError

STRICTNESS = {"test": 2, "val": 1, "train": 0}  # a group in several splits stays in the strictest
# Split -> the splits with which its rows must share no group; a reason names the first that applies.
LEAKS_FROM = {"train": ("test", "val"), "val": ("test",), "unlabelled": ("test", "val", "predict")}
EACH_SPLIT_FROM_GROUPS = 4  # a class with at least this many groups has an image in every split


@dataclass
class Group:
    """Rows that must stay in one split."""

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
    """The split of every row, with the index of `rows`; given splits are kept, missing ones are drawn.

    rows: columns label, split (None where not given), group, action. If no kept, labelled row has the split test,
    `test_fraction` of the rows that may train is drawn as test, and likewise for val: class by class, in whole
    groups, in an order that depends on the seed and the groups' names alone. The rest trains. Every class keeps an
    image to train on, if necessary at the cost of the other splits. Rows that were set aside follow their group and
    never count.
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
    columns = zip(rows["split"], rows["label"], rows["group"], strict=True)
    splits = [final_split(*row, drawn, set(wanted)) for row in columns]
    return pd.Series(splits, index=rows.index, dtype=object, name="split")


def separate_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with leaking rows set aside: of a group in several given splits the strictest split alone stays.

    A train row is set aside if its group also has a kept val or test row, a val row if it has a test row, an unlabelled
    row, on which the student trains, if it has a val, test or predict row; the action becomes "drop" and the reason
    begins with "leak: ". Rows to predict have no label and cannot leak one to train.
    """
    kept_rows = rows[rows["action"] != "drop"]
    splits_of: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(kept_rows["group"], kept_rows["split"], strict=True):
        splits_of[group].add(split)
    leaks = {}
    for index, group, split in zip(kept_rows.index, kept_rows["group"], kept_rows["split"], strict=True):
        stricter = next((other for other in LEAKS_FROM.get(split, ()) if other in splits_of[group]), "")
        if stricter:
            leaks[index] = f"leak: its group has a row in {stricter}"
    result = rows.copy()
    result.loc[list(leaks), "action"] = "drop"
    result.loc[list(leaks), "reason"] = list(leaks.values())
    return result


def folds(groups: Sequence[str], labels: Sequence[int], k: int, seed: int) -> NDArray[np.int64]:
    """The fold 0 … k - 1 of each row, int64 [n]: stratified by label, groups whole, whatever the order of the rows.

    Raises UserError if there are too few groups, or no class has k rows.
    """
    names, target = np.asarray(groups, dtype=str), np.asarray(labels)
    if len(set(names.tolist())) < k or np.unique(target, return_counts=True)[1].max(initial=0) < k:
        raise UserError(
            f"{len(target)} images in {len(set(names.tolist()))} groups of near duplicates are too few for "
            f"{k} folds; set fewer folds or add images."
        )
    order = np.lexsort((target, names))
    result = np.full(len(target), -1, dtype=np.int64)
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer than k images is absent from some folds
        for fold, (_, held) in enumerate(splitter.split(order, target[order], names[order])):
            result[order[held]] = fold
    return result


def limited(
    items: Sequence[ListedImage], limit: int, val_fraction: float, test_fraction: float, seed: int
) -> list[ListedImage]:
    """About `limit` images of each class to train on, and the same share of everything else; the seed fixes the choice.

    Images whose split is still to be drawn leave room for the draw. Every class keeps an image in each split in
    which it has one.
    """
    given = {item.split for item in items if item.given_label is not None}
    drawn_share = (test_fraction if "test" not in given else 0) + (val_fraction if "val" not in given else 0)
    kinds: dict[tuple[str | None, str | None], list[ListedImage]] = defaultdict(list)
    for item in items:
        to_train = item.given_label is not None and item.split in (None, "train")
        kinds[item.given_label, "train" if to_train else item.split].append(item)
    pools = {label: len(pool) for (label, split), pool in kinds.items() if label is not None and split == "train"}
    room = int(limit / (1 - drawn_share) + 1e-9)
    shares = {label: min(1.0, room / size) for label, size in pools.items()}
    overall = sum(min(room, size) for size in pools.values()) / max(1, sum(pools.values()))
    chosen_paths = set()
    for (label, split), pool in kinds.items():
        count = min(room, len(pool)) if split == "train" else round(len(pool) * shares.get(label or "", overall))
        chosen_paths |= {item.path for item in in_random_order(pool, seed)[: max(1, count)]}
    return [item for item in items if item.path in chosen_paths]


def without_label(rows: pd.DataFrame, share: float, seed: int) -> pd.Series:
    """Which rows of train lose their label, bool with the index of `rows`: all but a share of each class.

    rows: columns label, split, group, action. Groups stay whole; every class keeps one of the groups in which it is the
    most frequent.
    """
    train = rows["split"] == "train"
    classes: dict[str, list[Group]] = defaultdict(list)
    for group in sorted(labelled_groups(rows[train]).values(), key=lambda group: random_key(seed, group.name)):
        classes[group.main_class].append(group)
    labelled = set()
    for members in classes.values():
        wanted = round(share * sum(group.size for group in members))
        labelled |= {group.name for group in take(members, wanted) or members[:1]}
    return train & ~rows["group"].isin(labelled)


def in_random_order(items: Iterable[ListedImage], seed: int) -> list[ListedImage]:
    return sorted(items, key=lambda item: random_key(seed, item.path))


def random_key(seed: int, name: str) -> bytes:
    """A key that sorts names at random; the order of two names does not depend on the others."""
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def labelled_groups(rows: pd.DataFrame) -> dict[str, Group]:
    """The groups of the kept, labelled rows that are not to be predicted."""
    counted = rows[(rows["action"] != "drop") & rows["label"].notna() & ~rows["split"].isin(["predict", "unlabelled"])]
    groups: dict[str, Group] = {}
    for name, label, split in zip(counted["group"], counted["label"], counted["split"], strict=True):
        group = groups.setdefault(name, Group(name, Counter(), set()))
        group.counts[label] += 1
        if isinstance(split, str):
            group.given.add(split)
    return groups


def draw(groups: Sequence[Group], wanted: dict[str, float], seed: int) -> dict[str, str]:
    """Group name -> drawn split, class by class; a group counts for its most frequent class."""
    classes: dict[str, list[Group]] = defaultdict(list)
    for group in sorted(groups, key=lambda group: random_key(seed, group.name)):
        classes[group.main_class].append(group)
    drawn: dict[str, str] = {}
    for members in classes.values():
        total = sum(group.size for group in members)
        remaining = members
        for split, fraction in wanted.items():
            least = 1 if len(members) >= EACH_SPLIT_FROM_GROUPS else 0
            taken = take(remaining, max(least, round(total * fraction)))
            drawn.update(dict.fromkeys((group.name for group in taken), split))
            remaining = [group for group in remaining if group.name not in drawn]
    return give_back(groups, drawn)


def take(groups: Sequence[Group], count: int) -> list[Group]:
    """Groups from the front until they contain about `count` rows; a group that would overshoot is skipped."""
    taken: list[Group] = []
    size = 0
    for group in groups:
        if size < count and size + group.size - count <= count - size:
            taken.append(group)
            size += group.size
    return taken


def give_back(groups: Sequence[Group], drawn: dict[str, str]) -> dict[str, str]:
    """`drawn` without the smallest group of each class that would have no image left to train on."""
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


def final_split(split: str | None, label: str | None, group: str, drawn: dict[str, str], wanted: set[str]) -> str:
    """The final split of one row. A row given to train moves only if a missing split was drawn from train."""
    if split in ("predict", "unlabelled", "val", "test"):
        return split
    if not isinstance(label, str):
        return "unlabelled"
    if split == "train" and drawn.get(group) not in wanted:
        return "train"
    return drawn.get(group, "train")
