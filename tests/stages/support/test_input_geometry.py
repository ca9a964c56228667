"""The geometry of a study: what it names, what the shapes decide, and what probes decide once."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from decant.data.geometry import SQUARE, InputGeometry
from decant.data.geometry_choice import shapes_of
from decant.data.manifest import Manifest
from decant.data.preprocessing import Fit, Preprocessing
from decant.errors import UserError
from decant.models.backbones import build_classifier
from decant.models.checkpoint import load_checkpoint
from decant.models.classifier import Classifier
from decant.stages.support import input_geometry as module
from decant.stages.support.chain import expected_of
from decant.stages.support.experiment import Experiment
from decant.stages.support.input_geometry import (
    chosen_geometry,
    encoder_geometry,
    geometry_settings,
    named_geometry,
    possible_geometries,
)
from decant.stages.support.plan import PlannedStage, geometries_to_probe, geometry_line
from decant.stages.support.resolve import code_of, inputs_of, stage_result
from decant.study import Study
from decant.study_reading import load_study
from decant.workspace import Undecided

Chain = Any
Make = Callable[..., Experiment]
SHAPES = shapes_of(pd.DataFrame({"width": [300, 310], "height": [200, 200]}))


def study(**changes: Any) -> Study:
    base = load_study("micro").model_dump()
    base["teachers"].pop("probe")
    return Study.model_validate({**base, **changes})


def with_input(input_px: Any, **changes: Any) -> Study:
    base = load_study("micro").model_dump()
    return study(student={**base["student"], "input_px": input_px}, **changes)


def test_a_named_fit_is_taken_with_square_inputs() -> None:
    named = named_geometry(study(geometry={"fit": "pad"}), SHAPES)
    assert named is not None and named.geometry == InputGeometry("pad")


def test_one_pair_gives_all_networks_its_shape() -> None:
    named = named_geometry(with_input([64, 96], geometry={"fit": "stretch"}), SHAPES)
    assert named is not None and named.geometry == InputGeometry("stretch", 1.5)
    assert named.geometry.input_px(96) == (80, 112)


def test_of_a_named_shape_auto_decides_the_fit() -> None:
    named = named_geometry(with_input([64, 96]), SHAPES)
    assert named is not None and named.geometry == InputGeometry("crop", 1.5)


def test_auto_without_a_shape_is_left_to_the_images() -> None:
    assert named_geometry(study(), SHAPES) is None
    possible = possible_geometries(study(), SHAPES)
    assert possible.probed == len(possible.geometries) == 3
    assert all(text in str(possible) for text in ("auto", "probes", "square", "1.52 times", "median aspect ratio"))


def test_nothing_is_probed_where_the_study_or_the_shapes_decide() -> None:
    squares = shapes_of(pd.DataFrame({"width": [200], "height": [200]}))
    for possible in (
        possible_geometries(study(), squares),
        possible_geometries(study(geometry={"fit": "pad"}), SHAPES),
    ):
        assert possible.probed == 0 and len(possible.geometries) == 1
        assert str(possible).startswith(possible.geometries[0].fit)


def test_networks_of_different_shapes_are_refused_with_their_keys() -> None:
    with pytest.raises(UserError, match=r"geometry\.aspect 1\.00, student 2\.00"):
        named_geometry(with_input([32, 64], geometry={"aspect": 1.0}), SHAPES)


def test_a_rectangle_for_a_network_for_squares_is_refused_with_its_key() -> None:
    teachers = {"vit": {"architecture": "test_vit", "input_px": 64}}
    with pytest.raises(UserError, match=r"teachers\.vit \(test_vit\): .*square inputs only"):
        named_geometry(with_input([32, 64], teachers=teachers), SHAPES)


@pytest.mark.parametrize("bad", [{"fit": "squash"}, {"aspect": 0}, {"aspect": 9}])
def test_impossible_geometries_are_mistakes_of_the_study(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="geometry"):
        study(geometry=bad)


def manifest_of(**widths: int) -> Manifest:
    """Eight images of each split, 100 px high and as wide as `widths` says; "drawn" for a split still to be drawn."""
    rows = [
        (f"{split}{n}", "a" if n % 2 else "b", None if split == "drawn" else split, width)
        for split, width in widths.items()
        for n in range(8)
    ]
    table = pd.DataFrame(rows, columns=["id", "label", "split", "width"])
    same = {"content": table["id"], "path": table["id"], "group": table["id"], "given_label": table["label"]}
    return Manifest(table.assign(**same, weight=1.0, action="none", reason="", height=100), ["a", "b"])


def test_cleanings_encoder_sees_the_whole_of_wide_images_of_train() -> None:
    assert encoder_geometry(study(), manifest_of(train=180, test=100)) == InputGeometry("stretch")
    assert encoder_geometry(study(), manifest_of(drawn=180, test=100)) == InputGeometry("stretch")
    assert encoder_geometry(study(), manifest_of(train=100, test=180)) == SQUARE
    named = study(geometry={"fit": "pad", "aspect": 1.5})
    assert encoder_geometry(named, manifest_of(train=100)) == InputGeometry("pad", 1.5)


def test_a_probe_prefers_the_geometry_that_shows_where_classes_differ() -> None:
    """Planted: both ends of a wide image have its class's colour, the centre is grey."""
    manifest = manifest_of(train=120, val=120)

    def encoded(rows: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
        for id_, label in zip(rows["id"], rows["label"], strict=True):
            pixels = np.full((40, 120, 3), 128, np.uint8)
            pixels[:, [*range(35), *range(85, 120)]] = (200, 30, 30) if label == "a" else (30, 30, 200)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            yield id_, file.getvalue()

    experiment: Any = SimpleNamespace(study=study(), device=torch.device("cpu"), encoded_images=encoded)
    classifier, _ = build_classifier("test_efficientnet", 2, 32, ["none"], 0)
    crop, stretch = (
        module.probe_score(experiment, manifest, classifier.eval(), geometry)
        for geometry in (SQUARE, InputGeometry("stretch"))
    )
    assert crop <= 0.5 and stretch == 1.0


def test_the_square_crop_leaves_fingerprints_as_they_were() -> None:
    assert geometry_settings(SQUARE) == {}
    assert geometry_settings(InputGeometry("stretch")) != geometry_settings(InputGeometry("stretch", 1.5)) != {}


@pytest.fixture
def fresh(chain: Chain, tmp_path: Path) -> Make:
    """A function that gives the experiment in a run folder of the test's own, with changes to the study."""

    def make(**changes: Any) -> Experiment:
        return Experiment(
            chain.experiment.study.model_copy(update=changes),
            chain.experiment.data_root,
            tmp_path,
            tmp_path,
            "disabled",
        )

    return make


def test_probes_decide_once_between_the_candidates(chain: Chain, fresh: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [SQUARE, InputGeometry("stretch"), InputGeometry("stretch", 1.4)]
    monkeypatch.setattr(module, "candidates", lambda *rest: options)
    answers = iter([0.5, 0.8, 0.7])
    monkeypatch.setattr(module, "probe_score", lambda *rest: next(answers))
    cleaned = stage_result(fresh(), "clean")
    assert geometries_to_probe(fresh(), SHAPES) == 3
    assert all(text in geometry_line(fresh()) for text in ("probes", "crop", "1.40 times"))
    for _ in range(2):  # the second time nothing is measured
        chosen = chosen_geometry(fresh(), cleaned)
        assert chosen.geometry == options[1]
        assert all(text in chosen.why for text in ("accuracy out of fold", "0.5000", "0.8000", "0.7000"))
    assert geometries_to_probe(fresh(), SHAPES) == 0
    assert str(chosen) in geometry_line(fresh())


def test_the_minutes_left_count_the_probes_that_will_run(fresh: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decant.stages.support.chain.expected_seconds", lambda *given: {"pixels": given[-1]})
    pixels = [PlannedStage("pixels", "research/train.py", False, None)]
    for options in ([SQUARE], [SQUARE, InputGeometry("stretch")]):
        monkeypatch.setattr(module, "candidates", lambda *rest, options=options: options)
        assert expected_of(fresh(), pixels) == {"pixels": len(options) if len(options) > 1 else 0}


def test_a_plan_does_not_probe(chain: Chain, fresh: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "candidates", lambda *rest: [SQUARE, InputGeometry("stretch")])
    with pytest.raises(Undecided):
        chosen_geometry(replace(fresh(), may_measure=False), stage_result(chain.experiment, "clean"))


def test_probes_see_train_and_val_through_the_geometry_at_the_students_size(
    chain: Chain, fresh: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Preprocessing] = {}

    def batches(images: Any, preprocessing: Preprocessing) -> Any:
        ids = [id_ for id_, _ in images]
        seen.update(dict.fromkeys(ids, preprocessing))
        yield ids, torch.rand(len(ids), 3, *preprocessing.shape)

    monkeypatch.setattr(module, "evaluation_batches", batches)
    monkeypatch.setattr(module, "features_of", lambda classifier, images: images.mean(dim=(2, 3)).numpy())
    classifier = cast(Classifier, torch.nn.Identity())  # only given to `features_of`
    experiment = fresh(student=chain.experiment.study.student.model_copy(update={"input_px": 64}))
    score = module.probe_score(experiment, chain.manifest, classifier, InputGeometry("pad", 1.5))
    assert 0 <= score <= 1
    assert set(seen.values()) == {InputGeometry("pad", 1.5).preprocessing(64, 1.0)}
    splits = [chain.manifest.of_split(split) for split in ("train", "val")]
    assert set(seen) == {id_ for rows in splits for id_ in rows["id"][chain.manifest.targets(rows) >= 0]}


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_named_rectangle_reaches_every_stage(fresh: Make, chain: Chain, fit: Fit) -> None:
    geometry = chain.experiment.study.geometry.model_copy(update={"fit": fit, "aspect": 1.5})
    experiment = fresh(geometry=geometry)
    px = InputGeometry(fit, 1.5).input_px(32)
    for stage in ("teachers/probe", "student_alone"):
        checkpoint = load_checkpoint(stage_result(experiment, stage).folder)
        assert checkpoint.preprocessing == Preprocessing(px, 1.0, fit)
    settings = [
        code_of(experiment, stage).settings(experiment, stage, inputs_of(experiment, stage))
        for stage in ("clean", "teachers/convnext", "student_alone", "soft_labels/probe")
    ]
    assert all(one["geometry"] == [fit, 1.5] for one in settings)
    pixels = code_of(experiment, "pixels").settings(experiment, "pixels", inputs_of(experiment, "pixels"))
    assert np.divide(*reversed(pixels["px"])) == pytest.approx(1.5, rel=0.4)


def test_the_plan_says_what_was_chosen_and_why(chain: Chain, fresh: Make) -> None:
    line = geometry_line(chain.experiment)
    assert chain.geometry.fit in line and "median aspect ratio" in line
    assert "decided when the data are cleaned" in geometry_line(fresh())
    named = chain.experiment.study.geometry.model_copy(update={"fit": "pad"})
    assert "pad, named by the study" in geometry_line(fresh(geometry=named))


def test_before_cleaning_the_sampled_shapes_say_what_is_probed(fresh: Make) -> None:
    squares = shapes_of(pd.DataFrame({"width": [200], "height": [200]}))
    assert geometries_to_probe(fresh(), squares) == 0
