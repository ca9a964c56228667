"""Replay of views: bit for bit the same in any batch, process and cache."""

import os
import subprocess
import sys

import numpy as np
import torch
from view_caches import NO_PARTNERS, PLAIN, VARIED, cache_of, noise

from decant.data.views import ViewSet


def test_views_are_bit_identical_in_any_batch_order_and_number_of_threads(mixed_cache):
    views = ViewSet.of(mixed_cache, VARIED, 5, np.arange(len(mixed_cache)))
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


def test_views_are_bit_identical_in_another_process(mixed_cache, tmp_path, repository):
    """The other process reads the cache from disk and renders one row at a time, backwards, with two threads."""
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
    arguments = [folder, VARIED.model_dump_json(), str(tmp_path / "other_process.npy")]
    environment = {**os.environ, "PYTHONPATH": str(repository / "src"), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, *arguments], env=environment, check=True)
    rows = np.arange(len(mixed_cache))
    expected = ViewSet.of(mixed_cache, VARIED, 5, rows).render(rows, 3, 40)
    assert np.array_equal(np.load(tmp_path / "other_process.npy", allow_pickle=False)[::-1], expected.numpy())


def test_views_neither_read_nor_change_the_global_random_state(mixed_cache):
    views = ViewSet.of(mixed_cache, VARIED, 5, np.arange(12))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    images = views.render(np.arange(4), 0, 24)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(views.render(np.arange(4), 0, 24), images)


def test_the_views_of_an_image_do_not_depend_on_the_other_images_of_the_cache(tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "three").mkdir()
    images = [noise(1, 50, 60), noise(2, 60, 50), noise(3, 64, 64)]
    few, more = cache_of(tmp_path / "two", images[:2], 64), cache_of(tmp_path / "three", images, 64)
    rows = np.array([0, 1])
    policy = VARIED.model_copy(update={"mix": 0.0})
    assert torch.equal(
        ViewSet.of(few, policy, 5, NO_PARTNERS).render(rows, 2, 32),
        ViewSet.of(more, policy, 5, NO_PARTNERS).render(rows, 2, 32),
    )


def test_views_differ_for_every_seed_and_view_number(mixed_cache):
    rows = np.arange(4)
    images = [
        ViewSet.of(mixed_cache, VARIED, seed, NO_PARTNERS).render(rows, view, 24) for seed in (0, 1) for view in (0, 1)
    ]
    assert all(not torch.equal(one, other) for i, one in enumerate(images) for other in images[:i])


def test_views_are_uint8_of_the_requested_size(mixed_cache):
    images = ViewSet.of(mixed_cache, VARIED, 0, np.arange(12)).render(np.arange(5), 0, 37)
    assert images.dtype == torch.uint8 and images.shape == (5, 3, 37, 37)


def test_flips_are_replayed_and_pixels_agree_with_parameters(tmp_path):
    left_half = np.zeros((64, 64, 3), dtype=np.uint8)
    left_half[:, :32] = 255
    cache = cache_of(tmp_path, [left_half], 64)
    views = ViewSet.of(cache, PLAIN.model_copy(update={"flip": 0.5}), 3, NO_PARTNERS)
    row = np.array([0])
    flipped = [bool(views.draw(row, view).affine[0, 0, 0] < 0) for view in range(24)]
    shown = [bool(views.render(row, view, 32)[0, :, :, 20:].float().mean() > 127) for view in range(24)]
    again = [bool(views.render(row, view, 32)[0, :, :, 20:].float().mean() > 127) for view in reversed(range(24))]
    assert shown == flipped == again[::-1]
    assert 0 < sum(flipped) < 24
