"""Policy: from issues to actions. Every row stays in the manifest, with its action and its reason.

| issue | report | duplicates (default) | conservative | aggressive |
|---|---|---|---|---|
| broken | drop | drop | drop | drop |
| extra source: copy of a val, test or predict image (extra_leak) | drop | drop | drop | drop |
| extra source: the same file as a labelled image of the main source (extra_copy) | drop | drop | drop | drop |
| warning of the decoder (damaged metadata) | none | none | none | none |
| exact duplicate in train, same label | suggest | drop all but the first | as left | as left |
| the same file under two labels (conflict), train | suggest | downweight to 0 | as left | as left |
| group across given splits (leak) | suggest | drop from the less strict split | as left | as left |
| unlabelled image in the group of a val, test or predict image (leak) | drop | drop | drop | drop |
| near duplicate | group | group | group | group |
| label, clear | suggest | suggest | downweight to 0 | relabel |
| label, less clear | suggest | suggest | review | downweight to 0 |
| odd | suggest | suggest | suggest | suggest |
| anything else in val and test | suggest | suggest | suggest | suggest |

In a conflict, it is not known which label is right. A label issue is clear if the given class has a probability below
0.1 and another class above 0.8. Where labels are nearly clean, people confirm most of the labels that this rule
contradicts, so only the last two policies act on it.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from decant.data.manifest import Manifest
from decant.study import Policy

ISSUE_COLUMNS = ["id", "path", "issue", "score", "given_label", "suggested_label", "action", "reason"]
PRECEDENCE = ["none", "suggest", "review", "group", "downweight", "relabel", "drop"]
ALWAYS_DROPPED = ("broken", "extra_leak", "extra_copy")
GIVEN_BELOW, OTHER_ABOVE = 0.1, 0.8


def apply_policy(manifest: Manifest, issues: pd.DataFrame, policy: Policy) -> tuple[Manifest, pd.DataFrame]:
    """Return the manifest with actions, reasons, labels and weights, and the issues with their actions.

    issues: as from `list_issues`. The action of a row is the strongest action of its issues; the reasons are joined.
    Labels of val and test never change.
    """
    rows = manifest.rows.set_index("id", drop=False).rename_axis(None)
    issues = issues.copy()
    issues["action"] = [
        action_for(issue, policy, rows.at[issue.id, "split"]) for issue in issues.itertuples(index=False)
    ]
    for id_, row_issues in issues.groupby("id", sort=False):
        strongest = max(row_issues["action"], key=PRECEDENCE.index)
        if strongest == "relabel" and "downweight" in set(row_issues["action"]):
            strongest = "downweight"  # a conflict: the label that was checked is one of several
        rows.at[id_, "action"] = strongest
        rows.at[id_, "reason"] = "; ".join(dict.fromkeys(row_issues["reason"]))
        if strongest == "downweight":
            rows.at[id_, "weight"] = 0.0
        if strongest == "relabel":
            rows.at[id_, "label"] = row_issues.loc[row_issues["action"] == "relabel", "suggested_label"].iloc[0]
    return Manifest(rows.reset_index(drop=True), manifest.classes), issues[ISSUE_COLUMNS]


def action_for(issue: Any, policy: Policy, split: str | None) -> str:
    """Return the action for one issue; `issue` has the fields of ISSUE_COLUMNS and `clear`."""
    kind = issue.issue
    if kind in ALWAYS_DROPPED:
        return "drop"
    if kind == "warning":
        return "none"
    if kind == "near_duplicate":
        return "group"
    if kind == "leak":
        return "suggest" if policy == "report" and split != "unlabelled" else "drop"
    if policy == "report" or kind == "odd" or split != "train":
        return "suggest"
    if kind == "exact_duplicate":
        return "drop"
    if kind == "conflict":
        return "downweight"
    if policy == "duplicates":
        return "suggest"
    actions: Mapping[tuple[str, bool], str] = {
        ("conservative", True): "downweight",
        ("conservative", False): "review",
        ("aggressive", True): "relabel",
        ("aggressive", False): "downweight",
    }
    return actions[policy, bool(issue.clear)]


def is_clear(suspect: Any) -> bool:
    """Whether a label issue is clear; `suspect` has the fields of SUSPECT_COLUMNS."""
    return bool(suspect.self_confidence < GIVEN_BELOW and suspect.suggested_confidence > OTHER_ABOVE)
