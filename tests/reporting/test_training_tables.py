"""The root report's section on training: speed beside timm, and the effects of changes."""

from pathlib import Path

import pytest

from decant.evaluation.ablations import ABLATION_COLUMNS, effect_rows
from decant.evaluation.metrics import FROM_SCRATCH_COLUMNS
from decant.evaluation.tables import difference, write_results_table
from decant.reporting.root_report import measurements_text
from decant.reporting.training_tables import training_section

SPEED = {
    "architecture": "tf_efficientnet_lite0", "input_px": 128, "batch_norms": "frozen", "threads": 2,
    "timm_per_second": 27.3, "images_per_second": 35.0, "to_timm": 1.2387, "to_timm_low": 0.9896,
    "to_timm_high": 1.4083, "to_memory": 0.9582, "to_memory_low": 0.8043, "to_memory_high": 1.0229,
}  # fmt: skip


def ablation(change: str, seed: int, accuracy: float, nll: float) -> dict[str, object]:
    return dict(zip(ABLATION_COLUMNS, ("cars", change, seed, 5.0, accuracy, nll, accuracy), strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    write_results_table([SPEED], folder / "training" / "throughput.csv")
    rows = [
        ablation("none", 0, 0.80, 0.6), ablation("none", 1, 0.82, 0.6),
        ablation("longer", 0, 0.83, 0.5), ablation("longer", 1, 0.84, 0.5), ablation("larger", 0, 0.79, 0.7),
    ]  # fmt: skip
    write_results_table(rows, folder / "training" / "ablations.csv", ABLATION_COLUMNS)
    write_results_table(effect_rows(rows, "none"), folder / "training" / "effects.csv")
    return folder


def test_speed_is_shown_with_its_ratios(folder: Path) -> None:
    text = training_section(folder, folder.parent)
    assert "| tf_efficientnet_lite0 | 128 | frozen | 35.0 | 27.3 | 1.24 (0.99–1.41) | 0.96 (0.80–1.02) |" in text
    assert "on 2 CPU threads" in text and "(results/training/throughput.csv)" in text


def test_an_effect_has_an_interval_where_there_are_several_seeds(folder: Path) -> None:
    lines = training_section(folder, folder).splitlines()
    (longer,), (larger,), (none,) = (
        [line for line in lines if line.startswith(f"| cars | {change} |")] for change in ("longer", "larger", "none")
    )
    assert longer.startswith("| cars | longer | 2 | 0.835 | +0.025 (-0.039 to +0.089) | 0.500 | -0.100 (")
    assert larger == "| cars | larger | 1 | 0.790 | -0.010 | 0.700 | +0.100 |"
    assert none == "| cars | none | 2 | 0.810 | – | 0.600 | – |"


def test_a_network_from_random_weights_has_a_row_per_budget_with_its_mean_over_the_seeds(folder: Path) -> None:
    rows = [
        dict(zip(FROM_SCRATCH_COLUMNS, ("cifar", "cnn", *row), strict=True))
        for row in (("20", 0, 19.0, 16, 0.91), ("5", 0, 4.9, 4, 0.84), ("5", 1, 4.8, 4, 0.86))
    ]
    write_results_table(rows, folder / "cifar10" / "benchmarks" / "from_scratch.csv", FROM_SCRATCH_COLUMNS)
    lines = training_section(folder, folder).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("| cifar | cnn |"))
    # Student's t with one degree of freedom: 12.706 x 0.0141 / sqrt(2) = 0.127
    assert lines[first] == "| cifar | cnn | 5 | 2 | 4 | 0.850 (0.723–0.977) |"
    assert lines[first + 1] == "| cifar | cnn | 20 | 1 | 16 | 0.910 |"


def test_without_tables_there_is_no_section(tmp_path: Path) -> None:
    assert training_section(tmp_path, tmp_path) == ""


def test_the_measurements_have_the_section(folder: Path) -> None:
    assert "## Training" in measurements_text(folder)


@pytest.mark.parametrize(
    "cells, text",
    [
        (("0.0123", "-0.001", "0.02"), "+0.012 (-0.001 to +0.020)"),
        (("-0.5", "", ""), "-0.500"),
        (("", "", ""), "–"),
    ],
)
def test_a_difference_has_a_sign(cells: tuple[str, str, str], text: str) -> None:
    assert difference(dict(zip(("x", "x_low", "x_high"), cells, strict=True)), "x") == text
