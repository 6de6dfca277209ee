"""A fingerprint tells photographs apart and copies together, whatever file they come in."""

import io

import numpy as np
import pytest
from dermaspark.alignment import compare
from dermaspark.fingerprint import THUMBNAIL_SIDE, fingerprint, hash_pixels, shrink
from dermaspark.photo_file import Unreadable
from dermaspark.signature import VIEWS, WEAKEST, file_under_keys, keys, signatures
from disguise import jpeg, lesion
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

MANY = 10**9


def saved(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def thumbnail(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))


def test_one_photograph_in_two_lossless_files_has_one_pixel_hash_and_two_byte_hashes():
    png, bmp = (fingerprint(saved(lesion(1), form), MANY) for form in ("PNG", "BMP"))
    assert png.pixel_hash == bmp.pixel_hash
    assert png.byte_hash != bmp.byte_hash
    assert (png.format, bmp.format, png.jpeg_quality) == ("PNG", "BMP", None)


def test_a_jpeg_saved_as_png_has_the_jpegs_pixels():
    first = jpeg(lesion(2))
    again = saved(Image.open(io.BytesIO(first)), "PNG")
    assert fingerprint(first, MANY).pixel_hash == fingerprint(again, MANY).pixel_hash


def test_one_other_pixel_is_another_photograph():
    pixels = np.array(lesion(3))
    other = pixels.copy()
    other[-1, -1, 2] ^= 1
    assert hash_pixels(pixels) != hash_pixels(other)


def test_the_same_values_in_another_shape_are_another_photograph():
    pixels = np.array(lesion(4))
    assert hash_pixels(pixels) != hash_pixels(pixels.reshape(pixels.shape[1], pixels.shape[0], 3))


def test_orientation_is_applied_before_the_pixels_are_compared():
    image = lesion(5)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown standing
    lying = saved(image, "PNG", exif=exif)
    standing = saved(image.transpose(Image.Transpose.ROTATE_270), "PNG")
    assert fingerprint(lying, MANY).pixel_hash == fingerprint(standing, MANY).pixel_hash
    assert fingerprint(lying, MANY).width == image.height


def test_facts_are_those_of_the_file():
    data = jpeg(Image.new("RGB", (50, 40), (200, 100, 50)), quality=77)
    facts = fingerprint(data, MANY)
    assert (facts.width, facts.height, facts.mode, facts.format) == (50, 40, "RGB", "JPEG")
    assert (facts.bytes, facts.jpeg_quality) == (len(data), 77)
    assert (facts.red, facts.green, facts.blue) == pytest.approx((200, 100, 50), abs=2)
    assert len(facts.thumbnail) == THUMBNAIL_SIDE**2


@pytest.mark.parametrize("data", [b"", b"GIF89a", jpeg(lesion(6))[:400]], ids=["empty", "gif", "cut short"])
def test_what_cannot_be_read_has_no_fingerprint(data):
    with pytest.raises(Unreadable):
        fingerprint(data, MANY)


def test_too_many_pixels_are_not_decoded():
    with pytest.raises(Unreadable, match="too many pixels"):
        fingerprint(saved(Image.new("1", (3000, 3000)), "PNG"), 1_000_000)


def test_shrinking_takes_means():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    means = pixels.reshape(32, 2, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(shrink(pixels) - means).max() <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_the_8_views_of_a_photograph_are_filed_under_the_same_keys(seed, view):
    picture = thumbnail(lesion(seed))
    turned = np.rot90(picture.T if view > 3 else picture, view % 4)
    whole, crops = signatures(np.stack([picture, turned]))
    assert set(whole[0, 0]) == set(whole[1, 0])  # the same 8 signatures, in another order
    a, b = (set(keys(crops[i : i + 1, :1])[0].ravel()) for i in (0, 1))
    assert a == b


def test_weak_bits_are_turned_one_at_a_time_and_in_all_views():
    whole, crops = signatures(np.stack([thumbnail(lesion(seed)) for seed in range(5)]))
    assert whole.shape == (5, 1 + WEAKEST, VIEWS)
    assert (whole[:, 0] == crops[:, 0]).all()
    assert (np.bitwise_count(whole[:, 1:] ^ whole[:, :1]) == 1).all()


def test_flat_photographs_are_filed_nowhere():
    flat = np.full((2, THUMBNAIL_SIDE, THUMBNAIL_SIDE), 90, np.uint8)
    filed = file_under_keys(np.concatenate([flat, thumbnail(lesion(7))[None]]))
    assert set(filed.photograph) == {2}
    assert len(np.unique(filed.key)) == len(filed.key)
    assert len(file_under_keys(flat).key) == 0  # all of those that are looked at together


@pytest.mark.parametrize("view", range(VIEWS))
def test_the_signature_in_a_view_is_the_turned_photographs_signature(view):
    pictures = np.stack([thumbnail(lesion(seed)) for seed in range(5)])
    turned = pictures.transpose(0, 2, 1) if view & 4 else pictures
    turned = turned[:, :: -1 if view & 1 else 1, :: -1 if view & 2 else 1]
    as_seen = np.bitwise_count(signatures(pictures)[0][:, 0, view] ^ signatures(turned)[0][:, 0, 0])
    assert as_seen.max() <= 1  # a feature near zero may be rounded to the other side


def test_a_photograph_is_a_copy_of_itself_and_of_no_other():
    pictures = np.stack([thumbnail(lesion(seed)) for seed in range(40)])
    assert compare(pictures, pictures).is_copy.all()
    assert not compare(pictures, np.roll(pictures, 1, axis=0)).is_copy.any()
