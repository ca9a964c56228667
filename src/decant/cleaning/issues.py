"""The list of issues, `clean/issues.csv`, and its counts, `clean/metrics.json`."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from decant.cleaning.policy import ISSUE_COLUMNS, is_clear
from decant.data.manifest import WARNING, Manifest

Issue = dict[str, Any]


def list_issues(
    manifest: Manifest,
    exact: pd.DataFrame,
    near: pd.DataFrame | None,
    leaks: pd.Series,
    odd: dict[str, str],
    suspects: pd.DataFrame,
) -> pd.DataFrame:
    """Return one row per issue: ISSUE_COLUMNS with `clear` in place of `action`.

    exact, near: columns `first`, `second` (manifest ids) and `score`. leaks: id -> reason. odd: id -> fault.
    suspects: as from `find_label_issues`.
    """
    rows = manifest.rows.set_index("id", drop=False).rename_axis(None)
    issues = [
        *broken(rows),
        *warned(rows),
        *exact_duplicates(rows, exact),
        *(near_duplicates(rows, near) if near is not None else ()),
        *(issue(rows, id_, "leak", 1.0, reason) for id_, reason in leaks.items()),
        *(issue(rows, id_, "odd", 1.0, f"odd: {fault}") for id_, fault in odd.items()),
        *labels(rows, suspects, manifest.classes),
    ]
    return table_of(issues)


def table_of(issues: list[Issue]) -> pd.DataFrame:
    """Issues as rows, sorted: ISSUE_COLUMNS with `clear` in place of `action`."""
    columns = [name if name != "action" else "clear" for name in ISSUE_COLUMNS]
    return in_order(pd.DataFrame(issues, columns=columns))


def in_order(issues: pd.DataFrame) -> pd.DataFrame:
    """The issues by kind, the highest score of each first."""
    return issues.sort_values(["issue", "score", "id"], ascending=[True, False, True], ignore_index=True)


def issue(
    rows: pd.DataFrame,
    id_: str,
    kind: str,
    score: float,
    reason: str,
    suggested: str | None = None,
    clear: bool = False,
) -> Issue:
    """One issue of the row `id_`. rows: the manifest's table, indexed by id."""
    row = rows.loc[id_]
    return {
        "id": id_,
        "path": row["path"],
        "issue": kind,
        "score": round(float(score), 4),
        "given_label": row["given_label"],
        "suggested_label": suggested,
        "clear": clear,
        "reason": reason,
    }


def broken(rows: pd.DataFrame) -> Iterator[Issue]:
    for row in rows[(rows["action"] == "drop") & rows["reason"].str.startswith("broken")].itertuples():
        yield issue(rows, row.id, "broken", 1.0, row.reason)


def warned(rows: pd.DataFrame) -> Iterator[Issue]:
    """Yield the images that are used although their decoder warned of them."""
    for row in rows[(rows["action"] != "drop") & rows["reason"].str.startswith(WARNING)].itertuples():
        yield issue(rows, row.id, "warning", 1.0, row.reason)


def exact_duplicates(rows: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[Issue]:
    """Yield copies within one split. If the copies have different labels, all of them are a conflict."""
    duplicates = rows.loc[pd.unique(pd.concat([pairs["first"], pairs["second"]]))] if len(pairs) else rows.iloc[:0]
    duplicates = duplicates[duplicates["action"] != "drop"]
    for _, copies in duplicates.groupby(["content", "split"], sort=True):
        copies = copies.sort_values("id")
        if copies["given_label"].nunique() > 1:
            names = ", ".join(sorted(copies["given_label"].dropna().unique()))
            for row in copies.itertuples():
                yield issue(rows, row.id, "conflict", 1.0, f"conflict: the same file is labelled {names}")
        else:
            for row in copies.iloc[1:].itertuples():
                yield issue(rows, row.id, "exact_duplicate", 1.0, f"exact duplicate of {copies.iloc[0]['path']}")


def near_duplicates(rows: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[Issue]:
    """Yield the second image of each pair, with the first image that it resembles most."""
    best = pairs.sort_values(["score", "first"], ascending=[False, True]).drop_duplicates("second")
    for pair in best.itertuples():
        if rows.at[pair.first, "content"] != rows.at[pair.second, "content"]:
            first, label = rows.at[pair.first, "path"], rows.at[pair.first, "given_label"]
            differs = label is not None and rows.at[pair.second, "given_label"] not in (None, label)
            reason = f"near duplicate of {first}" + (f", which is labelled {label}" if differs else "")
            yield issue(rows, pair.second, "near_duplicate", pair.score, reason)


def labels(rows: pd.DataFrame, suspects: pd.DataFrame, classes: list[str]) -> Iterator[Issue]:
    for suspect in suspects.itertuples():
        suggested = classes[suspect.suggested]
        reason = f"label: looks like {suggested} ({suspect.suggested_confidence:.2f})"
        yield issue(rows, suspect.id, "label", 1 - suspect.self_confidence, reason, suggested, is_clear(suspect))


def cleaning_metrics(manifest: Manifest, issues: pd.DataFrame) -> dict[str, Any]:
    """Return the counts for `clean/metrics.json`; found = kept + set_aside."""
    rows = manifest.rows
    set_aside = int((rows["action"] == "drop").sum())
    extra = {"extra_sources": extra_counts(manifest, issues)} if manifest.is_extra().any() else {}
    return {
        **extra,
        "found": len(rows),
        "kept": len(rows) - set_aside,
        "set_aside": set_aside,
        "groups_of_several": int((manifest.kept()["group"].value_counts() > 1).sum()),
        "issues": counts(issues["issue"]),
        "issue_actions": {str(kind): counts(alike["action"]) for kind, alike in issues.groupby("issue")},
        "actions": counts(rows["action"]),
        "splits": counts(manifest.kept()["split"]),
        "splits_set_aside": counts(rows["split"][rows["action"] == "drop"]),
    }


def extra_counts(manifest: Manifest, issues: pd.DataFrame) -> dict[str, int]:
    """The counts of images of extra sources; found = train + unlabelled + set_aside."""
    rows = manifest.rows[manifest.is_extra()]
    splits = rows["split"][rows["action"] != "drop"]  # of the kept rows
    kinds = issues["issue"]
    return {
        "found": len(rows),
        "train": int((splits == "train").sum()),
        "unlabelled": int((splits == "unlabelled").sum()),
        "set_aside": len(rows) - len(splits),
        "copies_of_val_test_or_predict": int((kinds == "extra_leak").sum()),
        "copies_of_the_main_source": int((kinds == "extra_copy").sum()),
    }


def counts(values: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in values.value_counts().sort_index().items()}
