"""A separate program that trains one epoch per turn: in decant's stage, or in timm's loop.

    python -m decant.benchmarking.timed_training '{"way": "stage", "study": "study.yaml", ...}'

`decant.timing.turns` describes how a turn begins; the program answers with images per second.
"""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import record_function

from decant import machine
from decant.data.preprocessing import InputPx
from decant.data.views import ViewSet
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.resolve import inputs_of
from decant.stages.support.training_data import TrainingData, read_training_data
from decant.stages.teacher import resolved_teacher, train_one
from decant.study import Teacher
from decant.study_reading import load_study
from decant.timing.step_profile import VIEWS, step_parts
from decant.timing.timm_training import Flags, TimmTraining
from decant.timing.turns import Turns

WARMUP_STEPS = 2


@dataclass(frozen=True)
class Job:
    """What one process trains. study: file of a study whose data is a folder of images with `train/<class>/`.

    way: stage (files -> manifest -> pixel cache -> training, as `research/train_teacher.py` does it), memory (the same
    training on views that are rendered before), timm, or profile (one turn; the answer is the time of a step's parts).
    """

    way: str
    study: str
    teacher: str
    data: str  # folder of the study's data
    runs: str
    turns: int
    flags: dict[str, Any] = field(default_factory=dict)  # timm
    steps: int | None = None  # timm: of a turn; None: an epoch
    limit_s: int = 0  # the process ends after this time; 0: never
    keep_memory: bool = True  # as the scripts of decant do


@dataclass(frozen=True)
class StoredViews(ViewSet):
    """Views that are rendered once: the same pixels in every epoch. stored: uint8 [len(cache), 3, height, width]."""

    stored: Tensor = field(default_factory=lambda: torch.empty(0))

    def render(self, rows: np.ndarray, view: int, size: InputPx) -> Tensor:
        return self.stored[torch.from_numpy(rows)]


@dataclass(frozen=True)
class TimedViews(ViewSet):
    """Views that are a region of a profile and whose time is measured, in whichever thread they are rendered."""

    seconds: list[float] = field(default_factory=list)

    def render(self, rows: np.ndarray, view: int, size: InputPx) -> Tensor:
        started = time.perf_counter()
        with record_function(VIEWS):
            rendered = super().render(rows, view, size)
        self.seconds.append(time.perf_counter() - started)
        return rendered


class StageTraining:
    """The training of a teacher's stage, with its data, settings and views."""

    def __init__(self, job: Job) -> None:
        self.experiment = Experiment(load_study(job.study), Path(job.data), Path(job.runs), wandb="disabled")
        inputs = inputs_of(self.experiment, f"teachers/{job.teacher}")
        geometry = input_geometry(self.experiment, inputs["clean"])
        self.data: TrainingData = read_training_data(inputs)
        teacher: Teacher = resolved_teacher(self.experiment, f"teachers/{job.teacher}", inputs, geometry)
        self.teacher = teacher.model_copy(update={"epochs": job.turns})
        rows = self.data.labels.labelled
        self.views = ViewSet.of(self.data.cache, teacher.views, seed=0, partners=rows, geometry=geometry)

    def in_memory(self) -> StoredViews:
        """The first views of all images, rendered into memory."""
        rows = np.arange(len(self.data.cache))
        stored = self.views.render(rows, 0, self.teacher.input_px)
        return StoredViews(**vars(self.views), stored=stored)

    def warm_up(self) -> None:
        """Train for WARMUP_STEPS steps, untimed."""
        rows = self.views.partners[: WARMUP_STEPS * self.teacher.batch_size]
        views = ViewSet(**{**vars(self.views), "partners": rows})
        self.train(views, lambda metrics: None, self.teacher.model_copy(update={"epochs": 1}))

    def train(self, views: ViewSet, after_epoch: Callable[[dict[str, Any]], None], teacher: Teacher) -> None:
        """Train as the stage does. after_epoch: receives the epoch's metrics, `images_per_second` among them."""
        with tempfile.TemporaryDirectory() as folder:
            train_one(self.experiment, teacher, self.data, views, 0, Path(folder), Path(folder), after_epoch)


def train_in_stage(job: Job, turns: Turns) -> None:
    training = StageTraining(job)
    views = training.in_memory() if job.way == "memory" else training.views
    training.warm_up()

    def after_epoch(metrics: dict[str, Any]) -> None:
        turns.answer(metrics["images_per_second"])
        turns.wait()

    turns.wait()
    training.train(views, after_epoch, training.teacher)


def train_in_timm(job: Job, turns: Turns) -> None:
    study = load_study(job.study)
    training = TimmTraining(Path(job.data) / study.data.path, study.teachers[job.teacher], Flags(**job.flags))
    training.epoch(WARMUP_STEPS)
    for _ in range(job.turns):
        turns.wait()
        turns.answer(training.epoch(job.steps))


def profile_stage(job: Job, turns: Turns) -> None:
    """Answer with the milliseconds per step of each part, and of the whole step."""
    training, rates = StageTraining(job), []
    views = TimedViews(**vars(training.views))
    training.warm_up()
    turns.wait()
    parts = step_parts(
        lambda: training.train(views, lambda metrics: rates.append(metrics["images_per_second"]), training.teacher)
    )
    whole = 1000 * training.teacher.batch_size / float(np.median(rates))
    turns.answer({**parts, VIEWS: 1000 * float(np.mean(views.seconds)), "whole step": whole})


def main(arguments: list[str]) -> None:
    """Run the job given as JSON."""
    job, turns = Job(**json.loads(arguments[0])), Turns()
    if job.limit_s:
        signal.alarm(job.limit_s)
    if job.keep_memory:
        machine.keep_memory()
    ways = {"stage": train_in_stage, "memory": train_in_stage, "timm": train_in_timm, "profile": profile_stage}
    ways[job.way](job, turns)


if __name__ == "__main__":
    main(sys.argv[1:])
