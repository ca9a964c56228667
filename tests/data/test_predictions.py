"""Predictions are read as they were written, and their mean is the mean of probabilities."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from decant.data.predictions import Predictions, read_predictions, write_predictions


def drawn(members, n=5, classes=3, seed=0, spread=3.0):
    random = np.random.default_rng(seed)
    logs = {
        name: log_softmax(spread * random.standard_normal((n, classes)), axis=1).astype(np.float32) for name in members
    }
    return Predictions([f"{row:016x}" for row in range(n)], logs)


def test_predictions_are_read_bit_for_bit_as_written(tmp_path):
    written = drawn(["identity", "hflip"])
    write_predictions(tmp_path, "val", written)
    read = read_predictions(tmp_path, "val")
    assert read.ids == written.ids and list(read.members) == ["identity", "hflip"]
    for name, values in written.members.items():
        assert read.members[name].dtype == np.float32 and np.array_equal(read.members[name], values)


def test_splits_do_not_overwrite_each_other(tmp_path):
    for seed, split in enumerate(("val", "test", "predict")):
        write_predictions(tmp_path, split, drawn(["identity"], n=3 + seed, seed=seed))
    assert [len(read_predictions(tmp_path, split).ids) for split in ("val", "test", "predict")] == [3, 4, 5]


def test_identity_is_read_first_and_the_others_by_name(tmp_path):
    write_predictions(tmp_path, "val", drawn(["zoom1.15", "hflip", "identity", "a"]))
    assert list(read_predictions(tmp_path, "val").members) == ["identity", "a", "hflip", "zoom1.15"]


def test_double_precision_is_stored_as_float32(tmp_path):
    wide = Predictions(["a"], {"identity": np.log([[0.25, 0.75]])})
    write_predictions(tmp_path, "val", wide)
    assert np.load(tmp_path / "val" / "identity.npy", allow_pickle=False).dtype == np.float32


def test_an_empty_split_is_read_as_empty(tmp_path):
    write_predictions(tmp_path, "predict", drawn(["identity"], n=0))
    read = read_predictions(tmp_path, "predict")
    assert read.ids == [] and read.members["identity"].shape == (0, 3)


def test_a_partly_written_split_is_not_read(tmp_path, monkeypatch):
    def full_disk(*arguments, **options):
        raise OSError("no space left on device")

    write_predictions(tmp_path, "val", drawn(["identity"]))
    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_predictions(tmp_path, "val", drawn(["identity"], seed=1))
    with pytest.raises(FileNotFoundError):
        read_predictions(tmp_path, "val")


def test_writing_again_removes_earlier_members(tmp_path):
    write_predictions(tmp_path, "val", drawn(["identity", "hflip"], n=5))
    write_predictions(tmp_path, "val", drawn(["identity"], n=4))
    read = read_predictions(tmp_path, "val")
    assert list(read.members) == ["identity"] and len(read.ids) == 4


def test_a_split_consists_of_npy_and_json_files(tmp_path):
    write_predictions(tmp_path, "val", drawn(["identity"], n=2))
    assert sorted(path.name for path in (tmp_path / "val").iterdir()) == ["identity.npy", "ids.json"]
    assert json.loads((tmp_path / "val" / "ids.json").read_text()) == [f"{row:016x}" for row in range(2)]


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(2, 9), st.integers(0, 999), st.floats(0, 8))
def test_the_mean_is_the_log_of_the_mean_of_probabilities(members, n, classes, seed, spread):
    predictions = drawn([f"m{number}" for number in range(members)], n, classes, seed, spread)
    probabilities = np.exp(np.stack(list(predictions.members.values())).astype(np.float64))
    mean = predictions.mean()
    assert mean.dtype == np.float32 and mean.shape == (n, classes)
    np.testing.assert_allclose(mean, np.log(probabilities.mean(axis=0)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.exp(mean.astype(np.float64)).sum(axis=1), 1, atol=1e-5)


def test_the_mean_is_not_the_mean_of_the_logs():
    predictions = Predictions(["a"], {"identity": np.log([[0.98, 0.02]]), "hflip": np.log([[0.5, 0.5]])})
    np.testing.assert_allclose(np.exp(predictions.mean()), [[0.74, 0.26]], rtol=1e-5)


def test_the_mean_of_one_member_is_that_member():
    predictions = drawn(["identity"])
    np.testing.assert_allclose(predictions.mean(), predictions.members["identity"], atol=1e-6)


def test_probabilities_below_the_range_of_float32_keep_their_logs():
    logs = np.array([[0.0, -500.0]], dtype=np.float32)
    np.testing.assert_allclose(Predictions(["a"], {"identity": logs, "hflip": logs}).mean(), logs)


def test_the_mean_of_a_class_is_zero_only_if_it_is_zero_in_all_members():
    with np.errstate(divide="ignore"):
        certain, unsure = np.log([[1.0, 0.0, 0.0]]), np.log([[0.5, 0.5, 0.0]])
    mean = Predictions(["a"], {"identity": certain, "hflip": unsure}).mean()
    np.testing.assert_allclose(np.exp(mean), [[0.75, 0.25, 0.0]], atol=1e-7)


@given(st.permutations(range(6)), st.integers(1, 6))
def test_aligned_rows_follow_their_ids(order, count):
    predictions = drawn(["identity", "hflip"], n=6)
    ids = [predictions.ids[row] for row in order[:count]]
    aligned = predictions.aligned(ids)
    assert aligned.ids == ids and list(aligned.members) == ["identity", "hflip"]
    for name, values in aligned.members.items():
        for id_, row in zip(ids, values, strict=True):
            assert np.array_equal(row, predictions.members[name][predictions.ids.index(id_)])


def test_an_id_without_a_prediction_is_an_error():
    with pytest.raises(KeyError, match="unknown"):
        drawn(["identity"]).aligned(["0" * 16, "unknown"])
