"""What the folders of an image folder mean: splits, classes, or a copy of the others."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import yaml

from decant.data.layout import SPLIT_OF_WORD, doubled_folders, split_of_name, telling_words, without_doubles
from decant.data.sources.base import ListedImage
from decant.data.sources.class_names import comparable, nfc
from decant.errors import UserError

log = logging.getLogger(__name__)
Named = Mapping[str, str] | str


@dataclass(frozen=True)
class FolderLayout:
    """What the top folders mean.

    splits: top folder -> split, empty if the top folders are the classes. repeats: top folders that contain the others
    again. doubled: top folders that contain only a folder of their own name. labelled: top folders with a class of
    train. class_first: True if the splits lie below the classes, as in car/train/1.jpg.
    """

    splits: Mapping[str, str]
    repeats: frozenset[str] = frozenset()
    doubled: frozenset[str] = frozenset()
    labelled: frozenset[str] = frozenset()
    class_first: bool = False

    def item(self, path: str) -> ListedImage:
        """Label, split and reason of the image at `path`."""
        parts, in_repeat = self.parts(path)
        if not self.splits:
            return ListedImage(path, parts[0] if len(parts) > 1 else None, None, in_repeat=in_repeat)
        beside = len(parts) > 1 and parts[0] not in self.splits
        return replace(self._below_a_split(path, parts), in_repeat=in_repeat or beside)

    def parts(self, path: str) -> tuple[list[str], bool]:
        """The parts of a path from the split's or class's folder on; True if they lie in a repeating folder."""
        parts, in_repeat = parts_of(path, self.class_first), False
        while parts[0] in self.repeats and len(parts) > 1:
            parts, in_repeat = parts[1:], True
        return without_doubles(parts, self.doubled), in_repeat

    def _below_a_split(self, path: str, parts: Sequence[str]) -> ListedImage:
        folder, label = parts[0], parts[1] if len(parts) > 2 else None
        split = self.splits.get(folder)
        if split == "ignore":
            return ListedImage(path, None, None, aside=f"data.splits ignores the folder {folder}")
        if split == "test" and (label is None or not self._is_tested()):
            split = "predict"
        if split == "val" and (label is None or folder not in self.labelled):
            return ListedImage(path, None, "val", aside=f"no label: {folder} has no class folders")
        if split == "predict":
            return ListedImage(path, None, "predict")
        return ListedImage(path, label, split) if split in ("train", "val", "test") else ListedImage(path, None, None)

    def _is_tested(self) -> bool:
        """True if a test folder contains a class; else its images are to predict."""
        return any(self.splits.get(folder) == "test" for folder in self.labelled)


def read_layout(paths: Sequence[str], named: Named, where: object) -> FolderLayout:
    """The layout of images at `paths`, which are relative to the folders that wrap the data set.

    named: `data.splits`, folder -> split, or "none" if no folder is a split. Without it, folder names are splits only
    if a train folder contains class folders: `train` may also be a class. Raises UserError if the study names a folder
    that does not exist, or if the first folders look like splits that the study does not name.
    """
    class_first = not named and has_splits_below(sub_folders([parts_of(path) for path in paths]))
    parts = [parts_of(path, class_first) for path in paths]
    below = sub_folders(parts)
    repeats = repeating(below)
    doubled = doubled_folders(parts)
    inner = [without_doubles(p[1:] if p[0] in repeats and len(p) > 1 else p, doubled) for p in parts]
    below = sub_folders(inner)
    if isinstance(named, str):
        return FolderLayout({}, repeats)
    splits = named_splits(below, named, where) if named else known_splits(below)
    if not splits:
        refuse_splits_without_classes(below, where)
        refuse_unknown_splits(below, where)
        warn_of_sub_folders(below)
        return FolderLayout({}, repeats)
    classes = {comparable(sub) for top, subs in below.items() if splits.get(top) == "train" for sub in subs - {""}}
    labelled = frozenset(top for top, subs in below.items() if {comparable(sub) for sub in subs} & classes)
    return FolderLayout(splits, repeats, frozenset(doubled), labelled, class_first)


def parts_of(path: str, class_first: bool = False) -> list[str]:
    """The parts of a path; with class_first, the split's folder before the class's."""
    first, *inner = (nfc(part) for part in path.split("/"))
    return [inner[0], first, *inner[1:]] if class_first and len(inner) > 1 else [first, *inner]


def has_splits_below(below: Mapping[str, set[str]]) -> bool:
    """True if the first folders are classes, and all folders in them are splits, train among them."""
    splits = {split_of_name(sub) for subs in below.values() for sub in subs}
    return len(below) > 1 and "train" in splits and None not in splits and not any(map(split_of_name, below))


def sub_folders(paths: Sequence[Sequence[str]]) -> dict[str, set[str]]:
    """First folder -> its sub-folders with images; "" stands for images directly in it."""
    below: dict[str, set[str]] = {}
    for parts in paths:
        if len(parts) > 1:
            below.setdefault(parts[0], set()).add(parts[1] if len(parts) > 2 else "")
    return below


def repeating(below: Mapping[str, set[str]]) -> frozenset[str]:
    """The first folders that contain the other first folders again, as after unpacking a folder into itself."""
    return frozenset(
        top for top, subs in below.items() if "" not in subs and len(subs - {top}) > 1 and subs <= below.keys()
    )


def known_splits(below: Mapping[str, set[str]]) -> dict[str, str]:
    """First folder -> split, by their names; empty if they are classes."""
    known = {top: split for top in below if (split := split_of_name(top))}
    if "train" not in known.values():
        known |= {top: "train" for top in below if is_trainval(top)}
    has_classes = any(split == "train" and below[top] - {""} for top, split in known.items())
    others_are_classes = len(known) == 1 and any("" in subs for top, subs in below.items() if top not in known)
    return known if has_classes and not others_are_classes else {}


def is_trainval(name: str) -> bool:
    """True for a name of several splits, train among them: train+val, trainval."""
    words = telling_words(name)
    splits = {SPLIT_OF_WORD.get(word) for word in words}
    return words == ["trainval"] or (len(words) > 1 and "train" in splits and splits <= {"train", "val"})


def named_splits(below: Mapping[str, set[str]], named: Mapping[str, str], where: object) -> dict[str, str]:
    """First folder -> split: as the study names it, else by the folder's name.

    Raises UserError if a named folder does not exist, or if no folder is train.
    """
    wanted = {nfc(folder.strip("/")): split for folder, split in named.items()}
    absent = [folder for folder in wanted if folder not in below]
    if absent:
        raise UserError(
            f"data.splits: {where} has no folder {absent[0]!r} with images; it has {', '.join(sorted(below)) or 'none'}"
        )
    if "train" not in wanted.values() and not any(split_of_name(top) == "train" for top in below):
        raise UserError(f"data.splits names no folder for train; {where} has {', '.join(sorted(below))}")
    return {top: split for top in below if (split := wanted.get(top) or split_of_name(top))}


def refuse_splits_without_classes(below: Mapping[str, set[str]], where: object) -> None:
    """Raise UserError if folders are named as splits, but the class folders of train are missing or not known."""
    splits = {top: split for top in sorted(below) if (split := split_of_name(top))}
    others = sorted(below.keys() - splits.keys())
    if not splits or len(below) < 2:
        return
    if others and "train" not in splits.values() and set(others) <= divided(below).keys():
        raise UserError(
            f"the folders in {where} seem to be splits ({', '.join(splits)}), but none is known as train. Say which: "
            f"data.splits: {{{others[0]}: train}}, or data.splits: none if {', '.join(sorted(below))} are the classes."
        )
    if not any(map(may_be_class, others)):
        raise UserError(
            f"the folders {', '.join(sorted(below))} in {where} are no classes by their names, and they contain no "
            "class folders to train on. Make one sub-folder per class, or a table with the name of the file and the "
            "label of each image (--set data.table=FILE); say data.splits: none if these folders are the classes."
        )


def may_be_class(name: str) -> bool:
    """False for the name of a split, and for words that say nothing, as images."""
    return not is_trainval(name) and (bool(telling_words(name)) or not any(map(str.isalpha, name)))


def divided(below: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """The first folders that contain several folders and nothing beside them, with these folders."""
    return {top: sorted(subs) for top, subs in sorted(below.items()) if len(subs) > 1 and "" not in subs}


def warn_of_sub_folders(below: Mapping[str, set[str]]) -> None:
    """Warn of classes that consist of sub-folders: these may be the classes, or splits."""
    folders = divided(below)
    if folders:
        top, subs = next(iter(folders.items()))
        splits = ", ".join(f"{name}: train" for name in list(folders)[:4])
        remedy = f"If the sub-folders are the classes: data.splits: {{{splits}}}"
        if all(map(split_of_name, subs)):
            remedy = f"They are named as splits: if they are, give the folder {top} instead of the folder above it"
        log.warning(
            "%d of %d class folders contain sub-folders, which are not read as classes (%s: %s%s). %s",
            len(folders), len(below), top, ", ".join(subs[:4]), " …" if subs[4:] else "", remedy,
        )  # fmt: skip


def refuse_unknown_splits(below: Mapping[str, set[str]], where: object) -> None:
    """Raise UserError if all first folders contain nothing but the same sub-folders."""
    everywhere = set.intersection(*below.values()) if len(below) > 1 else set()
    all_subs = set.union(*below.values()) if below else set()
    if "" in all_subs or len(everywhere) < 2 or 2 * len(everywhere) < len(all_subs):
        return
    tops = sorted(below)
    shared = ", ".join(sorted(everywhere)[:4])
    example = ", ".join(f"{top}: {split}" for top, split in zip(tops, ("train", "test", "val"), strict=False))
    raise UserError(
        f"the folders {', '.join(tops)} in {where} all contain the same sub-folders ({shared}): they look like splits, "
        f"not classes. Say which is which: data.splits: {{{example}}} (train, val, test, predict, unlabelled or "
        "ignore), or data.splits: none if they are the classes."
    )


def warn_of_unlabelled(items: Sequence[ListedImage], layout: FolderLayout) -> None:
    """One line per kind of image that has no label and is not to predict."""
    flat = [item for item in items if item.aside.startswith("no label")]
    if flat:
        folder = layout.parts(flat[0].path)[0][0]
        log.warning(
            "%d images in %s are in no class folder, so they have no label and are set aside. Give labels in a table "
            "(data.source: csv, data.table), or train on them without labels with %s",
            len(flat), folder, key_for(folder, "unlabelled"),
        )  # fmt: skip
    strays = [item for item in items if item.given_label is None and item.split is None and not item.aside]
    strays = [item for item in strays if not item.problem and not item.in_repeat]
    strays = [item for item in strays if layout.splits.get(nfc(item.path.split("/")[0])) != "unlabelled"]
    if strays:
        log.warning("%d images are in no class folder and count as unlabelled", len(strays))


def key_for(folder: str, split: str) -> str:
    """The line of a study that names the split of a folder, for messages: data.splits: {lernen: train}."""
    mapping = yaml.safe_dump({folder: split}, default_flow_style=True, allow_unicode=True, width=10**6)
    return f"data.splits: {mapping.strip()}"
