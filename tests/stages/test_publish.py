"""Publishing: submissions in the required format, and the folders that results may be written to."""

import csv
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from decant.data.manifest import COLUMNS, Manifest
from decant.data.predictions import Predictions, read_predictions, write_predictions
from decant.data.preprocessing import size_text
from decant.errors import UserError
from decant.stages import publish
from decant.stages.publish import publish_issues, published_folder, write_submission
from decant.stages.support.mistakes import study_mistakes
from decant.stages.support.resolve import stage_result
from decant.study_reading import load_study
from decant.workspace import StageResult

Chain = Any


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def expected(chain: Chain) -> dict[str, str]:
    """File name -> the ensemble's class, from its predictions."""
    manifest = chain.manifest
    rows = manifest.of_split("predict")
    found = read_predictions(chain.stages["ensemble"].folder, "predict").aligned(list(rows["id"]))
    best = found.members["identity"].argmax(axis=1)
    return {Path(path).name: manifest.classes[k] for path, k in zip(rows["path"], best, strict=True)}


def written(chain: Chain, path: Path, sample: bytes | None) -> list[list[str]]:
    write_submission(path, chain.manifest, chain.stages["ensemble"].folder, sample)
    return rows_of(path)


def test_without_a_sample_a_submission_has_file_names_and_source_classes(
    chain: Chain, tmp_path: Path, expected: dict[str, str]
) -> None:
    header, *rows = written(chain, tmp_path / "s.csv", None)
    assert header == ["id", "label"]
    assert rows == [[name, expected[name]] for name in sorted(expected)]


def test_a_sample_gives_header_order_and_the_form_of_the_names(
    chain: Chain, tmp_path: Path, expected: dict[str, str]
) -> None:
    sample = chain.experiment.source.sample_submission()
    header, *rows = written(chain, tmp_path / "s.csv", sample)
    assert header == ["photo", "body"]
    assert rows == [[f"photo_{n}", expected[f"photo_{n}.png"]] for n in (6, 5, 4, 3, 2, 1, 0)]


def test_a_sample_with_extensions_and_a_byte_order_mark_is_followed(
    chain: Chain, tmp_path: Path, expected: dict[str, str]
) -> None:
    sample = "\ufeffid,label\r\nphoto_1.png,x\r\nphoto_0.png,x\r\n".encode()
    assert written(chain, tmp_path / "s.csv", sample) == [
        ["id", "label"],
        ["photo_1.png", expected["photo_1.png"]],
        ["photo_0.png", expected["photo_0.png"]],
    ]


def test_a_sample_that_names_a_photo_that_is_not_there_is_a_users_error(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names 1 missing image, first photo_99"):
        written(chain, tmp_path / "s.csv", b"id,label\nphoto_1,x\nphoto_99,x\n")


def test_a_quick_try_on_some_photos_leaves_the_samples_others_out(
    chain: Chain, tmp_path: Path, expected: dict[str, str]
) -> None:
    sample = b"id,label\nphoto_99,x\nphoto_1,x\n"
    write_submission(tmp_path / "s.csv", chain.manifest, chain.stages["ensemble"].folder, sample, limited=True)
    assert rows_of(tmp_path / "s.csv") == [["id", "label"], ["photo_1", expected["photo_1.png"]]]


def test_the_highest_scoring_issues_per_type_are_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "MAX_ISSUES", 2)
    header, labels = "id,issue,score,suggested_label\n", ["a,label,1.0,car\n", "b,label,0.9,\n", "c,label,0.8,van\n"]
    (tmp_path / "issues.csv").write_text("".join([header, *labels, "a,odd,1.0,\n"]), encoding="utf-8")
    publish_issues(tmp_path / "issues.csv", tmp_path / "out" / "issues.csv")
    assert (tmp_path / "out" / "issues.csv").read_text() == "".join([header, *labels[:2], "a,odd,1.0,\n"])


def test_a_study_as_committed_may_be_published(chain: Chain) -> None:
    published = replace(chain.experiment, study=chain.experiment.study.model_copy(update={"publish": True}))
    assert published_folder(published) == chain.experiment.results / "tiny"


@pytest.mark.parametrize(
    ("published", "as_committed", "mend"), [(True, False, "commit"), (False, True, "publish: false")]
)
def test_a_variant_cannot_be_published(chain: Chain, published: bool, as_committed: bool, mend: str) -> None:
    study = chain.experiment.study.model_copy(update={"publish": published})
    with pytest.raises(UserError, match=mend):
        published_folder(replace(chain.experiment, study=study, as_committed=as_committed))


def test_outside_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_git(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert publish.git("rev-parse", "HEAD") is None


def test_the_weights_that_were_taken_are_named(chain: Chain) -> None:
    assert publish.weights_taken(chain.experiment, list(chain.stages.values())) == {"convnext": "none", "probe": "none"}


def test_provenance_names_commit_data_files_and_machine(chain: Chain, study_file: Path) -> None:
    stages = [chain.stages["student"], chain.stages["export"]]
    found = json.loads(json.dumps(publish.provenance(chain.experiment, [study_file], stages)))
    assert [Path(name).name for name in found["study_files"]] == ["tiny.yaml"]
    assert found["data_digest"] == chain.experiment.source.digest()
    assert {"commit", "lock_digest", "command", "machine"} <= set(found)
    assert [name for names in found["stages_built_by"].values() for name in names] == ["student", "export"]
    assert {"clean", "teachers/convnext", "soft_labels/convnext", "student", "export"} <= set(found["seconds"])
    assert all(seconds >= 0 for seconds in found["seconds"].values()) and found["seconds"]["student"] > 0


def test_the_published_geometry_has_the_size_of_every_networks_input(chain: Chain) -> None:
    published = publish.geometry_of(chain.experiment, stage_result(chain.experiment, "clean"))
    assert (published["fit"], published["aspect"]) == (chain.geometry.fit, chain.geometry.aspect)
    assert set(published["input_px"]) == {*chain.experiment.study.teachers, "student"}
    assert published["input_px"]["student"] == size_text(
        chain.geometry.input_px(chain.experiment.study.student.input_px)
    )
    assert published["why"] and published["description"].startswith(chain.geometry.fit)


def test_a_sample_that_names_two_images_with_different_endings_is_a_users_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"17.jpg": "car", "17.png": "van", "18.jpg": "van"}
    monkeypatch.setattr(publish, "submitted_labels", lambda *_: labels)
    manifest = Manifest(pd.DataFrame(columns=COLUMNS), ["car", "van"])
    with pytest.raises(UserError, match="names 17, and 2 images"):
        write_submission(tmp_path / "s.csv", manifest, tmp_path, b"id,label\n17,x\n18,x\n")
    write_submission(tmp_path / "s.csv", manifest, tmp_path, b"id,label\n17.png,x\n18,x\n")
    assert rows_of(tmp_path / "s.csv")[1:] == [["17.png", "van"], ["18", "van"]]


def with_unreadable(tmp_path: Path, broken: int) -> Manifest:
    """Five images of train, three of them vans, and three to predict, of which the first `broken` cannot be read.

    All others are predicted to be cars; the predictions lie in tmp_path.
    """
    rows = pd.DataFrame({"label": ["van", "car", "van", "car", "van", None, None, None]})
    rows["path"] = [f"{'train' if number < 5 else 'test'}/{number}.jpg" for number in rows.index]
    rows["id"], rows["split"], rows["action"] = rows["path"], ["train"] * 5 + ["predict"] * 3, "none"
    rows.loc[5 : 4 + broken, "action"] = "drop"
    rest = {"content": rows["id"], "given_label": rows["label"], "group": rows["id"], "reason": ""}
    manifest = Manifest(rows.assign(**rest, weight=1.0, width=8, height=8), ["car", "van"])
    ids = list(manifest.of_split("predict")["id"])
    certain = np.tile(np.log([0.9, 0.1]).astype(np.float32), (len(ids), 1))
    write_predictions(tmp_path, "predict", Predictions(ids, {"identity": certain}))
    return manifest


def test_an_image_that_cannot_be_read_has_a_row_with_the_commonest_class(tmp_path: Path) -> None:
    manifest = with_unreadable(tmp_path, 2)
    write_submission(tmp_path / "s.csv", manifest, tmp_path, b"id,label\n7,x\n5,x\n6,x\n")
    assert rows_of(tmp_path / "s.csv") == [["id", "label"], ["7", "car"], ["5", "van"], ["6", "van"]]


def test_images_that_cannot_be_read_are_warned_of_once_with_count_answer_and_list(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = with_unreadable(tmp_path, 2)
    results = {name: StageResult(name, "", tmp_path) for name in ("ensemble", "export")}
    write_predictions(tmp_path / "predictions", "predict", read_predictions(tmp_path, "predict"))
    source = SimpleNamespace(sample_submission=lambda: None)
    experiment: Any = SimpleNamespace(source=source, study=load_study("micro"))
    publish.write_submissions(experiment, manifest, results, tmp_path / "results")
    (warning,) = caplog.messages
    assert warning.startswith("2 images to predict cannot be read, for example test/5.jpg. ")
    assert "most frequent class of train, 'van'" in warning and str(tmp_path / "results/clean/issues.csv") in warning
    caplog.clear()
    publish.warn_of_unreadable(with_unreadable(tmp_path, 0), tmp_path)
    assert not caplog.messages


def test_the_page_of_mistakes_shows_each_wrong_test_image_once(chain: Chain) -> None:
    rows = chain.manifest.of_split("test")
    folder = chain.stages["export"].folder / "predictions"
    answers = read_predictions(folder, "test").aligned(list(rows["id"])).members["identity"].argmax(axis=1)
    wrong = rows[answers != chain.manifest.targets(rows)]
    page = study_mistakes(chain.experiment, chain.manifest, folder, chain.stages["ensemble"].folder)
    worst = page.partition("<h2>Worst first</h2>")[2].partition("</section>")[0]
    assert f"wrong on {len(wrong)} of {len(rows)} test images" in page
    assert sorted(re.findall(r"<footer>(.*?)</footer>", worst)) == sorted(wrong["path"])
    assert worst.count("data:image/jpeg;base64,") == len(wrong)


@pytest.mark.parametrize("may_be_shared", [False, True])
def test_the_page_of_mistakes_leaves_the_runs_only_if_the_images_may_be_shared(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_be_shared: bool
) -> None:
    study = chain.experiment.study
    data = study.data.model_copy(update={"may_be_shared": may_be_shared})
    experiment = replace(
        chain.experiment, study=study.model_copy(update={"data": data, "publish": True}), results=tmp_path
    )
    gathered = tmp_path / "gathered"
    gathered.mkdir()
    (gathered / "pictures").mkdir()
    for name in ("mistakes.html", "REPORT.md", "pictures/samples.jpg", "report.html"):
        (gathered / name).write_text("written", encoding="utf-8")
    monkeypatch.setattr(publish, "gather", lambda experiment, study_files: gathered)
    folder = publish.publish(experiment, [])
    assert (folder / "REPORT.md").is_file() and (folder / "mistakes.html").is_file() == may_be_shared
    assert (folder / "pictures" / "samples.jpg").is_file() == may_be_shared
    assert (folder / "APPENDIX.md").is_file() and not (folder / "report.html").exists()
