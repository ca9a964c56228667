"""The review of a study as one HTML file, which loads nothing: for review without W&B's server."""

import io
from collections.abc import Callable, Sequence
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from decant.reporting.html_document import html_document
from decant.reporting.pareto import pareto_front, place_labels
from decant.reporting.plots import BLUE, CYCLE, GREY, MARKERS, any_script, new_figure, plain_axes, plain_text
from decant.reporting.review import Curve, Section, Table

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem;
  color: #1b1f24; background: #fff; }
section { margin-top: 2.5rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #d0d7de; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; padding: .5rem; background: #fff; border-radius: .5rem; }
figure svg { width: 100%; height: auto; display: block; }
pre { padding: .8rem; background: #eef1f4; border-radius: .5rem; overflow-x: auto; }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117; }
  th, td { border-color: #3d444d; } pre { background: #21262d; } }
@media print { body { color: #000; background: #fff; max-width: none; margin: 0; } section { break-inside: avoid; } }
"""


def review_page(title: str, summary: str, sections: Sequence[Section], commands: Sequence[tuple[str, str]]) -> str:
    """The page. summary: the sentence below the title. commands: sentences, each with a shell command."""
    blocks = "".join(f"<p>{escape(sentence)}</p><pre>{escape(command)}</pre>" for sentence, command in commands)
    return html_document(
        title,
        STYLE,
        f"<h1>{escape(title)}</h1><p>{escape(summary)}</p>",
        *(section_html(section) for section in sections),
        f"<section><h2>The runs in W&amp;B</h2>{blocks}</section>",
    )


def section_html(section: Section) -> str:
    sentences = f"<p>{escape(' '.join(section.sentences))}</p>" if section.sentences else ""
    tables = "\n".join(table_html(table) for table in section.tables)
    figures = curves_svg(section.curves) if section.curves else ""
    figures += points_svg(section.points) if len(section.points) > 1 else ""
    return f"<section><h2>{escape(section.title)}</h2>{sentences}\n{tables}\n{figures}</section>"


def table_html(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.header)
    rows = "\n".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in table.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'


def curves_svg(curves: Sequence[Curve]) -> str:
    """The metric on val of each teacher over its epochs."""

    def draw(ax: Axes) -> None:
        for index, curve in enumerate(curves):
            x, y = zip(*curve.points, strict=True)
            colour, marker = CYCLE[index % len(CYCLE)], MARKERS[index % len(MARKERS)]
            ax.plot(x, y, color=colour, marker=marker, markersize=4, label=plain_text(curve.name))
        ax.set_xlabel("epoch")
        ax.set_ylabel("metric on val")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(frameon=False, fontsize=9)

    return svg(draw, "Learning curves of the teachers")


def points_svg(points: dict[str, tuple[float, float]]) -> str:
    """Accuracy against time, with the line of the models on the front."""

    def draw(ax: Axes) -> None:
        pairs = list(points.values())
        times, accuracies = [x for x, _ in pairs], [y for _, y in pairs]
        front = pareto_front(accuracies, times)
        ax.plot([pairs[i][0] for i in front], [pairs[i][1] for i in front], ":", color=GREY)
        ax.plot(times, accuracies, "o", color=BLUE)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.margins(x=0.18, y=0.12)
        ax.set_xlabel("p50, ms per image (logarithmic; further left is better)")
        ax.set_ylabel("accuracy")
        place_labels(ax, [plain_text(name) for name in points], times, accuracies, np.full(len(pairs), 3.0))

    return svg(draw, "Accuracy against time")


def svg(draw: Callable[[Axes], None], title: str) -> str:
    """A figure as SVG within HTML; the same values give the same text."""
    figure, file = new_figure(3.4), io.StringIO()
    ax = figure.subplots()
    plain_axes(ax, grid="both")
    with any_script(), matplotlib.rc_context({"svg.hashsalt": title}):
        draw(ax)
        figure.savefig(file, format="svg", metadata={"Date": None})
    image = file.getvalue()
    return f'<figure role="img" aria-label="{escape(title, quote=True)}">{image[image.index("<svg") :]}</figure>'
