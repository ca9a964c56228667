"""Meaning of folder names: which folders are splits, and which only wrap a data set."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

SPLIT_WORDS = {
    "train": "train trains training",
    "val": "val valid validation validate validating dev devel development eval evaluation",
    "test": "test tests testing holdout",
    "predict": "pred predict prediction predictions predicting",
    "unlabelled": "unlabelled unlabeled unlabel unsup unsupervised",
}
SPLIT_OF_WORD = {word: split for split, words in SPLIT_WORDS.items() for word in words.split()}
# Words that say nothing about the split: seg_train, train_images, training_set.
FILLERS = set("set sets data dataset image images img imgs photo photos picture pictures pic pics seg split".split())
FILLERS |= set("folder files samples raw new final resized cropped jpg jpeg png".split())
GLUED = re.compile(r"(dataset|sets?|data|images?|imgs?|photos|pictures|split)$")
SPLITS = ("train", "val", "test", "predict", "unlabelled")


def split_of_name(name: str) -> str | None:
    """The split that a folder's name means ("Training_Set", "seg_train", "val2017"), one of SPLITS; else None.

    None also for a name of several splits, such as train+val.
    """
    splits = [SPLIT_OF_WORD.get(word) for word in telling_words(name)]
    return splits[0] if len(splits) == 1 else None


def split_of_table(path: str) -> str | None:
    """The split that a table's file name means, else its folder's; None if the name means several splits."""
    folder, _, name = path.rpartition("/")
    words = re.split(r"[\W_]+", name.partition(".")[0].lower())
    splits = {split for word in words if (split := split_of_name(word))}
    return splits.pop() if len(splits) == 1 else split_of_path(folder + "/") if not splits else None


def split_of_path(path: str) -> str | None:
    """The split that the first folder of a path with such a name means."""
    return next((split for folder in path.split("/")[:-1] if (split := split_of_name(folder))), None)


def telling_words(name: str) -> list[str]:
    """The words of a folder's name without fillers and numbers; a glued filler is removed (trainset: train)."""
    words = re.split(r"[\W_]+", unicodedata.normalize("NFKC", name).lower())
    words = [re.sub(r"^\d+|\d+$", "", word) for word in words]
    bare = [GLUED.sub("", word) or word for word in words]
    words = [short if short in SPLIT_OF_WORD else word for word, short in zip(words, bare, strict=True)]
    return [word for word in words if word and word not in FILLERS]


def wrapping(
    paths: Sequence[str], levels: int = 1, keep: Collection[str] = (), splits: Mapping[str, str] | None = None
) -> str:
    """The folders, "a/b/" or "", that contain all of `paths` and so carry no information.

    Split folders and those of `keep` never count as wrapping. levels: at least one file keeps this many folder levels
    below the wrapping (1: the class folders). splits: folder name -> split, of folders that the study names.
    """
    prefix = ""
    while paths:
        inner = [path[len(prefix) :].split("/") for path in paths]
        first = inner[0][0]
        if any(parts[0] != first or len(parts) == 1 for parts in inner):
            break
        if split_of_name(first) or first in (splits or {}) or first in keep or max(map(len, inner)) < levels + 2:
            break
        prefix += first + "/"
    return prefix


def without_doubles(parts: Sequence[str], doubled: Collection[str]) -> list[str]:
    """The parts of a path without the folders that repeat their split folder: train/train/car/1.jpg."""
    result = list(parts)
    while len(result) > 2 and result[0] in doubled and result[1] == result[0]:
        del result[1]
    return result


def doubled_folders(paths: Sequence[Sequence[str]]) -> set[str]:
    """The first folders that contain nothing but a folder of the same name. paths: their parts."""
    inner: dict[str, set[str]] = {}
    for parts in paths:
        if len(parts) > 1:
            inner.setdefault(parts[0], set()).add(parts[1] if len(parts) > 2 else "")
    return {first for first, below in inner.items() if below == {first}}


def unwrapped(path: str, prefix: str) -> str:
    return path[len(prefix) :] if path.startswith(prefix) else path


def is_below(path: str, folder: str) -> bool:
    return bool(folder) and path.startswith(folder + "/")
