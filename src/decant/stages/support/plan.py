"""What a run would do: which stages are finished, which would run, and how long they took in earlier runs."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from decant.data.geometry_choice import Shapes, shapes_of
from decant.data.manifest import read_manifest
from decant.evaluation.tables import minutes
from decant.stages import GRAPH, REFIT
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import Chosen, Possible, chosen_geometry, possible_geometries
from decant.stages.support.resolve import as_inputs, code_of, declaration, names_read, outside_reads, stages_of
from decant.stages.support.weights import active_teachers, read_weights
from decant.workspace import FINISHED, LATEST, StageResult, Undecided, Workspace, changed_files, followed, record_of


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a run. seconds: of this stage if it is finished, else of earlier runs; None without any."""

    name: str
    script: str
    finished: bool
    seconds: float | None


def plan(experiment: Experiment) -> list[PlannedStage]:
    """The stages of the study in the order of the flow. Nothing is built and nothing is measured.

    Until the ensemble is finished, every teacher counts as active. Raises UserError if the data are missing.
    """
    experiment = replace(experiment, may_measure=False)
    results: dict[str, StageResult] = {}
    return [planned(experiment, name, results) for name in stage_names(experiment, results)]


def geometry_line(experiment: Experiment) -> str:
    """The study's input geometry and the reason for it, or what decides it later. Nothing is built or measured."""
    cleaned, fit = finished_clean(experiment), experiment.study.geometry.fit
    if cleaned is None:
        return f"geometry: {fit}, {'decided when the data are cleaned' if fit == 'auto' else 'named by the study'}"
    return f"geometry: {decided_geometry(experiment, cleaned) or possible_after(experiment, cleaned)}"


def geometries_to_probe(experiment: Experiment, shapes: Shapes) -> int:
    """How many geometries the run will compare by probes. shapes: of images of train, used until they are cleaned."""
    cleaned = finished_clean(experiment)
    if cleaned is None:
        return possible_geometries(experiment.study, shapes).probed
    return 0 if decided_geometry(experiment, cleaned) else possible_after(experiment, cleaned).probed


def decided_geometry(experiment: Experiment, cleaned: StageResult) -> Chosen | None:
    """The study's geometry; None if probes must decide and have not."""
    with suppress(Undecided):
        return chosen_geometry(replace(experiment, may_measure=False), cleaned)
    return None


def possible_after(experiment: Experiment, cleaned: StageResult) -> Possible:
    """The geometries that the shapes of train leave possible after cleaning."""
    rows = read_manifest(cleaned.folder).main().of_split("train")
    return possible_geometries(experiment.study, shapes_of(rows))


def finished_clean(experiment: Experiment) -> StageResult | None:
    """The stage `clean` if it is finished. Nothing is built."""
    results: dict[str, StageResult] = {}
    experiment = replace(experiment, may_measure=False)
    for name in ("manifest", "clean"):
        planned(experiment, name, results)
    return results.get("clean")


def stage_names(experiment: Experiment, results: dict[str, StageResult]) -> Iterator[str]:
    """Yield the study's stages in the table's order. results: of the stages before; the caller adds to it."""
    study = experiment.study
    for stage in GRAPH:
        family, _, member = stage.name.partition("/")
        if family.startswith(REFIT) and study.final != "refit":
            continue
        if member == "NAME":
            names = stages_of(study, family, lambda: active_names(experiment, results))
            yield from (name for name in names if name.startswith(f"{family}/"))
        elif stage.name != "int8" or study.export.int8:
            yield stage.name


def active_names(experiment: Experiment, results: dict[str, StageResult]) -> list[str]:
    """The active teachers; all teachers until the ensemble is finished."""
    if "ensemble" in results:
        return active_teachers(read_weights(results["ensemble"].folder))
    return list(experiment.study.teachers)


def planned(experiment: Experiment, name: str, results: dict[str, StageResult]) -> PlannedStage:
    """The stage as the store has it; its result is added to `results` if it is finished."""
    script = declaration(experiment, name).script
    result = located(experiment, name, results)
    if result is None or not (result.folder / FINISHED).is_file() or changed_files(result.folder):
        return PlannedStage(name, script, False, earlier_seconds(experiment.workspace, name))
    results[name] = result
    return PlannedStage(name, script, True, record_of(result.folder)["seconds"])


def located(experiment: Experiment, name: str, results: dict[str, StageResult]) -> StageResult | None:
    """Where the stage is or would be; None if that depends on something that is not finished or not measured."""
    reads = list(names_read(experiment, name, lambda: active_names(experiment, results)))
    if not all(read in results for read in reads):
        return None
    inputs, code = as_inputs({read: results[read] for read in reads}), code_of(experiment, name)
    try:
        outside = outside_reads(experiment, name)
        settings = code.settings(experiment, name, inputs)
    except Undecided:
        return None
    return experiment.workspace.located(name, settings, outside + list(inputs.results.values()), code.VERSION)


def earlier_seconds(workspace: Workspace, name: str) -> float | None:
    """Seconds of the study's last run of the stage; else the median of the stage, or of its family, in this store."""
    latest = followed(workspace.folder / name / LATEST)
    if (latest / FINISHED).is_file():
        return float(record_of(latest)["seconds"])
    for pattern in (f"{name}/*/{FINISHED}", f"{name.partition('/')[0]}/*/*/{FINISHED}"):
        seconds = [record_of(mark.parent)["seconds"] for mark in workspace.store.glob(pattern)]
        if seconds:
            return float(statistics.median(seconds))
    return None


def plan_lines(stages: Sequence[PlannedStage]) -> list[str]:
    """The plan as text: a line per stage, and a last line with the sum."""
    width = max(len(stage.name) for stage in stages)
    lines = [
        f"{stage.name:<{width}}  {'finished' if stage.finished else 'to run':<8}  {time_text(stage.seconds):>8}  "
        f"{stage.script}"
        for stage in stages
    ]
    unfinished = [stage for stage in stages if not stage.finished]
    known_s = [stage.seconds for stage in unfinished if stage.seconds is not None]
    total = f"to run: {len(unfinished)} of {len(stages)} stages"
    if known_s:
        total += f", {minutes(sum(known_s))} min by earlier runs"
    if len(known_s) < len(unfinished):
        total += f"; {len(unfinished) - len(known_s)} never ran here, so their time is unknown"
    return [*lines, total]


def time_text(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{minutes(seconds)} min"
