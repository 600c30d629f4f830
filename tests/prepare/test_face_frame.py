"""Where a face is cut out: laws of the frame (row B3)."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from renma.prepare.frame import around_face, covering, placed

SIDE = st.integers(8, 3000)
SHARE = st.floats(0.0, 1.0)
RATIO = st.sampled_from([1.0, 0.75, 4 / 3, 0.5, None])


@st.composite
def pictures(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    """Draws a picture's size and a face in it."""
    size = draw(SIDE), draw(SIDE)
    xs = sorted(draw(st.lists(SHARE, min_size=2, max_size=2)))
    ys = sorted(draw(st.lists(SHARE, min_size=2, max_size=2)))
    assume((xs[1] - xs[0]) * size[0] >= 2)
    assume((ys[1] - ys[0]) * size[1] >= 2)
    return size, (xs[0] * size[0], ys[0] * size[1], xs[1] * size[0], ys[1] * size[1])


@given(pictures(), st.floats(1, 10), st.floats(-1, 1), RATIO, st.sampled_from(["shift", "shrink"]))
def test_a_frame_lies_inside_the_picture(case, margin, hair, ratio, border) -> None:
    size, face = case
    left, top, right, bottom = placed(around_face(face, margin, hair, ratio), size, border)
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]


@given(pictures(), st.floats(1, 10), st.floats(-1, 1), st.sampled_from(["shift", "shrink", "pad"]))
def test_a_square_is_square_to_the_pixel(case, margin, hair, border) -> None:
    size, face = case
    left, top, right, bottom = placed(around_face(face, margin, hair, 1.0), size, border)
    assert right - left == bottom - top


@given(pictures(), st.floats(1.1, 10), RATIO)
def test_the_whole_face_stays_in_what_is_moved_or_padded(case, margin, ratio) -> None:
    size, face = case
    wanted = around_face(face, margin, 0.0, ratio)
    for border in ("shift", "pad"):
        left, top, right, bottom = placed(wanted, size, border)
        if border == "shift" and (wanted[2] > size[0] or wanted[3] > size[1]):
            continue  # the picture is too small for a frame of this shape
        assert left <= face[0] + 1
        assert top <= face[1] + 1
        assert right >= face[2] - 1
        assert bottom >= face[3] - 1


@given(pictures(), st.floats(1, 10), RATIO)
def test_a_mirrored_face_gives_the_mirrored_frame(case, margin, ratio) -> None:
    size, (left, top, right, bottom) = case
    mirrored = (size[0] - right, top, size[0] - left, bottom)
    for border in ("shift", "shrink", "pad"):
        one = placed(around_face((left, top, right, bottom), margin, 0.1, ratio), size, border)
        other = placed(around_face(mirrored, margin, 0.1, ratio), size, border)
        assert one[0] == pytest.approx(size[0] - other[2], abs=1)
        assert one[1::2] == pytest.approx(other[1::2], abs=1)


@given(pictures(), st.floats(1, 5), RATIO, st.integers(2, 5))
def test_a_larger_picture_gives_the_larger_frame(case, margin, ratio, times) -> None:
    size, face = case
    large = tuple(edge * times for edge in face)
    for border in ("shift", "shrink", "pad"):
        one = placed(around_face(face, margin, 0.1, ratio), size, border)
        other = placed(
            around_face(large, margin, 0.1, ratio), (size[0] * times, size[1] * times), border
        )
        assert [edge * times for edge in one] == pytest.approx(other, abs=1.5 * times + 1)


def test_the_frame_in_figures() -> None:
    # a face of 40 x 60: twice its longer side is 120, moved up by a tenth of 60
    x, y, width, height = around_face((100, 100, 140, 160), 2.0, 0.1, 1.0)
    assert (x, y, width, height) == (120, 124, 120, 120)
    assert placed((x, y, width, height), (300, 300), "shift") == (60, 64, 180, 184)
    assert placed((x, y, width, height), (150, 300), "shift") == (30, 64, 150, 184)
    assert placed((x, y, width, height), (150, 300), "shrink") == (90, 94, 150, 154)
    assert placed((x, y, width, height), (150, 300), "pad") == (60, 64, 180, 184)
    assert around_face((100, 100, 140, 160), 2.0, 0.0, None)[2:] == (80, 120)
    assert around_face((100, 100, 140, 160), 1.0, 0.0, 0.75)[2:] == (60, 80)


@given(st.tuples(SIDE, SIDE), st.tuples(SIDE, SIDE), SHARE, SHARE)
def test_the_largest_frame_of_a_shape(size, aim, across, down) -> None:
    left, top, right, bottom = covering((across * size[0], down * size[1]), size, aim)
    assert left >= 0
    assert top >= 0
    assert right <= size[0] + 1e-6
    assert bottom <= size[1] + 1e-6
    assert (right - left) * aim[1] == pytest.approx((bottom - top) * aim[0])
    full = right - left == pytest.approx(size[0]) or bottom - top == pytest.approx(size[1])
    assert full
