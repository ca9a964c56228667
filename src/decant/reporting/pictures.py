"""The pictures of a study: they contain photos, so a report has them only if the study's images may be shown."""

from pathlib import Path

from decant.evaluation.markdown import figure_row, link, plain, section
from decant.reporting.results_files import ResultsFiles

FOLDER = "pictures"
SAMPLES, DUPLICATES, SUSPECTS, VIEWS, WORST, TYPICAL, ACTIVATION = (
    f"{FOLDER}/{name}.jpg" for name in ("samples", "duplicates", "suspects", "views", "worst", "typical", "activation")
)
CAPTIONS = {
    SAMPLES: "Sample images per class",
    DUPLICATES: "Copies and near duplicates that cleaning found, in pairs",
    SUSPECTS: "Labels in doubt: given label, suggested class in brackets",
    VIEWS: "An image, then views of it in training",
    WORST: "Worst mistakes on test: label, then the file's and the ensemble's answers",
    TYPICAL: "Typical mistakes of the commonest confusions on test",
    ACTIVATION: "Class activation maps (gradient times activation) beside their images",
}


def pictures_section(results: ResultsFiles, base: Path) -> str:
    """All pictures of the study's images, one below the other; "" where there are none."""
    rows = [figure_row(base, {caption: results.folder / file}) for file, caption in CAPTIONS.items()]
    return section("Pictures", *rows, attribution_sentence(results)) if any(rows) else ""


def attribution_sentence(results: ResultsFiles) -> str:
    """Whose images they are, as their licence may ask; "" if the study does not say it."""
    attribution = str(results.study.get("data", {}).get("attribution", ""))
    return f"Source of the images: {plain(attribution)}." if attribution else ""


def pictures_sentence(results: ResultsFiles, base: Path) -> str:
    """A sentence with a link to the page of mistakes, or on where a run writes pictures that may not be shown."""
    page = results.folder / "mistakes.html"
    if (results.folder / SAMPLES).is_file() or page.is_file():
        more = f"[{link(page, base)}]({link(page, base)})" if page.is_file() else ""
        return f"Mistakes with their images: {more}." if more else ""
    if results.study.get("data", {}).get("may_be_shared", False):
        return ""
    return f"The study's images may not be shown here; a run draws them in `runs/{results.name}/results/{FOLDER}/`."
