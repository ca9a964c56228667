"""The action for each issue under each policy, and the rows that no policy may change."""

from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decant.cleaning.issues import cleaning_metrics
from decant.cleaning.policy import ISSUE_COLUMNS, PRECEDENCE, apply_policy
from decant.data.manifest import Manifest
from decant.study import Clean, Policy

Make = Callable[..., Manifest]
POLICIES: list[Policy] = ["report", "duplicates", "conservative", "aggressive"]
KINDS = ["broken", "conflict", "exact_duplicate", "label", "leak", "near_duplicate", "odd", "warning"]


def issues_of(*issues: tuple[str, str, bool]) -> pd.DataFrame:
    """Return issues (id, kind, clear) as from `list_issues`; label issues suggest van."""
    columns = [name if name != "action" else "clear" for name in ISSUE_COLUMNS]
    rows = [
        (id_, f"{id_}.jpg", kind, 0.9, "car", "van" if kind == "label" else None, clear, f"{kind} of {id_}")
        for id_, kind, clear in issues
    ]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize(
    ("kind", "clear", "actions"),
    [
        ("broken", False, ("drop", "drop", "drop", "drop")),
        ("near_duplicate", False, ("group", "group", "group", "group")),
        ("leak", False, ("suggest", "drop", "drop", "drop")),
        ("exact_duplicate", False, ("suggest", "drop", "drop", "drop")),
        ("conflict", False, ("suggest", "downweight", "downweight", "downweight")),
        ("label", True, ("suggest", "suggest", "downweight", "relabel")),
        ("label", False, ("suggest", "suggest", "review", "downweight")),
        ("odd", False, ("suggest", "suggest", "suggest", "suggest")),
        ("warning", False, ("none", "none", "none", "none")),
    ],
)
def test_each_policy_takes_the_action_for_each_issue_that_the_table_states(
    manifest: Make, kind: str, clear: bool, actions: tuple[str, ...]
) -> None:
    for policy, action in zip(POLICIES, actions, strict=True):
        after, issues = apply_policy(manifest({}, {}), issues_of(("r0", kind, clear)), policy)
        assert after.rows["action"].tolist() == [action, "none"]
        assert issues["action"].tolist() == [action]
        assert list(issues.columns) == ISSUE_COLUMNS


@pytest.mark.parametrize("policy", POLICIES)
def test_an_unlabelled_image_that_leaks_is_dropped_under_every_policy(manifest: Make, policy: Policy) -> None:
    after, _ = apply_policy(manifest({"split": "unlabelled"}), issues_of(("r0", "leak", False)), policy)
    assert after.rows["action"].tolist() == ["drop"]


def test_by_default_no_label_loses_its_weight_for_what_a_classifier_predicts(manifest: Make) -> None:
    every = issues_of(*((f"r{k}", kind, True) for k, kind in enumerate(KINDS)))
    after, _ = apply_policy(manifest(*({} for _ in KINDS)), every, Clean().policy)
    unused = (after.rows["weight"] == 0) | (after.rows["action"] == "drop")
    assert {kind for kind, lost in zip(KINDS, unused, strict=True) if lost} == {
        "broken", "conflict", "exact_duplicate", "leak",
    }  # fmt: skip
    assert after.rows["label"].equals(after.rows["given_label"])


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("policy", POLICIES)
def test_labels_and_weights_of_val_and_test_stay_as_given(manifest: Make, policy: Policy, split: str) -> None:
    every = issues_of(*(("r0", kind, True) for kind in ("label", "conflict", "exact_duplicate", "odd")))
    after, _ = apply_policy(manifest({"split": split}), every, policy)
    assert after.rows.loc[0, ["label", "weight", "action"]].tolist() == ["car", 1.0, "suggest"]


def test_rows_without_a_split_keep_their_label(manifest: Make) -> None:
    after, _ = apply_policy(manifest({"split": None}), issues_of(("r0", "label", True)), "aggressive")
    assert after.rows.loc[0, ["label", "action"]].tolist() == ["car", "suggest"]


def test_the_strongest_action_is_taken_and_all_reasons_are_kept(manifest: Make) -> None:
    issues = issues_of(("r0", "near_duplicate", False), ("r0", "label", True), ("r0", "odd", False))
    after, _ = apply_policy(manifest({}), issues, "aggressive")
    assert after.rows.loc[0, "action"] == "relabel"
    assert after.rows.loc[0, "label"] == "van"
    assert after.rows.loc[0, "given_label"] == "car"
    assert after.rows.loc[0, "reason"] == "near_duplicate of r0; label of r0; odd of r0"


def test_a_dropped_row_keeps_its_label_and_weight(manifest: Make) -> None:
    after, _ = apply_policy(manifest({}), issues_of(("r0", "label", True), ("r0", "leak", False)), "aggressive")
    assert after.rows.loc[0, ["action", "label", "weight"]].tolist() == ["drop", "car", 1.0]


def test_downweighted_rows_get_weight_0(manifest: Make) -> None:
    after, _ = apply_policy(manifest({}, {}), issues_of(("r1", "conflict", False)), "conservative")
    assert after.rows["weight"].tolist() == [1.0, 0.0]


def test_rows_dropped_before_stay_dropped_with_their_reason(manifest: Make) -> None:
    before = manifest({"action": "drop", "reason": "broken: no image"}, {})
    after, _ = apply_policy(before, issues_of(("r1", "odd", False)), "conservative")
    assert after.rows.loc[0, ["action", "reason"]].tolist() == ["drop", "broken: no image"]


rows_strategy = st.lists(
    st.tuples(st.sampled_from(["train", "val", "test", "predict", "unlabelled", None]), st.booleans()),
    min_size=1,
    max_size=8,
)
issues_strategy = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(KINDS), st.booleans()), max_size=16)


@given(rows_strategy, issues_strategy, st.sampled_from(POLICIES))
def test_no_row_and_no_given_label_is_lost_under_any_issues(
    manifest: Make, rows: list[tuple[str | None, bool]], issues: list[tuple[int, str, bool]], policy: Policy
) -> None:
    before = manifest(
        *({"split": split, "action": "drop" if gone else "none", "reason": "x" * gone} for split, gone in rows)
    )
    # Dropped rows are unreadable files, so they cannot have other issues.
    chosen = [(f"r{k}", kind, clear) for k, kind, clear in issues if k < len(rows) and not rows[k][1]]
    after, with_actions = apply_policy(before, issues_of(*chosen), policy)

    assert after.rows["id"].tolist() == before.rows["id"].tolist()
    assert after.rows["given_label"].equals(before.rows["given_label"])
    outside = before.rows["split"] != "train"
    assert after.rows.loc[outside, "label"].equals(before.rows.loc[outside, "label"])
    assert set(before.rows["id"][before.rows["action"] == "drop"]) <= set(
        after.rows["id"][after.rows["action"] == "drop"]
    )
    for id_, actions in with_actions.groupby("id")["action"]:
        action = after.rows.set_index("id").at[id_, "action"]
        assert PRECEDENCE.index(action) == max(PRECEDENCE.index(candidate) for candidate in actions)
    counted = cleaning_metrics(after, with_actions)
    assert counted["kept"] + counted["set_aside"] == counted["found"] == len(rows)
    assert counted["kept"] == len(after.kept())
    assert sum(counted["actions"].values()) == len(rows)
    assert sum(counted["issues"].values()) == len(chosen)
