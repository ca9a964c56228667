"""A study's report in the forms that people open: one HTML page, a PDF, slides. Made from the files in results/ alone.

Pictures that the Markdown shows as PNG are drawn again as vectors where they are figures of numbers.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from decant.reporting.figures import render_figures
from decant.reporting.html_page import html_page
from decant.reporting.pdf import write_pdf
from decant.reporting.report import appendix_text, report_text
from decant.reporting.slides import write_slides
from decant.workspace import replacing

HTML, PDF, SLIDES = "report.html", "report.pdf", "slides.pptx"


def write_documents(results_folder: Path, into: Path, pdf: bool = False, slides: bool = False) -> list[Path]:
    """Write report.html, and on demand report.pdf and slides.pptx, into a folder; return their paths.

    Raises UserError if the study's folder is missing or a file in it cannot be read.
    """
    report, appendix = report_text(results_folder, results_folder), appendix_text(results_folder, results_folder)
    written = []
    with TemporaryDirectory() as temporary:
        vectors = vector_files(results_folder, Path(temporary))
        for name, write in _writers(results_folder, report, appendix, vectors).items():
            if name == HTML or (name == PDF and pdf) or (name == SLIDES and slides):
                into.mkdir(parents=True, exist_ok=True)
                with replacing(into / name) as partial:
                    write(partial)
                written.append(into / name)
    return written


def _writers(
    results_folder: Path, report: str, appendix: str, vectors: dict[str, Path]
) -> dict[str, Callable[[Path], object]]:
    """File name -> what writes it."""
    return {
        HTML: lambda out: out.write_text(html_page(report, appendix, results_folder, vectors), encoding="utf-8"),
        PDF: lambda out: write_pdf(report, appendix, results_folder, vectors, out),
        SLIDES: lambda out: write_slides(results_folder, out),
    }


def vector_files(results_folder: Path, into: Path) -> dict[str, Path]:
    """Path of a PNG as Markdown links it -> the same figure as SVG, drawn now below `into`."""
    drawn = render_figures(results_folder, into, ".svg")
    return {path.relative_to(into).with_suffix(".png").as_posix(): path for path in drawn}
