"""The list of issues contains each issue once, with its row and its reason."""

from collections.abc import Callable

import pandas as pd
import pytest

from decant.cleaning.issues import cleaning_metrics, list_issues
from decant.cleaning.label_issues import SUSPECT_COLUMNS
from decant.cleaning.policy import ISSUE_COLUMNS, apply_policy
from decant.data.manifest import Manifest

Make = Callable[..., Manifest]


def pairs(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["first", "second", "score"])


def listed(
    manifest: Manifest,
    exact: pd.DataFrame | None = None,
    near: pd.DataFrame | None = None,
    leaks: dict[str, str] | None = None,
    odd: dict[str, str] | None = None,
    suspects: list[tuple[str, float, int, float]] | None = None,
) -> pd.DataFrame:
    return list_issues(
        manifest,
        pairs() if exact is None else exact,
        near,
        pd.Series(leaks or {}, dtype=object),
        odd or {},
        pd.DataFrame(suspects or [], columns=SUSPECT_COLUMNS),
    )


def test_no_issues_give_an_empty_table_that_apply_policy_accepts(manifest: Make) -> None:
    before = manifest({}, {})
    after, issues = apply_policy(before, listed(before), "aggressive")
    assert issues.empty
    assert list(issues.columns) == ISSUE_COLUMNS
    assert after.rows.equals(before.rows)
    assert cleaning_metrics(after, issues)["issues"] == {}


def test_exact_copies_within_one_split_are_listed_except_the_first(manifest: Make) -> None:
    three = manifest({"content": "a"}, {"content": "a"}, {"content": "a", "split": "test"})
    issues = listed(three, pairs(("r0", "r1", 1.0), ("r0", "r2", 1.0)))
    assert issues[["id", "issue", "reason"]].values.tolist() == [["r1", "exact_duplicate", "exact duplicate of 0.jpg"]]


def test_all_identical_files_with_different_labels_are_conflicts(manifest: Make) -> None:
    rows = [{"content": "a", "given_label": label} for label in ("van", "car", "car")]
    issues = listed(manifest(*rows), pairs(("r0", "r1", 1.0), ("r0", "r2", 1.0)))
    assert issues["id"].tolist() == ["r0", "r1", "r2"]
    assert set(issues["issue"]) == {"conflict"}
    assert set(issues["reason"]) == {"conflict: the same file is labelled car, van"}


def test_a_near_duplicate_names_the_most_similar_image_and_its_different_label(manifest: Make) -> None:
    four = manifest({}, {"given_label": "van"}, {}, {"content": "c2"})
    near = pairs(("r0", "r2", 0.85), ("r1", "r2", 0.95), ("r2", "r3", 1.0))
    issues = listed(four, pairs(("r2", "r3", 1.0)), near)
    near_duplicates = issues[issues["issue"] == "near_duplicate"]
    assert near_duplicates[["id", "score", "reason"]].values.tolist() == [
        ["r2", 0.95, "near duplicate of 1.jpg, which is labelled van"]
    ]


@pytest.mark.parametrize(
    ("given", "other", "clear"), [(0.05, 0.9, True), (0.15, 0.83, False), (0.05, 0.6, False), (0.001, 0.999, True)]
)
def test_a_label_issue_is_clear_only_if_the_given_class_is_improbable_and_another_is_probable(
    manifest: Make, given: float, other: float, clear: bool
) -> None:
    rows = manifest({}, {})
    issues = listed(rows, suspects=[("r1", given, 2, other)])
    assert issues["clear"].tolist() == [clear]
    assert issues["suggested_label"].tolist() == ["van"]
    assert issues["score"].tolist() == [pytest.approx(1 - given, abs=1e-4)]


def test_metrics_count_by_issue_action_and_split(manifest: Make) -> None:
    rows = manifest(
        {"action": "drop", "reason": "broken: it is no image"},
        {"content": "a"},
        {"content": "a"},
        {"split": "val", "content": "b", "group": "g"},
        {"split": "val", "content": "c", "group": "g"},
        {"split": "test", "reason": "warning: Corrupt EXIF data."},
    )
    exact, near = pairs(("r1", "r2", 1.0)), pairs(("r3", "r4", 0.9))
    issues = listed(rows, exact, near, leaks={"r4": "leak: x"}, odd={"r5": "too dark"})
    after, issues = apply_policy(rows, issues, "conservative")
    assert cleaning_metrics(after, issues) == {
        "found": 6,
        "kept": 3,
        "set_aside": 3,
        "groups_of_several": 0,
        "issues": {"broken": 1, "exact_duplicate": 1, "leak": 1, "near_duplicate": 1, "odd": 1, "warning": 1},
        "issue_actions": {
            "broken": {"drop": 1},
            "exact_duplicate": {"drop": 1},
            "leak": {"drop": 1},
            "near_duplicate": {"group": 1},
            "odd": {"suggest": 1},
            "warning": {"none": 1},
        },
        "actions": {"drop": 3, "none": 2, "suggest": 1},
        "splits": {"test": 1, "train": 1, "val": 1},
        "splits_set_aside": {"train": 2, "val": 1},
    }
