"""The results of stages: found in the store, or built where they are missing."""

import functools
import importlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from decant.errors import UserError, nearest
from decant.processes import launched, working_together
from decant.stages import GRAPH, OF_ACTIVE, OF_CHOICE, REFIT, STORED, TWIN, Stage
from decant.stages.support.experiment import Experiment
from decant.stages.support.weights import active_teachers, read_weights
from decant.study import Study
from decant.tracking import Artifact
from decant.workspace import FINISHED, StageResult

log = logging.getLogger(__name__)
BUILDING, DONE = "building", "done"  # what the first of several processes sends the others about a stage


@dataclass(frozen=True)
class Inputs:
    """The results of the stages that a stage reads, by stage name without REFIT."""

    results: Mapping[str, StageResult]

    def __getitem__(self, name: str) -> StageResult:
        return self.results[name]

    def __contains__(self, name: str) -> bool:
        return name in self.results

    def folder(self, name: str) -> Path:
        """The folder of a stage's files."""
        return self.results[name].folder

    def per_teacher(self, family: str) -> dict[str, StageResult]:
        """Teacher -> result, of the stages `family/<teacher>`."""
        return {
            name.partition("/")[2]: result for name, result in self.results.items() if name.startswith(f"{family}/")
        }


def stage_result(experiment: Experiment, name: str) -> StageResult:
    """Return the finished stage `name`, for example "teachers/lite1"; build it and the stages that it reads if missing.

    Raises UserError for a name that is no stage of the study.
    """
    if name not in experiment.finished:
        code, inputs = code_of(experiment, name), inputs_of(experiment, name)
        built = []

        def build(folder: Path) -> None:
            code.build(experiment, name, inputs, folder)
            built.append(folder)

        reads = outside_reads(experiment, name) + list(inputs.results.values())
        made_from = name, code.settings(experiment, name, inputs), reads, code.VERSION
        resumable, parallel = getattr(code, "RESUMABLE", False), getattr(code, "PARALLEL", False)
        if launched().leads:
            with_others = functools.partial(lead, build, parallel) if launched().count > 1 else build
            result = experiment.workspace.stage(*made_from, with_others, resumable)
            if hasattr(code, "repair"):
                code.repair(experiment, name, inputs, result.folder)
            if built:
                record(experiment, name, inputs, result.folder)
            launched().same(DONE)
        else:
            result = experiment.workspace.used[name] = experiment.workspace.located(*made_from)
            follow(build, result.folder)
        experiment.finished[name] = result
    return experiment.finished[name]


def lead(build: Callable[[Path], None], parallel: bool, folder: Path) -> None:
    """Build a stage in the first of several processes; the others `follow` if the stage is `parallel`."""
    if not parallel:
        build(folder)
        return
    launched().same(BUILDING)
    launched().wait()  # until the others have copied the folder
    with working_together():
        build(folder)


def follow(build: Callable[[Path], None], folder: Path) -> None:
    """Do what the first process asks for until the stage is finished: a part of the work, in a copy of the folder.

    What this process writes is thrown away. Raises RuntimeError if the first process has built another stage.
    """
    while launched().same(None) == BUILDING:
        with TemporaryDirectory() as scratch:
            copy = Path(scratch) / folder.name
            shutil.copytree(folder, copy)
            launched().wait()
            with working_together():
                build(copy)
    if not (folder / FINISHED).is_file():
        raise RuntimeError(f"{folder} is missing: do all processes have the same settings and the same disk?")


def code_of(experiment: Experiment, name: str) -> Any:
    """The module of a stage, as `decant.stages` describes it."""
    return importlib.import_module(f"decant.stages.{declaration(experiment, name).module}")


def inputs_of(experiment: Experiment, name: str) -> Inputs:
    """The finished stages that the stage `name` reads."""

    def active() -> list[str]:
        return active_members(experiment)

    return as_inputs({read: stage_result(experiment, read) for read in names_read(experiment, name, active)})


def active_members(experiment: Experiment) -> list[str]:
    """The active teachers; the ensemble is built where it is missing."""
    return active_teachers(read_weights(stage_result(experiment, "ensemble").folder))


def as_inputs(results: Mapping[str, StageResult]) -> Inputs:
    """The results by the names under which a stage's code looks for them."""
    return Inputs({read.removeprefix(REFIT): result for read, result in results.items()})


def names_read(experiment: Experiment, name: str, active: Callable[[], list[str]]) -> Iterator[str]:
    """The names of the stages that `name` reads, in the table's order. active: returns the active teachers."""
    teacher = name.partition("/")[2]
    for read in declaration(experiment, name).reads:
        family, _, member = read.partition("/")
        if read in TWIN and name in OF_CHOICE and experiment.study.export.ship == "student":
            continue
        if read == "int8":
            yield from ["int8"] if experiment.study.export.int8 else []
        elif member == "NAME":
            yield stage_of(experiment.study, family, teacher)
        elif member == "*":
            yield from stages_of(experiment.study, family, active)
        else:
            yield read


def stages_of(study: Study, family: str, active: Callable[[], list[str]]) -> list[str]:
    """The stages of a family, one per teacher or per active teacher; none if the student needs no stored labels."""
    if family in STORED and study.student.mode != "replay":
        return []
    teachers = active() if family in OF_ACTIVE else list(study.teachers)
    return [stage_of(study, family, teacher) for teacher in teachers]


def stage_of(study: Study, family: str, teacher: str) -> str:
    """The teacher's stage of a family. A teacher with folds is not refitted: the mean over its folds predicts."""
    if family in ("refit_teachers", "refit_predictions") and study.teachers[teacher].folds:
        family = family.removeprefix(REFIT)
    return f"{family}/{teacher}"


def members(experiment: Experiment, family: str) -> list[str]:
    """The teachers that have a stage in a family: those of the study, the active ones, or none."""
    stages = stages_of(experiment.study, family, lambda: active_members(experiment))
    return [stage.partition("/")[2] for stage in stages]


def declaration(experiment: Experiment, name: str) -> Stage:
    """The row of the table for a stage of this study. Raises UserError if there is none."""
    exact = {stage.name: stage for stage in GRAPH}
    if name in exact:
        return exact[name]
    family, _, teacher = name.partition("/")
    if f"{family}/NAME" not in exact:
        raise UserError(f"no stage {name!r}; {nearest(name, list(exact))}")
    if teacher not in experiment.study.teachers:
        known = list(experiment.study.teachers)
        raise UserError(f"no teacher {teacher!r} in {experiment.study.name}; {nearest(teacher, known)}")
    return exact[f"{family}/NAME"]


def record(experiment: Experiment, name: str, inputs: Inputs, folder: Path) -> None:
    """Give W&B the records of a stage that was built. Errors are only logged: the stage is finished without them."""
    code = code_of(experiment, name)
    if not experiment.tracks or not hasattr(code, "records"):
        return
    try:
        settings, reads = code.settings(experiment, name, inputs), artifacts_read(experiment, name)
        for entry in code.records(experiment, name, inputs, folder):
            with experiment.track(name, settings, reads, entry.part) as tracked:
                tracked.record(entry)
    except Exception as error:
        log.warning("%s: W&B did not get all of its results: %s", name, error)


def artifacts_read(experiment: Experiment, name: str) -> list[Artifact]:
    """The artifacts of the stages that a stage reads; for a stage without artifacts, those of the stages it reads.

    Empty if nothing is tracked.
    """
    if not experiment.tracks:
        return []
    artifacts: dict[str, Artifact] = {}
    for read in names_read(experiment, name, lambda: active_members(experiment)):
        code, result = code_of(experiment, read), experiment.finished.get(read)
        if hasattr(code, "artifacts") and result is not None:
            of_stage = code.artifacts(read, result.folder, experiment.study.data.may_be_shared)
        else:
            of_stage = artifacts_read(experiment, read)
        artifacts |= {artifact.label: artifact for artifact in of_stage}
    return list(artifacts.values())


def outside_reads(experiment: Experiment, name: str) -> list[StageResult | str]:
    """What a stage reads that no stage made: the manifest reads the data."""
    return [experiment.data_digest] if name == "manifest" else []
