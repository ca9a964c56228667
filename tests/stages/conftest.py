"""One small study in the Kaggle layout, its whole chain run once, with what went into every training noted."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw
from torch import Tensor

from decant.data.geometry import InputGeometry
from decant.data.manifest import Manifest
from decant.models.classifier import Classifier
from decant.stages import student as student_stage
from decant.stages import teacher as teacher_stage
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import input_geometry
from decant.stages.support.resolve import inputs_of, stage_result
from decant.stages.support.training_data import TrainingData, read_training_data
from decant.study_reading import load_study
from decant.training import loop
from decant.workspace import StageResult

CLASSES = ("Kombi", "Lkw", "Рикша")
MAKES = ("Audi", "BMW", "Fiat", "Opel")
LABELLED, UNLABELLED, PREDICT = 60, 9, 7
MIRRORED = 4  # near duplicates of the first images, with the same label
STUDY = {
    "extends": "micro",
    "name": "tiny",
    "title": "Painted shapes",
    "data": {
        "source": "csv",
        "path": "shapes",
        "table": "train.csv",
        "label_column": "body",
        "images": "train",
        "predict": "test",
        "sample_submission": "sample.csv",
        "toy": None,
    },
    "teachers": {"convnext": {"views": {"mix": 0.3, "erase": 0.2}, "epochs": 6}},
    "ensemble": {"pooling": "equal"},
    "soft_labels": {"views": 3},
    "student": {"views": {"mix": 0.3}, "epochs": 3},
    "export": {"ship": "student"},
}


def painted(number: int) -> Image.Image:
    """An image of class `number % 3`: a rectangle, an ellipse or a triangle on red, green or blue, with noise."""
    generator = np.random.default_rng(number)
    width, height = (int(side) for side in generator.integers(36, 64, 2))
    ground = generator.integers(0, 120, 3) + 110 * np.eye(3, dtype=int)[number % 3]
    noise = generator.integers(-40, 41, (height, width, 3))
    image = Image.fromarray((ground + noise).clip(0, 255).astype(np.uint8))
    left, top = generator.integers(2, 12, 2)
    right, bottom = width - generator.integers(2, 12), height - generator.integers(2, 12)
    colour = tuple(int(value) for value in generator.integers(0, 256, 3))
    draw = ImageDraw.Draw(image)
    if number % 3 == 0:
        draw.rectangle([left, top, right, bottom], fill=colour)
    elif number % 3 == 1:
        draw.ellipse([left, top, right, bottom], fill=colour)
    else:
        draw.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=colour)
    return image


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shapes/`: train.csv with empty labels and makes, train/, test/ and a sample submission in an order of its own.

    Among the photos are mirror images, an exact copy and a truncated file.
    """
    root = tmp_path_factory.mktemp("data")
    folder = root / "shapes"
    rows = []
    for number in range(LABELLED + UNLABELLED):
        place = folder / "train" / f"{number:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        painted(number).save(place)
        make = MAKES[number // 3 % 4] if number % 5 else ""
        rows.append(f"{number:03d},{CLASSES[number % 3] if number < LABELLED else ''},{make}")
    for number in range(MIRRORED):
        painted(number).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "train" / f"mirror{number}.png")
        rows.append(f"mirror{number},{CLASSES[number % 3]},")
    whole = (folder / "train" / "010.png").read_bytes()
    for name, content in (("copy", whole), ("broken", whole[: len(whole) // 2])):
        (folder / "train" / f"{name}.png").write_bytes(content)
        rows.append(f"{name},{CLASSES[10 % 3]},")
    (folder / "train.csv").write_text("id,body,make\n" + "\n".join(rows) + "\n", encoding="utf-8")
    names = []
    for number in range(PREDICT):
        place = folder / "test" / f"photo_{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        painted(500 + number).save(place)
        names.append(place.stem)
    sample = [f"{name},{CLASSES[0]}" for name in reversed(names)]
    (folder / "sample.csv").write_text("photo,body\n" + "\n".join(sample) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("studies") / "tiny.yaml"
    path.write_text(yaml.safe_dump(STUDY, allow_unicode=True), encoding="utf-8")
    return path


@dataclass
class Training:
    """What one call of the training loop was given, and every view that it rendered."""

    folder: Path
    initial: dict[str, Tensor]
    task: loop.Task
    settings: Any
    rendered: list[tuple[int, list[int]]] = field(default_factory=list)  # view number, cache rows
    shown: set[int] = field(default_factory=set)  # cache rows whose pixels were seen, mixing partners included


@dataclass
class Chain:
    """The finished stages by name, and the trainings by the folder that they wrote, relative to the run."""

    experiment: Experiment
    stages: dict[str, StageResult]
    trainings: dict[str, Training]

    @property
    def manifest(self) -> Manifest:
        """The cleaned manifest."""
        return self.data.manifest

    @property
    def geometry(self) -> InputGeometry:
        return input_geometry(self.experiment, stage_result(self.experiment, "clean"))

    @property
    def data(self) -> TrainingData:
        return read_training_data(inputs_of(self.experiment, "student_alone"))


def noting(patch: pytest.MonkeyPatch, trainings: dict[str, Training], root: Path) -> None:
    """Let every training that the stages start be noted in `trainings`."""

    def train(
        classifier: Classifier, task: loop.Task, settings: Any, seed: int, folder: Path, *rest: Any
    ) -> Classifier:
        initial = {key: value.clone() for key, value in classifier.state_dict().items()}
        stage = folder.relative_to(root).parts
        name = "/".join(part for part in stage if len(part) != 12)  # without the fingerprint
        noted = trainings[name] = Training(folder, initial, task, settings)
        render = type(task.views).render

        def rendering(self: Any, rows: np.ndarray, view: int, size: int) -> Tensor:
            partners = self.draw(rows, view).partner
            noted.rendered.append((view, rows.tolist()))
            noted.shown |= {*rows.tolist(), *partners[partners >= 0].tolist()}
            return render(self, rows, view, size)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(type(task.views), "render", rendering)
            return loop.train(classifier, task, settings, seed, folder, *rest)

    patch.setattr(teacher_stage, "train", train)
    patch.setattr(student_stage, "train", train)


@pytest.fixture(scope="session")
def chain(data_root: Path, study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """The study `tiny`, run up to its precision table."""
    place = tmp_path_factory.mktemp("chain")
    experiment = Experiment(load_study(str(study_file)), data_root, place / "runs", place / "results", "disabled")
    trainings: dict[str, Training] = {}
    names = [f"{family}/{name}" for family in ("teachers", "soft_labels") for name in experiment.study.teachers]
    with pytest.MonkeyPatch.context() as patch:
        noting(patch, trainings, experiment.workspace.store)
        stages = {
            name: stage_result(experiment, name)
            for name in (*names, "ensemble", "student", "student_alone", "export", "int8")
        }
        stages["precision"] = stage_result(experiment, "benchmarks/precision")
    yield Chain(experiment, stages, trainings)


@pytest.fixture(scope="session")
def refitted(data_root: Path, study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """`tiny` with fewer epochs, with `whole`, a teacher without folds, and `final: refit`, up to its last stages."""
    short = ["teachers.convnext.epochs=1", "soft_labels.views=1", "student.epochs=1", "final=refit"]
    whole = ["recipe=micro_convnext", "epochs=2", "head=probe"]
    study = load_study(str(study_file), [*short, *(f"teachers.whole.{word}" for word in whole)])
    experiment = Experiment(study, data_root, tmp_path_factory.mktemp("refitted") / "runs", wandb="disabled")
    trainings: dict[str, Training] = {}
    with pytest.MonkeyPatch.context() as patch:
        noting(patch, trainings, experiment.workspace.store)
        for name in ("refit_ensemble", "refit_predictions/student"):
            stage_result(experiment, name)
    return Chain(experiment, experiment.finished, trainings)


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")
