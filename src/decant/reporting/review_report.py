"""The review of a study as a report in W&B: the tables as text, the curves and bars as panels of the runs."""

from dataclasses import dataclass
from typing import Any

from decant.evaluation.markdown import markdown_table, plain
from decant.reporting.results_files import ResultsFiles, main_split
from decant.reporting.review import ENSEMBLE, STUDENTS, TEACHERS, TRADE_OFF, Section, review_sections


def review_report(results: ResultsFiles, project: str, title: str, summary: str, review: str, entity: str = "") -> Any:
    """A `wandb_workspaces.reports.v2.Report`, which is not saved yet.

    review: names the runs of this review, whose summaries contain accuracy and time. entity: the account or team;
    default: that of the login. Raises W&B's error without a login.
    """
    from wandb_workspaces.reports import v2

    options = {"entity": entity} if entity else {}
    blocks: list[Any] = [v2.P(text=summary), v2.TableOfContents()]
    for section in review_sections(results):
        blocks += [v2.H2(text=section.title), v2.MarkdownBlock(text=section_markdown(section))]
        blocks += [
            v2.PanelGrid(
                runsets=[v2.Runset(entity=entity, project=project, name=runs.name, filters=runs.filters)],
                panels=runs.panels,
            )
            for runs in shown_runs(section.title, results, review)
        ]
    return v2.Report(project=project, title=title, description=summary, blocks=blocks, width="fluid", **options)


def section_markdown(section: Section) -> str:
    tables = [markdown_table(table.header, table.rows) for table in section.tables]
    return "\n\n".join([plain(" ".join(section.sentences)), *tables])


@dataclass(frozen=True)
class Runs:
    """Runs of the project, and the panels that show them."""

    name: str
    filters: str
    panels: list[Any]


def shown_runs(title: str, results: ResultsFiles, review: str) -> list[Runs]:
    """The runs that belong to a section."""
    from wandb_workspaces.reports import v2

    metric, split = results.study.get("metric", "accuracy"), main_split(results)
    if title == TEACHERS:
        return [Runs("teachers", of_stage("teachers"), curves(metric))]
    if title == ENSEMBLE:
        scores = v2.SummaryMetric(f"{split}/accuracy")
        bars = v2.BarPlot(title=f"accuracy on {split}", metrics=[scores])
        return [Runs("all models", of_stage("benchmarks/precision"), [bars])]
    if title == STUDENTS:
        return [Runs(name, of_stage(name), curves(metric)) for name in ("student", "student_alone")]
    if title == TRADE_OFF:
        time, accuracy = v2.SummaryMetric("p50_ms"), v2.SummaryMetric("accuracy")
        scatter = v2.ScatterPlot(title="accuracy against time", x=time, y=accuracy, log_x=True)
        return [Runs("models", f"Config('settings.review') == '{review}'", [scatter])]
    return []


def curves(metric: str) -> list[Any]:
    from wandb_workspaces.reports import v2

    return [v2.LinePlot(title=column, x="epoch", y=[column]) for column in (f"val_{metric}", "loss")]


def of_stage(stage: str) -> str:
    """The filter for the runs of a stage."""
    return f"Metric('JobType') == '{stage}'"
