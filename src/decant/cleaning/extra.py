"""Images of extra sources that are copies of images of the main source.

A copy of an image to evaluate or to predict must never be trained on, so no limit on the size of a group applies here:
a wrong pair costs an extra image only.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from decant.cleaning.duplicates import components, group_duplicates
from decant.cleaning.issues import issue, list_issues, table_of
from decant.data.manifest import EXTRA, Manifest

HELD = ("test", "val", "predict")  # splits whose copies are left out; the first that applies is named


@dataclass(frozen=True)
class CheckedExtra:
    """manifest: with the groups of all rows, copies set aside. leaks, copies: id of an extra row -> reason."""

    manifest: Manifest
    leaks: dict[str, str]
    copies: dict[str, str]


def check_extra(manifest: Manifest, exact: pd.DataFrame, near: pd.DataFrame) -> CheckedExtra:
    """Group the extra rows with their copies, and set those aside that must not be trained on.

    manifest: the readable rows, those of the main source first, with their groups and splits. exact, near: pairs of
    positions i < j with their score. A leak is connected by pairs, over any number of copies, with a main row of val,
    test or predict. A copy is no leak and has the bytes of a labelled main row or, if it has no label, of any main row.
    Rows of val, test and predict, and their groups, do not change.
    """
    rows, is_extra = manifest.rows, manifest.is_extra().to_numpy()
    pairs = pd.concat([main_pairs(rows, is_extra), touching(exact, is_extra), touching(near, is_extra)])
    leaks = leaking(rows, is_extra, components(len(rows), pairs))
    leaked = rows["id"].isin(list(leaks)).to_numpy()
    copies = same_bytes(rows, is_extra & ~leaked)
    certain = pd.concat([main_pairs(rows, is_extra), touching(exact, is_extra)])
    groups = group_duplicates(rows, without(certain, leaked), without(touching(near, is_extra), leaked))
    aside = {**leaks, **copies}
    checked = rows.assign(
        group=np.where(leaked, rows["id"], groups),
        action=rows["action"].mask(rows["id"].isin(list(aside)), "drop"),
        reason=[aside.get(id_, reason) for id_, reason in zip(rows["id"], rows["reason"], strict=True)],
    )
    return CheckedExtra(Manifest(checked, manifest.classes), leaks, copies)


def main_pairs(rows: pd.DataFrame, is_extra: np.ndarray) -> pd.DataFrame:
    """Pairs that connect the main rows of each group. is_extra: bool [rows]."""
    position = np.flatnonzero(~is_extra)
    first = pd.Series(position).groupby(rows["group"].to_numpy()[position]).transform("min").to_numpy()
    pairs = pd.DataFrame({"i": first, "j": position, "score": 1.0})
    return pairs[pairs["i"] != pairs["j"]]


def touching(pairs: pd.DataFrame, is_extra: np.ndarray) -> pd.DataFrame:
    """The pairs with an extra row. pairs: columns i, j, positions of rows. is_extra: bool [rows]."""
    return pairs.loc[is_extra[pairs["i"]] | is_extra[pairs["j"]], ["i", "j", "score"]]


def without(pairs: pd.DataFrame, left_out: np.ndarray) -> pd.DataFrame:
    """The pairs of which no row is left out. left_out: bool [rows]."""
    return pairs[~(left_out[pairs["i"]] | left_out[pairs["j"]])]


def leaking(rows: pd.DataFrame, is_extra: np.ndarray, component: np.ndarray) -> dict[str, str]:
    """id -> reason, of the extra rows whose component has a main row of HELD. component: int [rows]."""
    held_in: dict[int, str] = {}
    for split in HELD:
        for position in np.flatnonzero(~is_extra & (rows["split"] == split).to_numpy()):
            held_in.setdefault(component[position], f"{rows['path'].iloc[position]}, which is in {split}")
    leaks = [position for position in np.flatnonzero(is_extra) if component[position] in held_in]
    return {rows["id"].iloc[n]: f"leak: a copy of {held_in[component[n]]}" for n in leaks}


def same_bytes(rows: pd.DataFrame, is_extra: np.ndarray) -> dict[str, str]:
    """id -> reason, of the extra rows whose file is in the main source and adds no label to it."""
    main = rows[rows[EXTRA] == 0]
    path_of = dict(zip(main["content"], main["path"], strict=True))
    labelled = set(main.loc[main["label"].notna(), "content"])
    copies = rows[is_extra & rows["content"].isin(list(path_of)).to_numpy()]
    copies = copies[copies["content"].isin(list(labelled)) | copies["label"].isna()]
    paths = [path_of[content] for content in copies["content"]]
    return {id_: f"copy of {path} of the main source" for id_, path in zip(copies["id"], paths, strict=True)}


def extra_issues(
    manifest: Manifest,
    checked: CheckedExtra,
    exact: pd.DataFrame,
    near: pd.DataFrame,
    odd: dict[str, str],
    suspects: pd.DataFrame,
) -> pd.DataFrame:
    """The issues of extra rows, as from `list_issues`. manifest: all rows. exact, near: pairs of ids."""
    listed = list_issues(manifest, exact, near, pd.Series(dtype=object), odd, suspects)
    rows = manifest.rows.set_index("id", drop=False).rename_axis(None)
    listed = listed[rows.loc[listed["id"], EXTRA].to_numpy() > 0]
    copies = [
        *(issue(rows, id_, "extra_leak", 1.0, reason) for id_, reason in checked.leaks.items()),
        *(issue(rows, id_, "extra_copy", 1.0, reason) for id_, reason in checked.copies.items()),
    ]
    return pd.concat([listed, table_of(copies)], ignore_index=True) if copies else listed
