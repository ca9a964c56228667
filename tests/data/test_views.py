"""Views: replayed bit for bit, true to the geometry of the picture, within their policy, free of aliasing."""

import io
import os
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from decant.data.pixels import PixelCache, build_pixel_cache
from decant.data.views import ViewSet, draw_views, philox4x32, uniforms, view_keys, warp
from decant.study import Views

STILL = Views(scale=(1, 1), ratio=(1, 1), flip=0, brightness=0, contrast=0, saturation=0)
LIVELY = Views(rotate_deg=20, erase=0.5, mix=0.5)
NOBODY = np.array([], dtype=np.int64)


def smooth(seed, width, height):
    """Three channels of soft waves, so that resizing in another way changes little."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    fx, fy, phase = random.uniform(0.5, 2, 3), random.uniform(0.5, 2, 3), random.uniform(0, 6, 3)
    waves = np.sin(2 * np.pi * (x[..., None] / width * fx + y[..., None] / height * fy) + phase)
    return np.rint(127.5 + 110 * waves).astype(np.uint8)


def noise(seed, width, height):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cache_of(folder, pictures, px):
    """A cache whose row n is pictures[n]."""

    def png(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="PNG")
        return file.getvalue()

    contents = [f"{number:04d}" for number in range(len(pictures))]
    build_pixel_cache(folder, zip(contents, map(png, pictures), strict=True), contents, px)
    return PixelCache(folder)


def render_one(cache, policy, size, row=0, view=0, partners=NOBODY):
    """float64 [size, size, 3] of one view."""
    views = ViewSet.of(cache, policy, 0, partners)
    return views.render(np.array([row]), view, size)[0].permute(1, 2, 0).numpy().astype(np.float64)


def resized(picture, size, box=None):
    image = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image).astype(np.float64)


@pytest.fixture(scope="module")
def mixed_cache(tmp_path_factory):
    """Twelve pictures of odd shapes, half of them noise."""
    pictures = [(smooth, noise)[n % 2](n, 40 + 23 * (n % 5), 200 - 17 * (n % 7)) for n in range(12)]
    return cache_of(tmp_path_factory.mktemp("mixed"), pictures, 64)


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    return cache_of(tmp_path_factory.mktemp("square"), [smooth(n, 256, 256) for n in range(3)], 256)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return cache_of(tmp_path_factory.mktemp("wide"), [smooth(7, 400, 200)], 256)


# The generator


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, answer):
    words = [np.array([int(word, 16) for word in text.split()], dtype=np.uint32) for text in (counter, key)]
    assert " ".join(f"{word:08x}" for word in philox4x32(*words)) == answer


def philox_in_plain_integers(counter, key):
    """Salmon et al. (2011), section 3.3, without NumPy."""
    left, right = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * left[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * left[2], 2**32)
        left = [high1 ^ left[1] ^ right[0], low1, high0 ^ left[3] ^ right[1], low0]
        right = [(right[0] + 0x9E3779B9) % 2**32, (right[1] + 0xBB67AE85) % 2**32]
    return left


word = st.integers(0, 2**32 - 1)


@settings(max_examples=50)
@given(st.lists(st.tuples(*[word] * 6), min_size=1, max_size=4))
def test_philox_in_batches_equals_philox_in_plain_integers(drawn):
    table = np.array(drawn, dtype=np.uint32)
    expected = [philox_in_plain_integers(row[:4], row[4:]) for row in drawn]
    assert philox4x32(table[:, :4], table[:, 4:]).tolist() == expected


def test_uniforms_lie_inside_0_and_1_and_are_uniform():
    drawn = np.concatenate([uniforms(view_keys(3, [str(n) for n in range(500)]), view) for view in range(4)])
    assert drawn.min() > 0 and drawn.max() < 1
    n = len(drawn)  # each column on its own: mean 1/2, variance 1/12, to five standard errors
    assert np.abs(drawn.mean(axis=0) - 1 / 2).max() < 5 * np.sqrt(1 / 12 / n)
    assert np.abs(drawn.var(axis=0) - 1 / 12).max() < 5 * np.sqrt(1 / 180 / n)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(drawn.shape[1])).max() < 6 / np.sqrt(n)


def test_extreme_words_still_give_uniforms_inside_0_and_1(monkeypatch):
    for value in (0, 2**32 - 1):
        monkeypatch.setattr("decant.data.views.philox4x32", lambda c, k, v=value: np.full(c.shape, v, dtype=np.uint32))
        drawn = uniforms(view_keys(0, ["a"]), 0)
        assert drawn.min() > 0 and drawn.max() < 1


def test_seed_content_and_view_number_each_give_other_numbers():
    drawn = [
        uniforms(view_keys(seed, [content]), view)
        for seed in (0, 1, 10)
        for content in ("a", "b", "0:a")
        for view in (0, 1, 2**32 - 1)
    ]
    assert len(np.unique(np.concatenate(drawn))) == np.concatenate(drawn).size


# Replaying


def test_views_are_the_same_bits_in_any_batch_order_and_number_of_threads(mixed_cache):
    views = ViewSet.of(mixed_cache, LIVELY, 5, np.arange(len(mixed_cache)))
    rows = np.arange(len(mixed_cache))
    threads = torch.get_num_threads()
    try:
        for view, size in ((0, 40), (7, 33)):
            torch.set_num_threads(1)
            whole = views.render(rows, view, size)
            for count in (1, 3):
                torch.set_num_threads(count)
                for batch in ([3], [11, 3], [3, 3, 0, 8, 3], rows[::-1].copy(), np.roll(rows, 5)):
                    assert torch.equal(views.render(np.array(batch), view, size), whole[np.array(batch)])
    finally:
        torch.set_num_threads(threads)


def test_views_are_the_same_bits_in_another_process(mixed_cache, tmp_path, repository):
    """The other process reads the cache anew, renders one row at a time, backwards, with other threads."""
    code = """if True:
        import sys
        from pathlib import Path
        import numpy as np
        import torch
        from decant.data.pixels import PixelCache
        from decant.data.views import ViewSet
        from decant.study import Views

        torch.set_num_threads(2)
        cache = PixelCache(Path(sys.argv[1]))
        policy = Views.model_validate_json(sys.argv[2])
        views = ViewSet.of(cache, policy, 5, np.arange(len(cache)))
        rows = range(len(cache) - 1, -1, -1)
        images = np.concatenate([views.render(np.array([row]), 3, 40).numpy() for row in rows])
        np.save(sys.argv[3], images, allow_pickle=False)
    """
    folder = os.path.dirname(mixed_cache.levels[0].filename)
    arguments = [folder, LIVELY.model_dump_json(), str(tmp_path / "there.npy")]
    environment = {**os.environ, "PYTHONPATH": str(repository / "src"), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, *arguments], env=environment, check=True)
    here = ViewSet.of(mixed_cache, LIVELY, 5, np.arange(len(mixed_cache))).render(np.arange(len(mixed_cache)), 3, 40)
    assert np.array_equal(np.load(tmp_path / "there.npy", allow_pickle=False)[::-1], here.numpy())


def test_views_touch_no_global_random_state(mixed_cache):
    views = ViewSet.of(mixed_cache, LIVELY, 5, np.arange(12))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = views.render(np.arange(4), 0, 24)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(views.render(np.arange(4), 0, 24), one)


def test_a_picture_has_the_same_views_whatever_pictures_are_cached_beside_it(tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "three").mkdir()
    pictures = [noise(1, 50, 60), noise(2, 60, 50), noise(3, 64, 64)]
    few, more = cache_of(tmp_path / "two", pictures[:2], 64), cache_of(tmp_path / "three", pictures, 64)
    rows = np.array([0, 1])
    policy = LIVELY.model_copy(update={"mix": 0.0})
    assert torch.equal(
        ViewSet.of(few, policy, 5, NOBODY).render(rows, 2, 32), ViewSet.of(more, policy, 5, NOBODY).render(rows, 2, 32)
    )


def test_view_numbers_and_seeds_give_other_views(mixed_cache):
    rows = np.arange(4)
    images = [
        ViewSet.of(mixed_cache, LIVELY, seed, NOBODY).render(rows, view, 24) for seed in (0, 1) for view in (0, 1)
    ]
    assert all(not torch.equal(one, other) for i, one in enumerate(images) for other in images[:i])


def test_views_are_uint8_of_the_size_asked_for(mixed_cache):
    images = ViewSet.of(mixed_cache, LIVELY, 0, np.arange(12)).render(np.arange(5), 0, 37)
    assert images.dtype == torch.uint8 and images.shape == (5, 3, 37, 37)


# Geometry


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_still_view_at_the_size_of_a_level_is_pillows_antialiased_resize(square, size):
    assert np.abs(render_one(square, STILL, size) - resized(smooth(0, 256, 256), size)).max() <= 1


@pytest.mark.parametrize("size", [50, 96, 200])
def test_a_still_view_at_any_size_is_close_to_an_antialiased_resize(square, size):
    assert np.abs(render_one(square, STILL, size) - resized(smooth(0, 256, 256), size)).max() <= 4


def test_a_mirrored_view_is_the_view_flipped(square):
    mirrored = STILL.model_copy(update={"flip": 1.0})
    assert np.abs(render_one(square, mirrored, 128) - render_one(square, STILL, 128)[:, ::-1]).max() <= 1
    assert np.abs(render_one(square, mirrored, 128) - render_one(square, STILL, 128)).max() > 50


def crop_box(parameters, width, height, index=0):
    """left, top, right, bottom in pixels of the original, of a view that is not rotated."""
    (a, _, cx), (_, e, cy) = parameters.affine[index].astype(np.float64)
    x, y, half_width, half_height = (cx + 1) / 2 * width, (cy + 1) / 2 * height, abs(a) * width / 2, e * height / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


@pytest.mark.parametrize("view", range(6))
def test_a_crop_is_pillows_crop_of_the_original(wide, view):
    policy = STILL.model_copy(update={"scale": (0.2, 0.6), "ratio": (0.75, 1.333)})
    parameters = ViewSet.of(wide, policy, 0, NOBODY).draw(np.array([0]), view)
    left, top, right, bottom = crop_box(parameters, 400, 200)
    assert left >= -1e-3 and top >= -1e-3 and right <= 400 + 1e-3 and bottom <= 200 + 1e-3
    box = (max(left, 0), max(top, 0), min(right, 400), min(bottom, 200))
    expected = resized(smooth(7, 400, 200), 96, box)
    # Pillow does not look past the box, so the outermost pixels may differ.
    assert np.abs(render_one(wide, policy, 96, view=view) - expected)[1:-1, 1:-1].max() <= 5


def test_a_view_of_the_top_left_quarter_shows_it_and_no_other(square):
    parameters = ViewSet.of(square, STILL, 0, NOBODY).draw(np.array([0]), 0)
    quarter = np.array([[[0.5, 0, -0.5], [0, 0.5, -0.5]]], dtype=np.float32)
    shown = warp(square, np.array([0]), replace(parameters, affine=quarter, side=np.array([0.5])), 64)
    picture = smooth(0, 256, 256).astype(np.float64)
    expected = picture[:128, :128].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(shown[0].permute(1, 2, 0).numpy() - expected).max() <= 3


@pytest.mark.parametrize("view", [1, 2, 3, 5])
def test_a_rotated_view_is_pillows_rotation(square, view):
    policy = STILL.model_copy(update={"rotate_deg": 40.0})
    (cos, _, _), (sin, _, _) = ViewSet.of(square, policy, 0, NOBODY).draw(np.array([0]), view).affine[0]
    angle = np.degrees(np.arctan2(sin, cos))
    assert abs(angle) > 1
    image = Image.fromarray(smooth(0, 256, 256)).rotate(angle, resample=Image.Resampling.BICUBIC)
    y, x = np.mgrid[0:256, 0:256] - 127.5
    disc = np.hypot(x, y) < 120
    apart = np.abs(render_one(square, policy, 256, view=view) - np.asarray(image).astype(np.float64))
    assert apart[disc].max() <= 2


@pytest.mark.parametrize("view", range(3))
def test_the_same_view_shows_the_same_crop_at_96_and_224_pixels(square, view):
    policy = Views(rotate_deg=15, scale=(0.4, 1.0), mix=0.5)
    views = ViewSet.of(square, policy, 9, np.arange(3))
    rows = np.arange(3)
    large = views.render(rows, view, 224).float()
    small = torch.nn.functional.interpolate(large, (96, 96), mode="bilinear", antialias=True)
    assert (small - views.render(rows, view, 96)).abs().max() <= 6
    assert (small - views.render(rows, view + 1, 96)).abs().amax(dim=(1, 2, 3)).min() > 30  # another view differs


def test_erased_boxes_lie_at_the_same_place_at_any_size(square):
    views = ViewSet.of(square, STILL.model_copy(update={"erase": 1.0}), 0, NOBODY)
    rows = np.arange(3)
    large = views.render(rows, 0, 192).float().view(3, 3, 96, 2, 96, 2).mean(dim=(3, 5))
    differs = (large - views.render(rows, 0, 96)).abs().amax(dim=1) > 6
    assert differs.float().mean() < 0.02  # along the edges of a box at most


def disc_picture(width, height, radius):
    y, x = np.mgrid[0:height, 0:width]
    inside = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) <= radius
    return np.where(inside[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)


@pytest.mark.parametrize(("width", "height"), [(400, 200), (200, 400), (300, 300), (512, 128)])
@pytest.mark.parametrize("rotate_deg", [0.0, 45.0])
def test_a_circle_stays_round_whatever_the_shape_of_the_picture(tmp_path, width, height, rotate_deg):
    radius = 0.25 * min(width, height)  # so that its reflection at the edge stays out of sight
    cache = cache_of(tmp_path, [disc_picture(width, height, radius)], 256)
    policy = STILL.model_copy(update={"rotate_deg": rotate_deg, "flip": 0.5})
    views = ViewSet.of(cache, policy, 0, NOBODY)
    for view in range(12):
        parameters = views.draw(np.array([0]), view)
        centred = replace(parameters, affine=parameters.affine * np.array([1, 1, 0], dtype=np.float32))
        mask = warp(cache, np.array([0]), centred, 128)[0, 0].numpy() > 127
        # The largest square crop: a view of 128 px spans the shorter side of the picture.
        diameter = 2 * radius / min(width, height) * 128
        for extent in (mask.any(axis=0).sum(), mask.any(axis=1).sum()):
            assert abs(extent - diameter) <= 3
        assert mask.sum() == pytest.approx(np.pi / 4 * diameter**2, rel=0.06)


policies = st.builds(
    Views,
    scale=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted).map(tuple),
    ratio=st.tuples(st.floats(0.4, 2.5), st.floats(0.4, 2.5)).map(sorted).map(tuple),
    flip=st.floats(0, 1),
    rotate_deg=st.floats(0, 90),
    brightness=st.floats(0, 0.9),
    contrast=st.floats(0, 0.9),
    saturation=st.floats(0, 0.9),
    erase=st.floats(0, 1),
    mix=st.floats(0, 1),
)
shapes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@settings(max_examples=60)
@given(policies, st.lists(shapes, min_size=1, max_size=6), st.integers(0, 10_000), st.integers(0, 99))
def test_parameters_stay_within_their_policy(policy, sizes, view, seed):
    sizes = np.array(sizes)
    keys = view_keys(seed, [str(n) for n in range(len(sizes))])
    drawn = draw_views(policy, keys, sizes, view, np.array([4, 9]))
    assert all(len(getattr(drawn, field.name)) == len(sizes) for field in fields(drawn))
    assert all(np.isfinite(getattr(drawn, field.name)).all() for field in fields(drawn))

    scale = sizes.astype(np.float64)
    pixels = drawn.affine.astype(np.float64)[:, :, :2] * scale[:, :, None]  # columns: the crop's sides as vectors
    crop_width, crop_height = np.linalg.norm(pixels[:, :, 0], axis=1), np.linalg.norm(pixels[:, :, 1], axis=1)
    across = (pixels[:, :, 0] * pixels[:, :, 1]).sum(axis=1)
    np.testing.assert_allclose(across / (crop_width * crop_height), 0, atol=1e-5)  # right angles stay right

    ratio = crop_width / crop_height
    assert (ratio > policy.ratio[0] * (1 - 1e-5)).all() and (ratio < policy.ratio[1] * (1 + 1e-5)).all()
    share = crop_width * crop_height / scale.prod(axis=1)
    np.testing.assert_allclose(drawn.side, np.sqrt(share), rtol=1e-5)
    assert (share < policy.scale[1] * (1 + 1e-5)).all()
    shrunk = np.isclose(crop_width, scale[:, 0], rtol=1e-5) | np.isclose(crop_height, scale[:, 1], rtol=1e-5)
    assert (shrunk | (share > policy.scale[0] * (1 - 1e-5))).all()  # smaller only where it would not fit

    centre = drawn.affine[:, :, 2]
    room = 1 - np.stack([crop_width, crop_height], axis=1) / scale
    assert (np.abs(centre) <= room + 1e-5).all()

    angle = np.degrees(np.arctan2(-pixels[:, 0, 1], pixels[:, 1, 1]))
    assert (np.abs(angle) <= policy.rotate_deg + 1e-4).all()
    assert ((drawn.share >= 0.5) & (drawn.share <= 1)).all()
    assert ((drawn.fill > 0) & (drawn.fill <= 1)).all()
    assert np.isin(drawn.partner, [-1, 4, 9]).all() and (drawn.share[drawn.partner < 0] == 1).all()


def many(policy, n=4000, partners=NOBODY, seed=1):
    return draw_views(policy, view_keys(seed, [str(i) for i in range(n)]), np.full((n, 2), 100), 0, partners)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flips_erasing_and_mixing_happen_as_often_as_asked(probability):
    drawn = many(Views(flip=probability, erase=probability, mix=probability), partners=np.arange(10))
    events = {
        "flip": drawn.affine[:, 0, 0] < 0,
        "erase": drawn.box[:, 2] > drawn.box[:, 0],
        "mix": drawn.partner >= 0,
    }
    error = 5 * np.sqrt(probability * (1 - probability) / 4000)
    assert {name: abs(happened.mean() - probability) <= error for name, happened in events.items()} == {
        "flip": True,
        "erase": True,
        "mix": True,
    }
    if 0 < probability < 1:  # and each on its own
        assert np.abs(np.corrcoef([*events.values()]) - np.eye(3)).max() < 0.1


def test_crops_fill_the_whole_range_of_area_and_ratio_and_reach_every_corner():
    drawn = many(Views(scale=(0.2, 0.5), ratio=(0.8, 1.25), flip=0))
    width, height = drawn.affine[:, 0, 0].astype(np.float64), drawn.affine[:, 1, 1].astype(np.float64)
    area, log_ratio = width * height, np.log(width / height)
    assert np.quantile(area, [0, 0.5, 1]) == pytest.approx([0.2, 0.35, 0.5], abs=0.01)
    assert np.quantile(log_ratio, [0, 0.5, 1]) == pytest.approx([np.log(0.8), 0, np.log(1.25)], abs=0.02)
    reach = drawn.affine[:, :, 2] / (1 - np.stack([width, height], axis=1))
    for quantile, expected in ((0, -1), (0.5, 0), (1, 1)):
        assert np.quantile(reach, quantile, axis=0) == pytest.approx([expected] * 2, abs=0.06)


# Flips


def test_flips_are_replayed_and_are_in_the_pixels_what_they_are_in_the_parameters(tmp_path):
    left_half = np.zeros((64, 64, 3), dtype=np.uint8)
    left_half[:, :32] = 255
    cache = cache_of(tmp_path, [left_half], 64)
    views = ViewSet.of(cache, STILL.model_copy(update={"flip": 0.5}), 3, NOBODY)
    row = np.array([0])
    flipped = [bool(views.draw(row, view).affine[0, 0, 0] < 0) for view in range(24)]
    shown = [bool(views.render(row, view, 32)[0, :, :, 20:].float().mean() > 127) for view in range(24)]
    again = [bool(views.render(row, view, 32)[0, :, :, 20:].float().mean() > 127) for view in reversed(range(24))]
    assert shown == flipped == again[::-1]
    assert 0 < sum(flipped) < 24


# Aliasing


def stripes(px, period):
    columns = np.where(np.arange(px) % period < period // 2, 255, 0).astype(np.uint8)
    return np.broadcast_to(columns[None, :, None], (px, px, 3)).copy()


def swing(image):
    """How far the columns inside a view of stripes stray from its mean, grey levels."""
    columns = image[..., 0].mean(axis=0)[2:-2]
    return np.abs(columns - columns.mean()).max()


def without_pyramid(cache):
    """Planted: single samples of the largest level at any size."""
    cache.levels_for = lambda side, size: (np.zeros(len(side), np.int64), np.ones(len(side), np.int64))
    return cache


@pytest.mark.parametrize("size", [30, 36, 40, 42])
def test_stripes_too_fine_for_a_small_view_become_grey(tmp_path, size):
    cache = cache_of(tmp_path, [stripes(128, 4)], 128)
    assert swing(render_one(cache, STILL, size)) < 20
    assert swing(render_one(without_pyramid(cache), STILL, size)) > 60


def test_between_two_levels_little_of_the_stripes_is_left(tmp_path):
    cache = cache_of(tmp_path, [stripes(128, 4)], 128)
    assert max(swing(render_one(cache, STILL, size)) for size in range(24, 64)) < 64  # of 127.5 that they swing by
    without_pyramid(cache)
    assert max(swing(render_one(cache, STILL, size)) for size in range(24, 64)) > 120


def test_a_view_between_two_levels_is_nearly_as_sharp_as_an_antialiased_resize(tmp_path):
    """Sampling the next smaller level and enlarging it would lose a third of the detail."""
    detail = np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8)
    cache = cache_of(tmp_path, [detail], 160)
    expected = resized(detail, 100)
    assert sharpness(render_one(cache, STILL, 100)) > 0.85 * sharpness(expected)
    cache.levels = cache.levels[1:]  # planted: the smaller level
    assert sharpness(render_one(cache, STILL, 100)) < 0.5 * sharpness(expected)


def sharpness(image):
    """Mean absolute difference of neighbouring columns, grey levels."""
    return np.abs(np.diff(image.astype(float), axis=1)).mean()


def test_stripes_coarse_enough_to_be_seen_stay_as_sharp_as_the_pixels_allow(tmp_path):
    cache = cache_of(tmp_path, [stripes(128, 16)], 128)
    assert np.array_equal(render_one(cache, STILL, 128), stripes(128, 16))
    cache.levels = cache.levels[-1:]  # planted: always the smallest level
    assert np.abs(np.diff(render_one(cache, STILL, 128), axis=1)).max() < 128


# Colour


def test_colours_are_kept_bit_for_bit_where_the_policy_leaves_them_alone(tmp_path):
    picture = noise(0, 64, 64)
    cache = cache_of(tmp_path, [picture], 64)
    assert np.array_equal(render_one(cache, STILL, 64), picture)
    colour = many(STILL, 50).colour
    assert np.array_equal(colour, np.broadcast_to(np.eye(3, 4, dtype=np.float32), colour.shape))


@pytest.mark.parametrize("view", range(4))
@pytest.mark.parametrize("kind", ["brightness", "saturation"])
def test_brightness_and_saturation_are_those_of_pillow(tmp_path, kind, view):
    picture = noise(0, 64, 64)
    cache = cache_of(tmp_path, [picture], 64)
    policy = STILL.model_copy(update={kind: 0.8})
    matrix = ViewSet.of(cache, policy, 0, NOBODY).draw(np.array([0]), view).colour[0].astype(np.float64)
    factor = matrix[0, 0] - matrix[1, 0] if kind == "saturation" else matrix[0, 0]
    assert 0.2 <= factor <= 1.8 and abs(factor - 1) > 0.01
    enhance = {"brightness": ImageEnhance.Brightness, "saturation": ImageEnhance.Color}[kind]
    expected = np.asarray(enhance(Image.fromarray(picture)).enhance(factor)).astype(np.float64)
    assert np.abs(render_one(cache, policy, 64, view=view) - expected).max() <= 2


@pytest.mark.parametrize("view", range(4))
def test_contrast_stretches_about_mid_grey(tmp_path, view):
    picture = noise(0, 64, 64)
    cache = cache_of(tmp_path, [picture], 64)
    policy = STILL.model_copy(update={"contrast": 0.6})
    factor = float(ViewSet.of(cache, policy, 0, NOBODY).draw(np.array([0]), view).colour[0, 0, 0])
    assert 0.4 <= factor <= 1.6 and abs(factor - 1) > 0.01
    expected = np.clip(127.5 + factor * (picture - 127.5), 0, 255)
    assert np.abs(render_one(cache, policy, 64, view=view) - expected).max() <= 0.501


def test_colour_factors_fill_their_range_and_no_more():
    for kind in ("brightness", "contrast"):
        factor = many(STILL.model_copy(update={kind: 0.3})).colour[:, 0, 0]
        assert np.quantile(factor, [0, 0.5, 1]) == pytest.approx([0.7, 1.0, 1.3], abs=0.02)
        assert factor.min() >= 0.7 - 1e-6 and factor.max() <= 1.3 + 1e-6


# Erasing


def test_an_erased_box_is_one_colour_and_the_rest_is_untouched(square):
    erasing = STILL.model_copy(update={"erase": 1.0})
    views, rows = ViewSet.of(square, erasing, 2, NOBODY), np.arange(3)
    for view in range(8):
        drawn = views.draw(rows, view)
        images, plain = views.render(rows, view, 96), ViewSet.of(square, STILL, 2, NOBODY).render(rows, view, 96)
        for row in rows:
            changed = (images[row] != plain[row]).any(dim=0)
            ys, xs = torch.nonzero(changed, as_tuple=True)
            box = images[row, :, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].flatten(1)
            assert (box == box[:, :1]).all()
            assert box[:, 0].numpy() == pytest.approx(255 * drawn.fill[row], abs=0.51)
            left, top, right, bottom = (drawn.box[row] + 1) / 2 * 96
            edges = [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]
            assert edges == pytest.approx([left, top, right, bottom], abs=0.51)


def test_erased_boxes_are_squares_of_4_to_25_percent_inside_the_view():
    box = many(Views(erase=1.0)).box.astype(np.float64)
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    np.testing.assert_allclose(width, height, atol=1e-6)
    share = width * height / 4
    assert share.min() >= 0.04 - 1e-6 and share.max() <= 0.25 + 1e-6 and share.max() - share.min() > 0.2
    assert np.abs(box).max() <= 1 + 1e-6


# Mixing


def test_mixing_partners_come_from_the_given_rows_alone_and_all_of_them():
    allowed = np.array([2, 3, 5, 8])
    assert set(many(Views(mix=1.0), partners=allowed).partner) == set(allowed)


def test_without_anyone_to_mix_with_nothing_is_mixed(square):
    assert set(many(Views(mix=1.0), partners=NOBODY).partner) == {-1}
    mixing = STILL.model_copy(update={"mix": 1.0})
    assert np.array_equal(render_one(square, mixing, 64), render_one(square, STILL, 64))


def test_a_mixed_view_is_the_blend_of_both_pictures_views_of_that_number(mixed_cache):
    alone = LIVELY.model_copy(update={"mix": 0.0})
    mixing = LIVELY.model_copy(update={"mix": 1.0})
    rows, allowed = np.arange(12), np.array([1, 4, 6])
    views, single = ViewSet.of(mixed_cache, mixing, 2, allowed), ViewSet.of(mixed_cache, alone, 2, allowed)
    for view in range(3):
        drawn = views.draw(rows, view)
        assert np.isin(drawn.partner, allowed).all()
        share = torch.from_numpy(drawn.share).view(-1, 1, 1, 1)
        own, other = single.render(rows, view, 24).float(), single.render(drawn.partner, view, 24).float()
        assert (views.render(rows, view, 24) - (share * own + (1 - share) * other)).abs().max() <= 1.01


def test_pictures_outside_the_given_rows_never_reach_the_pixels_of_another(tmp_path):
    """A planted leak: row 3 is white, everything else black, and row 3 may not be mixed in."""
    pictures = [np.full((32, 32, 3), 255 if n == 3 else 0, dtype=np.uint8) for n in range(6)]
    cache = cache_of(tmp_path, pictures, 32)
    mixing = STILL.model_copy(update={"mix": 1.0})
    others, rows = np.array([0, 1, 2, 4, 5]), np.array([0, 1, 2, 4, 5])
    for view in range(20):
        assert ViewSet.of(cache, mixing, 0, others).render(rows, view, 16).max() == 0
    seen = [ViewSet.of(cache, mixing, 0, np.arange(6)).render(rows, view, 16).max() > 0 for view in range(20)]
    assert any(seen)
