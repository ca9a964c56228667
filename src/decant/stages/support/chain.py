"""The chain of a study's stages with its progress: which stage of how many, what it does, minutes left."""

import time
from collections.abc import Iterator

from decant.errors import UserError
from decant.stages import OF_ACTIVE, SCRIPTS
from decant.stages.support.expected_time import SECONDS_OF, corrected, counted, expected_seconds
from decant.stages.support.experiment import Experiment
from decant.stages.support.plan import PlannedStage, geometries_to_probe, plan
from decant.stages.support.resolve import declaration, members, stage_result
from decant.stages.support.sample import look_at_sample
from decant.stages.support.speed import Speed


class Chain:
    """The stages of a study in the order of the scripts, built one after the other.

    Minutes left are the expectation of `expected_time`, scaled by how long the stages before took.
    """

    def __init__(self, experiment: Experiment) -> None:
        if experiment.study.final == "refit":
            require_images_to_predict(experiment)
        self.experiment = experiment
        self.stages = sorted(plan(experiment), key=lambda stage: SCRIPTS.index(stage.script))
        self.expected = expected_of(experiment, [stage for stage in self.stages if not stage.finished])
        self.taken: dict[str, float] = {}

    def scripts(self) -> list[str]:
        """The scripts that make a stage of the study, and the last one, which makes the report."""
        of_stages = {stage.script for stage in self.stages}
        return [script for script in SCRIPTS if script in of_stages or script == SCRIPTS[-1]]

    def build(self, script: str) -> Iterator[str]:
        """Build the stages that `script` makes; yield a line before each that is not finished."""
        for stage in [stage for stage in self.stages if stage.script == script]:
            if not self.is_read(stage.name):
                self.expected.pop(stage.name, None)
                continue
            if not stage.finished:
                yield self.line(stage)
            started = time.monotonic()
            stage_result(self.experiment, stage.name)
            if stage.name in self.expected:
                self.taken[stage.name] = time.monotonic() - started

    def is_read(self, name: str) -> bool:
        """False for the soft labels and the refit of a teacher without weight in the ensemble."""
        family, _, member = name.partition("/")
        of_teacher = family in OF_ACTIVE and member in self.experiment.study.teachers
        return not of_teacher or member in members(self.experiment, family)

    def line(self, stage: PlannedStage) -> str:
        number = self.stages.index(stage) + 1
        doing = declaration(self.experiment, stage.name).doing
        remaining = left_text(corrected(self.expected, self.taken))
        return f"[{number}/{len(self.stages)}] {stage.name}: {doing}; {remaining} left"


def require_images_to_predict(experiment: Experiment) -> None:
    """Raise UserError if the source has no image to predict: only for such images are models trained again."""
    if not any(item.split == "predict" for item in experiment.source.list_images()):
        raise UserError(
            f"study {experiment.study.name}: final: refit trains the models again for the images to predict, but the "
            "data have none; remove the key, or name their folder with data.predict"
        )


def expected_of(experiment: Experiment, stages: list[PlannedStage]) -> dict[str, float]:
    """Stage -> expected seconds; for a stage that hardly depends on the study, the seconds of its earlier runs here."""
    if not stages:
        return {}
    items = list(experiment.source.list_images())
    sample, counts = look_at_sample(experiment.source, items), counted(items, experiment.study.data)
    probed = geometries_to_probe(experiment, sample.shapes)
    names = [stage.name for stage in stages]
    expected = expected_seconds(experiment.study, names, counts, Speed(sample.decode_s), probed)
    earlier = {stage.name: stage.seconds for stage in stages if stage.name in SECONDS_OF and stage.name != "clean"}
    return {**expected, **{name: seconds for name, seconds in earlier.items() if seconds is not None}}


def left_text(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 60 else "less than a minute"
