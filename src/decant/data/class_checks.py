"""Problems of classes that are reported before anything is trained: copies, contradictions, a val with few classes."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from decant.data.sources.folder_layout import key_for

log = logging.getLogger(__name__)
EFFECT_OF_ABSENT_CLASSES = {  # split -> what follows if it lacks classes
    "val": "weights, temperatures and the choice of the best models rest on these alone",
    "test": "the scores do not cover the others",
}


def without_repeats(table: pd.DataFrame, in_repeat: Sequence[bool]) -> pd.DataFrame:
    """The manifest's table in which images of a repeating folder are set aside if others have the same bytes.

    in_repeat: True for each row in a folder that seems to repeat others. The reason names the other image. One line is
    logged for the copies, and one for images of such folders that are no copies.
    """
    repeat = pd.Series(in_repeat, index=table.index, dtype=bool) & (table["action"] != "drop")
    if not repeat.any():
        return table
    others = table[~repeat & (table["action"] != "drop")].drop_duplicates("content").set_index("content")["path"]
    original = table["content"].map(others).where(repeat)
    copies = original.notna()
    table = table.copy()
    table.loc[copies, "reason"] = "copy of " + original[copies]
    table.loc[copies, "action"] = "drop"
    new = repeat & ~copies
    if copies.any():
        first = table.index[copies][0]
        log.warning(
            "%d of the %d images in %s are copies of other images (%s = %s) and are set aside",
            copies.sum(), repeat.sum(), ", ".join(folders_of(table[repeat])), table.at[first, "path"], original[first],
        )  # fmt: skip
    if new.any():
        labelled, folders = table.loc[new, "label"].notna().sum(), folders_of(table[new])
        log.warning(
            "%d images in %s are no copies (%s): %d count as unlabelled, %d have a label. If the folder is a split, "
            "say which: %s (or val, test, predict, unlabelled, ignore)",
            new.sum(), ", ".join(folders), table.loc[new, "path"].iloc[0], new.sum() - labelled, labelled,
            key_for(folders[0], "train"),
        )  # fmt: skip
    return table


def counted_reasons(reasons: Iterable[str]) -> str:
    """The most frequent reasons with their counts: "2 × empty file; 1 × not an image". "" if there is none."""
    return "; ".join(f"{count} × {reason}" for reason, count in Counter(reasons).most_common(3))


def folders_of(rows: pd.DataFrame) -> list[str]:
    """The top folders of the paths, at most five."""
    return sorted({path.split("/")[0] for path in rows["path"]})[:5]


def contradicted_classes(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Class -> (path, path of the same file under another class), for classes without any other image to train on."""
    rows = table[
        (table["action"] != "drop") & table["label"].notna() & (table["split"].isna() | (table["split"] == "train"))
    ]
    labels = rows.groupby("content")["label"].transform("nunique")
    clear = set(rows.loc[labels == 1, "label"])
    contradicted = {}
    for name in classes:
        if name not in clear and (rows["label"] == name).any():
            row = rows[rows["label"] == name].iloc[0]
            other = rows[(rows["content"] == row["content"]) & (rows["label"] != name)].iloc[0]
            contradicted[name] = (row["path"], other["path"])
    return contradicted


def warn_of_classes(table: pd.DataFrame, classes: Sequence[str]) -> None:
    """Warn of classes whose images are all under another class too, and of splits that lack classes."""
    for name, (path, other) in contradicted_classes(table, classes).items():
        log.warning(
            "every image of the class %r is also in another class (%s = %s): no label of it can be trusted. "
            "Remove the wrong folder or rows",
            name, path, other,
        )  # fmt: skip
    kept_rows = table[table["action"] != "drop"]
    for split in ("val", "test"):
        present = set(kept_rows.loc[kept_rows["split"] == split, "label"].dropna())
        absent = [name for name in classes if name not in present]
        if present and absent:
            log.warning(
                "%s has images of %d of %d classes (not of %s): %s. Add images there, or name another val and test in "
                "data.split_file",
                split, len(present), len(classes), ", ".join(map(repr, absent[:5])) + (" …" if absent[5:] else ""),
                EFFECT_OF_ABSENT_CLASSES[split],
            )  # fmt: skip
