"""The soft-label store: bytes on disk, damage, resuming, and the pool of several stores."""

import hashlib
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from decant.distillation.soft_labels import SoftLabelStore, pooled
from decant.errors import UserError

N = 40
CONTENTS = [hashlib.sha256(bytes([i])).hexdigest() for i in range(N)]
HEADER = {"teacher_digest": "abc", "folds": 5, "view_version": 1, "study": "micro"}
LAYOUTS = pytest.mark.parametrize("classes", [2, 10, 64, 65, 200])


def create(folder, classes=10, **changes) -> SoftLabelStore:
    arguments = {"contents": CONTENTS, "classes": classes, "teacher": "vit", "header": HEADER, **changes}
    return SoftLabelStore.create(folder, **arguments)


def probabilities(seed: int, classes: int = 10, n: int = N, spread: float = 3.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(scale=spread, size=(n, classes))
    return softmax(logits, axis=1).astype(np.float32)


def view_files(folder) -> list:
    return sorted(folder.glob("view-*.npy"))


@LAYOUTS
def test_written_probabilities_are_read_back_row_by_row(tmp_path, classes):
    store = create(tmp_path, classes)
    written = {view: probabilities(view, classes) for view in (0, 7)}
    for view, p in written.items():
        store.write(view, p)
    rows = np.array([3, 39, 0, 3])
    for view, p in written.items():
        read = store.read(view, rows)
        assert read.shape == (4, classes) and read.dtype == np.float32
        np.testing.assert_allclose(read.sum(axis=1), 1, atol=1e-5)
        kept = np.argsort(-p[rows], axis=1)[:, :16]
        expected, actual = (np.take_along_axis(x, kept, axis=1) for x in (p[rows], read))
        np.testing.assert_allclose(actual, expected, atol=5e-4)
        other_rows = np.take_along_axis(store.read(view, (rows + 1) % N), kept, axis=1)
        assert np.abs(other_rows - expected).max() > 0.05  # other rows have other values


def test_a_sparse_row_keeps_the_top_k_and_spreads_the_rest_mass_evenly(tmp_path):
    p = np.zeros((N, 100), np.float32)
    p[:, 90], p[:, 5], p[:, :5] = 0.6, 0.3, 0.02
    store = create(tmp_path, 100, top_k=2)
    store.write(0, p)
    expected = np.full((N, 100), 0.1 / 98)
    expected[:, 90], expected[:, 5] = 0.6, 0.3
    np.testing.assert_allclose(store.read(0, np.arange(N)), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("classes", "top_k", "expected"),
    [
        (2, 16, 2 * 2),
        (10, 16, 2 * 10),
        (64, 16, 2 * 64),
        (65, 16, (2 + 2) * 16 + 2),
        (1000, 20, (2 + 2) * 20 + 2),
        (65_536, 5, (2 + 2) * 5 + 2),
        (65_537, 5, (2 + 4) * 5 + 2),
    ],
)
def test_the_size_of_a_view_equals_the_documented_formula(tmp_path, classes, top_k, expected):
    store = create(tmp_path, classes, contents=CONTENTS[:3], top_k=top_k)
    assert store.layout.row_bytes == expected
    store.write(0, probabilities(0, classes, n=3))
    (path,) = view_files(tmp_path)
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        assert path.stat().st_size - file.tell() == 3 * expected


def test_the_last_of_65_536_and_65_537_classes_keeps_its_index(tmp_path):
    for classes in (65_536, 65_537):
        p = np.zeros((2, classes), np.float32)
        p[:, -1] = 1
        store = create(tmp_path / str(classes), classes, contents=CONTENTS[:2], top_k=1)
        store.write(0, p)
        assert store.read(0, np.array([1]))[0, -1] == 1


def test_a_view_is_an_npy_file_without_pickle(tmp_path):
    create(tmp_path).write(0, probabilities(0))
    (path,) = view_files(tmp_path)
    stored = np.load(path, allow_pickle=False)
    assert stored.dtype == np.float16 and stored.shape == (N, 10)


@LAYOUTS
@pytest.mark.parametrize("spread", [0.0, 3.0, 30.0])
def test_the_storage_error_is_at_most_that_of_float16(tmp_path, classes, spread):
    store = create(tmp_path, classes, top_k=classes)
    p = probabilities(1, classes, spread=spread)
    store.write(0, p)
    np.testing.assert_allclose(store.read(0, np.arange(N)), p, atol=6e-4)


def test_small_probabilities_are_stored_and_have_an_effect_at_a_high_temperature(tmp_path):
    p = np.full((N, 10), 1e-10, np.float32)  # 0 in float16
    p[:, 0] = 1 - 9e-10
    store = create(tmp_path)
    store.write(0, p)
    softened = pooled([store], [1.0], [4.0], 0, np.arange(3))
    np.testing.assert_allclose(softened, softmax(np.log(p[:3].astype(float)) / 4, axis=1), rtol=0.01)
    assert softened[0, 1] > 0.002


def test_a_one_hot_teacher_stays_one_hot(tmp_path):
    store = create(tmp_path)
    store.write(0, np.eye(10, dtype=np.float32)[np.arange(N) % 10])
    np.testing.assert_array_equal(store.read(0, np.arange(10)), np.eye(10))
    np.testing.assert_array_equal(pooled([store], [1.0], [2.0], 0, np.arange(10)), np.eye(10))


def test_views_are_added_in_any_order_and_missing_views_are_listed(tmp_path):
    store = create(tmp_path)
    assert store.missing(range(4)) == [0, 1, 2, 3]
    store.write(2, probabilities(2))
    assert store.missing(range(4)) == [0, 1, 3]
    resumed = create(tmp_path)
    assert resumed.missing(range(4)) == [0, 1, 3]
    resumed.write(0, probabilities(0))
    assert store.missing(range(4)) == [1, 3]  # the store that was opened earlier finds it too
    np.testing.assert_array_equal(store.read(0, np.arange(N)), resumed.read(0, np.arange(N)))
    with pytest.raises(UserError, match="view 1"):
        store.read(1, np.array([0]))


def test_a_view_written_again_replaces_the_old_one(tmp_path):
    store = create(tmp_path)
    store.write(0, probabilities(0))
    store.read(0, np.array([0]))
    store.write(0, probabilities(1))
    assert len(view_files(tmp_path)) == 1
    np.testing.assert_allclose(store.read(0, np.arange(N)), probabilities(1), atol=6e-4)


def test_the_same_probabilities_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        create(tmp_path / name, 100).write(3, probabilities(3, 100))
    (a,), (b,) = view_files(tmp_path / "a"), view_files(tmp_path / "b")
    assert a.name == b.name and a.read_bytes() == b.read_bytes()


@LAYOUTS
@pytest.mark.parametrize("damage", ["empty", "header", "half", "one byte short", "one byte more", "one bit"])
def test_a_damaged_file_counts_as_missing_and_can_be_written_again(tmp_path, classes, damage):
    create(tmp_path, classes).write(0, probabilities(0, classes))
    (path,) = view_files(tmp_path)
    intact = path.read_bytes()
    flipped = bytearray(intact)
    flipped[len(intact) // 2 + 100] ^= 1
    cuts = {"empty": 0, "header": 40, "half": len(intact) // 2, "one byte short": -1}
    damaged = {"one byte more": intact + b"\0", "one bit": bytes(flipped)}
    path.write_bytes(damaged[damage] if damage in damaged else intact[: cuts[damage]])
    store = create(tmp_path, classes)
    assert store.missing(range(1)) == [0]
    with pytest.raises(UserError, match="missing or damaged"):
        store.read(0, np.array([0]))
    store.write(0, probabilities(0, classes))
    assert store.missing(range(1)) == [] and view_files(tmp_path)[0].read_bytes() == intact


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 127 + 20 * N), st.integers(1, 255))
def test_any_single_changed_byte_is_detected(tmp_path, position, change):
    store = create(tmp_path)
    store.write(0, probabilities(0))
    (path,) = view_files(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= change
    path.write_bytes(bytes(damaged))
    assert store.missing(range(1)) == [0]


def test_a_view_with_another_number_of_rows_counts_as_missing(tmp_path):
    create(tmp_path / "other", contents=CONTENTS[:5]).write(0, probabilities(0, n=5))
    (path,) = view_files(tmp_path / "other")
    store = create(tmp_path / "ours")
    os.replace(path, store.folder / path.name)
    assert store.missing(range(1)) == [0]


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    store = create(tmp_path)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(UserError, match="No space left"):
        store.write(0, probabilities(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contents.txt", "header.json"]
    assert store.missing(range(1)) == [0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contents": CONTENTS[::-1]}, "contents_digest"),
        ({"contents": CONTENTS[:-1]}, "rows"),
        ({"classes": 11}, "classes"),
        ({"teacher": "convnext"}, "teacher"),
        ({"header": HEADER | {"teacher_digest": "xyz"}}, "teacher_digest is 'abc', expected 'xyz'"),
        ({"header": HEADER | {"view_version": 2}}, "view_version"),
        ({"header": HEADER | {"folds": 3}}, "folds"),
        ({"header": HEADER | {"study": "demo"}}, "study"),
        ({"header": HEADER | {"seed": 1}}, "seed"),
    ],
)
def test_a_store_of_other_labels_is_refused_and_the_error_names_the_difference(tmp_path, changes, message):
    create(tmp_path)
    with pytest.raises(UserError, match=message):
        create(tmp_path, **changes)
    if message != "rows":  # `open` has no argument for the number of rows; it compares the digest of the contents
        with pytest.raises(UserError, match=message):
            SoftLabelStore.open(tmp_path, **changes)


def test_an_opened_store_has_the_values_of_the_created_store(tmp_path):
    create(tmp_path, header=HEADER | {"levels": (1, 2)}).write(1, probabilities(1))
    store = SoftLabelStore.open(tmp_path, contents=CONTENTS, classes=10, teacher="vit", header=HEADER)
    assert store.teacher == "vit" and store.contents() == CONTENTS
    assert store.header["view_version"] == 1
    np.testing.assert_allclose(store.read(1, np.arange(N)), probabilities(1), atol=6e-4)


def test_rows_are_found_by_content(tmp_path):
    store = create(tmp_path)
    assert store.rows_of([CONTENTS[7], CONTENTS[0]]).tolist() == [7, 0]
    with pytest.raises(UserError, match="have no soft labels"):
        store.rows_of([CONTENTS[7], "0" * 64])
    (tmp_path / "contents.txt").write_text("\n".join(CONTENTS[::-1]))
    with pytest.raises(UserError, match=r"contents\.txt was changed"):
        store.rows_of([CONTENTS[7]])


def test_a_missing_and_a_damaged_header_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="make_soft_labels"):
        SoftLabelStore.open(tmp_path)
    for text in ("", "[]", "{}", '{"format": 99}'):
        (tmp_path / "header.json").write_text(text)
        with pytest.raises(UserError, match=r"header\.json is damaged"):
            create(tmp_path)


def test_views_in_a_folder_without_a_header_are_not_used(tmp_path):
    create(tmp_path).write(0, probabilities(0))
    (tmp_path / "header.json").unlink()
    assert create(tmp_path).missing(range(1)) == [0]


@pytest.mark.parametrize(
    "wrong",
    [
        np.log(probabilities(0)),
        np.random.default_rng(0).normal(size=(N, 10)).astype(np.float32),
        probabilities(0)[:-1],
        probabilities(0, 11),
        np.full((N, 10), np.nan, np.float32),
        np.full((N, 10), 1.0, np.float32),
    ],
    ids=["log-probabilities", "logits", "a row too few", "a class too many", "NaN", "sums to 10"],
)
def test_wrong_shapes_and_rows_that_are_not_probabilities_are_not_written(tmp_path, wrong):
    store = create(tmp_path)
    with pytest.raises(ValueError, match="view 0"):
        store.write(0, wrong)
    assert not view_files(tmp_path)


@pytest.mark.parametrize("rows", [[-1], [N], [0, N + 5]])
def test_rows_outside_the_store_are_refused(tmp_path, rows):
    store = create(tmp_path)
    store.write(0, probabilities(0))
    with pytest.raises(IndexError):
        store.read(0, np.array(rows))
    assert store.read(0, np.array([], dtype=int)).shape == (0, 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"contents": [*CONTENTS, CONTENTS[0]]},
        {"contents": []},
        {"header": {"study": "micro"}},
        {"header": HEADER | {"rows": 3}},
        {"classes": 0},
        {"top_k": 0},
    ],
)
def test_invalid_arguments_of_create_are_refused(tmp_path, changes):
    with pytest.raises(ValueError):
        create(tmp_path, **changes)


def test_the_pool_of_one_teacher_equals_that_teacher(tmp_path):
    store = create(tmp_path)
    store.write(0, probabilities(0))
    rows = np.array([5, 1])
    np.testing.assert_allclose(pooled([store], [1.0], [1.0], 0, rows), store.read(0, rows), atol=1e-6)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.floats(0.5, 3), st.floats(0.5, 3), st.sampled_from([10, 70]))
def test_the_pool_is_the_weighted_mean_of_calibrated_teachers(tmp_path, weight, t_a, t_b, classes):
    stores, raw = [], [probabilities(11, classes), probabilities(12, classes)]
    for name, p in zip(("a", "b"), raw, strict=True):
        store = create(tmp_path / f"{name}{classes}", classes, teacher=name, top_k=classes)
        if store.missing([4]):
            store.write(4, p)
        stores.append(store)
    rows = np.array([30, 2, 17])
    a, b = (softmax(np.log(p[rows].astype(float)) / t, axis=1) for p, t in zip(raw, (t_a, t_b), strict=True))
    mixture = pooled(stores, [weight, 1 - weight], [t_a, t_b], 4, rows)
    assert mixture.dtype == np.float32
    np.testing.assert_allclose(mixture, weight * a + (1 - weight) * b, atol=3e-3)


def test_a_teacher_of_weight_0_is_not_read(tmp_path):
    a, empty = create(tmp_path / "a"), create(tmp_path / "b", teacher="other")
    a.write(0, probabilities(0))
    rows = np.arange(N)
    np.testing.assert_allclose(pooled([a, empty], [1, 0], [1, 1], 0, rows), a.read(0, rows), atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"contents": CONTENTS[::-1]},
        {"classes": 9},
        {"header": HEADER | {"view_version": 2}},
        {"header": HEADER | {"views_of": 1}},
    ],
)
def test_stores_of_other_images_classes_or_views_are_not_pooled(tmp_path, changes):
    stores = [create(tmp_path / "a"), create(tmp_path / "b", **changes)]
    with pytest.raises(ValueError, match="differ"):
        pooled(stores, [0.5, 0.5], [1, 1], 0, np.array([0]))


def test_other_than_one_weight_and_one_temperature_per_store_is_refused(tmp_path):
    store = create(tmp_path)
    store.write(0, probabilities(0))
    for weights, temperatures in [([1.0, 0.0], [1.0]), ([1.0], [1.0, 1.0]), ([0.5], [1.0])]:
        with pytest.raises(ValueError):
            pooled([store], weights, temperatures, 0, np.array([0]))
