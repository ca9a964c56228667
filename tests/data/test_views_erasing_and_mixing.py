"""Erased boxes and mixing partners of views."""

import numpy as np
import pytest
import torch
from view_caches import NO_PARTNERS, PLAIN, VARIED, cache_of, draw_many, render_one

from decant.data.views import ViewSet
from decant.study import Views


def test_an_erased_box_has_one_colour_and_the_other_pixels_are_unchanged(square):
    erasing = PLAIN.model_copy(update={"erase": 1.0})
    views, rows = ViewSet.of(square, erasing, 2, NO_PARTNERS), np.arange(3)
    for view in range(8):
        drawn = views.draw(rows, view)
        images, plain = views.render(rows, view, 96), ViewSet.of(square, PLAIN, 2, NO_PARTNERS).render(rows, view, 96)
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
    box = draw_many(Views(erase=1.0)).box.astype(np.float64)
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    np.testing.assert_allclose(width, height, atol=1e-6)
    share = width * height / 4
    assert share.min() >= 0.04 - 1e-6 and share.max() <= 0.25 + 1e-6 and share.max() - share.min() > 0.2
    assert np.abs(box).max() <= 1 + 1e-6


def test_erased_boxes_have_the_same_position_at_any_size(square):
    views = ViewSet.of(square, PLAIN.model_copy(update={"erase": 1.0}), 0, NO_PARTNERS)
    rows = np.arange(3)
    large = views.render(rows, 0, 192).float().view(3, 3, 96, 2, 96, 2).mean(dim=(3, 5))
    differs = (large - views.render(rows, 0, 96)).abs().amax(dim=1) > 6
    assert differs.float().mean() < 0.02  # along the edges of a box at most


def test_mixing_partners_are_all_of_the_given_rows_and_no_others():
    allowed = np.array([2, 3, 5, 8])
    assert set(draw_many(Views(mix=1.0), partners=allowed).partner) == set(allowed)


def test_without_partners_nothing_is_mixed(square):
    assert set(draw_many(Views(mix=1.0), partners=NO_PARTNERS).partner) == {-1}
    mixing = PLAIN.model_copy(update={"mix": 1.0})
    assert np.array_equal(render_one(square, mixing, 64), render_one(square, PLAIN, 64))


def test_a_mixed_view_blends_the_views_of_both_images_with_the_same_number(mixed_cache):
    alone = VARIED.model_copy(update={"mix": 0.0})
    mixing = VARIED.model_copy(update={"mix": 1.0})
    rows, allowed = np.arange(12), np.array([1, 4, 6])
    views, single = ViewSet.of(mixed_cache, mixing, 2, allowed), ViewSet.of(mixed_cache, alone, 2, allowed)
    for view in range(3):
        drawn = views.draw(rows, view)
        assert np.isin(drawn.partner, allowed).all()
        share = torch.from_numpy(drawn.share).view(-1, 1, 1, 1)
        own, other = single.render(rows, view, 24).float(), single.render(drawn.partner, view, 24).float()
        assert (views.render(rows, view, 24) - (share * own + (1 - share) * other)).abs().max() <= 1.01


def test_an_image_outside_the_given_rows_is_never_blended_in(tmp_path):
    """Row 3 is white, all others are black, and row 3 is not a partner. Planted leak: all rows are partners."""
    images = [np.full((32, 32, 3), 255 if n == 3 else 0, dtype=np.uint8) for n in range(6)]
    cache = cache_of(tmp_path, images, 32)
    mixing = PLAIN.model_copy(update={"mix": 1.0})
    others, rows = np.array([0, 1, 2, 4, 5]), np.array([0, 1, 2, 4, 5])
    for view in range(20):
        assert ViewSet.of(cache, mixing, 0, others).render(rows, view, 16).max() == 0
    leaked = [ViewSet.of(cache, mixing, 0, np.arange(6)).render(rows, view, 16).max() > 0 for view in range(20)]
    assert any(leaked)


def test_a_patch_shows_the_partners_view_and_the_rest_is_unchanged(mixed_cache):
    alone = VARIED.model_copy(update={"mix": 0.0})
    pasting = VARIED.model_copy(update={"mix": 0.0, "cutmix": 1.0})
    rows, allowed, px = np.arange(12), np.array([1, 4, 6]), 24
    views, single = ViewSet.of(mixed_cache, pasting, 2, allowed), ViewSet.of(mixed_cache, alone, 2, allowed)
    centres = (np.arange(px) + 0.5) / px * 2 - 1
    for view in range(3):
        drawn = views.draw(rows, view)
        images = views.render(rows, view, px)
        own, other = single.render(rows, view, px), single.render(drawn.partner, view, px)
        for row in rows:
            left, top, right, bottom = drawn.patch[row]
            shown = np.outer((centres >= top) & (centres < bottom), (centres >= left) & (centres < right))
            expected = torch.where(torch.from_numpy(shown), other[row], own[row])
            assert (images[row].int() - expected.int()).abs().max() <= 1


def test_the_share_of_a_patched_view_is_the_area_that_is_not_covered(square):
    views = ViewSet.of(square, PLAIN.model_copy(update={"cutmix": 1.0}), 2, np.array([1]))
    for view in range(6):
        drawn = views.draw(np.array([0]), view)
        px = 200
        centres = (np.arange(px) + 0.5) / px * 2 - 1
        left, top, right, bottom = drawn.patch[0]
        covered = ((centres >= left) & (centres < right)).mean() * ((centres >= top) & (centres < bottom)).mean()
        assert drawn.share[0] == pytest.approx(1 - covered, abs=0.02)


def test_areas_of_patches_are_uniform_before_they_are_cut_at_the_border():
    patch = draw_many(Views(cutmix=1.0), partners=np.array([1])).patch.astype(np.float64)
    whole = patch[(np.abs(patch) < 1).all(axis=1)]
    width, height = whole[:, 2] - whole[:, 0], whole[:, 3] - whole[:, 1]
    np.testing.assert_allclose(width, height, atol=1e-6)
    assert np.abs(patch).max() <= 1


def test_each_view_is_mixed_in_one_way_and_as_often_as_asked():
    drawn = draw_many(Views(mix=0.3, cutmix=0.5), partners=np.array([1]))
    pasted = drawn.patch[:, 2] > drawn.patch[:, 0]
    blended = (drawn.partner >= 0) & ~pasted
    assert pasted.mean() == pytest.approx(0.5, abs=0.03) and blended.mean() == pytest.approx(0.3, abs=0.03)


def test_cutmix_changes_no_parameter_of_the_views_that_it_leaves_alone():
    plain, patched = draw_many(VARIED), draw_many(VARIED.model_copy(update={"cutmix": 0.4}))
    alone = patched.patch[:, 2] <= patched.patch[:, 0]
    for name in ("affine", "side", "colour", "box", "fill", "partner", "share"):
        assert np.array_equal(getattr(plain, name)[alone], getattr(patched, name)[alone]), name


def test_more_mixing_than_there_are_views_is_refused():
    with pytest.raises(ValueError, match="mix"):
        Views(mix=0.6, cutmix=0.5)
