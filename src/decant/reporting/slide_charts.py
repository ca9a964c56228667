"""Charts that PowerPoint can edit: images per class, courses of training, accuracy against time."""

from collections.abc import Mapping
from typing import Any

from pptx.chart.data import CategoryChartData, XyChartData
from pptx.dml.color import RGBColor
from pptx.enum.chart import XL_CHART_TYPE, XL_LEGEND_POSITION, XL_TICK_LABEL_POSITION
from pptx.oxml.ns import qn
from pptx.util import Inches, Pt

from decant.evaluation.tables import number
from decant.reporting.figures import pareto_rows
from decant.reporting.plots import BLUE, GREEN, KIND_STYLE, ORANGE, PURPLE, SKY, VERMILION
from decant.reporting.results_files import ResultsFiles, splits_in_order
from decant.reporting.transfer import courses

MOST_CLASSES = 12  # whose names are readable on a slide
FEW_CLASSES, SMALL_NAMES = 10, 14  # with more classes their names are in smaller type, points
COLOURS = (BLUE, SKY, ORANGE, GREEN, PURPLE, VERMILION)
SMALLEST = 18
Points = list[tuple[float, float]]


def class_counts(results: ResultsFiles) -> dict[str, dict[str, int]]:
    """Split -> class -> images, the largest classes first; {} without counts."""
    rows = [row for row in results.class_counts if row["class"]]
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["class"]] = totals.get(row["class"], 0) + int(row["images"])
    classes = sorted(totals, key=lambda name: (-totals[name], name))[:MOST_CLASSES]
    images = {(row["split"], row["class"]): int(row["images"]) for row in rows}
    splits = splits_in_order([row["split"] for row in rows])
    return {split: {name: images.get((split, name), 0) for name in classes} for split in splits}


def add_class_chart(slide: Any, counts: Mapping[str, Mapping[str, int]], *place: float) -> None:
    """Images per class, stacked by split, with the names of the classes beside the bars, where long ones have room.

    place: left, top, width, height in inches.
    """
    data = CategoryChartData()
    data.categories = list(next(iter(counts.values())))
    for split, of_split in counts.items():
        data.add_series(split, list(of_split.values()))
    chart = _added(slide, XL_CHART_TYPE.BAR_STACKED, place, data)
    chart.category_axis.reverse_order = True  # the first class above
    chart.category_axis.tick_labels.font.size = Pt(SMALLEST if len(data.categories) <= FEW_CLASSES else SMALL_NAMES)
    skip = chart.category_axis._element.makeelement(qn("c:tickLblSkip"), {"val": "1"})  # a label for each
    chart.category_axis._element.find(qn("c:lblOffset")).addnext(skip)
    chart.value_axis.tick_label_position = XL_TICK_LABEL_POSITION.HIGH  # below, as the order is reversed
    for colour, series in zip(COLOURS, chart.plots[0].series, strict=False):
        series.format.fill.solid()
        series.format.fill.fore_color.rgb = RGBColor.from_string(colour.lstrip("#"))
    chart.plots[0].gap_width = 40


def course_lines(results: ResultsFiles) -> dict[str, Points]:
    """Trained teacher -> (minutes, accuracy on val) after each epoch; {} where times are unknown."""
    return {name: points for name, points in courses(results).items() if len(points) > 1}


def add_course_chart(slide: Any, lines: Mapping[str, Points], *place: float) -> None:
    """Accuracy on val against minutes of training, a line per teacher."""
    chart = _scatter(slide, XL_CHART_TYPE.XY_SCATTER_LINES, place, lines)
    _titled(chart, "minutes of training", "accuracy on val")


def speed_points(results: ResultsFiles) -> dict[str, tuple[str, Points]]:
    """Model -> its kind and (median ms per image, accuracy); {} for fewer than two models."""
    pairs = pareto_rows(results)
    points = {row["model"]: [(number(timing["p50_ms"]), number(row["accuracy"]))] for row, timing in pairs}
    return {row["model"]: (row["kind"], points[row["model"]]) for row, _ in pairs} if len(pairs) > 1 else {}


def add_speed_chart(slide: Any, models: Mapping[str, tuple[str, Points]], *place: float) -> None:
    """Accuracy against median time, a point per model."""
    chart = _scatter(slide, XL_CHART_TYPE.XY_SCATTER, place, {name: points for name, (_, points) in models.items()})
    for (kind, _), series in zip(models.values(), chart.plots[0].series, strict=True):
        series.marker.size = 14
        series.marker.format.fill.solid()
        series.marker.format.fill.fore_color.rgb = RGBColor.from_string(KIND_STYLE[kind][0].lstrip("#"))
    _titled(chart, "median time per image, ms", "accuracy")


def _scatter(slide: Any, kind: Any, place: tuple[float, ...], lines: Mapping[str, Points]) -> Any:
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
