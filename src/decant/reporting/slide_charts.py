"""Charts that PowerPoint can edit: images per class, courses of training, accuracy against time."""

from typing import Any

from pptx.chart.data import CategoryChartData, XyChartData
from pptx.dml.color import RGBColor
from pptx.enum.chart import XL_CHART_TYPE, XL_LEGEND_POSITION
from pptx.util import Inches, Pt

from decant.evaluation.tables import number
from decant.reporting.figures import pareto_rows
from decant.reporting.plots import BLUE, GREEN, KIND_STYLE, ORANGE, PURPLE, SKY, VERMILION
from decant.reporting.results_files import ResultsFiles, main_split, splits_in_order
from decant.reporting.transfer import courses

MOST_CLASSES = 16  # whose names are readable on a slide
COLOURS = (BLUE, SKY, ORANGE, GREEN, PURPLE, VERMILION)
SMALLEST = 18


def add_class_chart(slide: Any, results: ResultsFiles, *place: float) -> bool:
    """Images per class, stacked by split; of many classes the largest. place: left, top, width, height in inches."""
    rows = [row for row in results.class_counts if row["class"]]
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["class"]] = totals.get(row["class"], 0) + int(row["images"])
    if not totals:
        return False
    classes = sorted(totals, key=lambda name: (-totals[name], name))[:MOST_CLASSES]
    data = CategoryChartData()
    data.categories = classes
    for split in splits_in_order([row["split"] for row in rows]):
        counts = {row["class"]: int(row["images"]) for row in rows if row["split"] == split}
        data.add_series(split, [counts.get(name, 0) for name in classes])
    chart = _added(slide, XL_CHART_TYPE.COLUMN_STACKED, place, data)
    for colour, series in zip(COLOURS, chart.plots[0].series, strict=False):
        series.format.fill.solid()
        series.format.fill.fore_color.rgb = RGBColor.from_string(colour.lstrip("#"))
    chart.plots[0].gap_width = 40
    return True


def add_course_chart(slide: Any, results: ResultsFiles, *place: float) -> bool:
    """Accuracy on val against minutes of training, a line per teacher; against epochs where times are unknown."""
    lines: dict[str, list[tuple[float, float]]] = courses(results)
    label = "minutes of training"
    if not lines:
        label = "epoch"
        lines = {
            name: [(number(row["epoch"]), number(row["val_accuracy"])) for row in rows if row.get("val_accuracy")]
            for name, rows in results.histories.items()
        }
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return False
    chart = _scatter(slide, XL_CHART_TYPE.XY_SCATTER_LINES, place, lines)
    _titled(chart, label, "accuracy on val")
    return True


def add_speed_chart(slide: Any, results: ResultsFiles, *place: float) -> bool:
    """Accuracy against median time, a point per model."""
    pairs = pareto_rows(results)
    if len(pairs) < 2:
        return False
    points = {row["model"]: [(number(timing["p50_ms"]), number(row["accuracy"]))] for row, timing in pairs}
    chart = _scatter(slide, XL_CHART_TYPE.XY_SCATTER, place, points)
    for (row, _), series in zip(pairs, chart.plots[0].series, strict=True):
        series.marker.size = 14
        series.marker.format.fill.solid()
        series.marker.format.fill.fore_color.rgb = RGBColor.from_string(KIND_STYLE[row["kind"]][0].lstrip("#"))
    _titled(chart, "median time per image, ms", f"accuracy on {main_split(results)}")
    return True


def _scatter(slide: Any, kind: Any, place: tuple[float, ...], lines: dict[str, list[tuple[float, float]]]) -> Any:
    data = XyChartData()
    for name, points in lines.items():
        series = data.add_series(name)
        for x, y in points:
            series.add_data_point(x, y)
    chart = _added(slide, kind, place, data)
    values = [y for points in lines.values() for _, y in points]
    chart.value_axis.minimum_scale = max(0.0, int(10 * min(values) - 0.5) / 10)
    return chart


def _added(slide: Any, kind: Any, place: tuple[float, ...], data: Any) -> Any:
    chart = slide.shapes.add_chart(kind, *(Inches(value) for value in place), data).chart
    chart.font.size = Pt(SMALLEST)
    chart.has_title = False
    chart.has_legend = True
    chart.legend.position, chart.legend.include_in_layout = XL_LEGEND_POSITION.RIGHT, False
    return chart


def _titled(chart: Any, x_label: str, y_label: str) -> None:
    for axis, label in ((chart.category_axis, x_label), (chart.value_axis, y_label)):
        axis.has_title = True
        axis.axis_title.text_frame.text = label
        axis.axis_title.text_frame.paragraphs[0].font.size = Pt(SMALLEST)
    chart.category_axis.has_major_gridlines = False
