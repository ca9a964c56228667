"""The table of label noise in the report, and results from before it."""

from decant.reporting.appendix.label_noise import label_noise_table

JUDGED = {
    "labels": 5292, "rate": 0.0165, "confident_joint": 0.4294, "suspects": 1801, "suggested": 87, "not_suggested": 1714,
    "from_joint": {"rate": 0.0165, "low": 0.0095, "high": 0.0251, "n": 5292}, "from_duplicates": None,
}  # fmt: skip


def test_each_set_of_labels_has_a_row_with_both_estimates() -> None:
    table = label_noise_table({"label_noise": {"train": JUDGED, "val_and_test": {**JUDGED, "confident_joint": None}}})
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[-2:]]
    assert cells[0] == ["train", "5,292", "0.017", "0.017 (0.010–0.025, n 5,292)", "–", "0.429", "1,801", "87"]
    assert cells[1][0] == "val and test"
    assert cells[1][5] == "–"


def test_results_of_an_older_version_have_no_table() -> None:
    assert label_noise_table({"found": 3, "issues": {"label": 2}}) == ""
