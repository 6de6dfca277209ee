"""Lesions that tests draw, and the disguises in which copies of them come."""

import io
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageEnhance

Disguise = Callable[[Image.Image], Image.Image]


@cache
def lesion(seed: int, size: tuple[int, int] = (300, 225)) -> Image.Image:
    """A drawn lesion: pigment on skin, with hairs; another one for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    angle = np.arctan2(y - rng.normal(0, 0.15), x - rng.normal(0, 0.15))
    border = rng.uniform(0.35, 0.7) + sum(
        rng.normal(0, 0.05) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 9)
    )
    inside = 1 / (1 + np.exp((np.hypot(x, y) - border) * rng.uniform(8, 30)))
    texture = sum(np.kron(rng.normal(size=(n, n)), np.ones((64 // n, 64 // n))) / 3 for n in (4, 8, 16, 32))
    shade = inside * (0.55 + 0.25 * texture)
    skin, pigment = rng.uniform((190, 140, 130), (225, 180, 170)), rng.uniform((60, 30, 20), (120, 80, 70))
    pixels = skin + (pigment - skin) * shade[..., None] + rng.normal(0, 2, (64, 64, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def resaved(quality: int) -> Disguise:
    return lambda image: Image.open(io.BytesIO(jpeg(image, quality))).convert("RGB")


def cropped(left: float, top: float, right: float, bottom: float) -> Disguise:
    """Shares of the sides that are cut off."""
    return lambda image: image.crop(
        (
            round(left * image.width),
            round(top * image.height),
            round((1 - right) * image.width),
            round((1 - bottom) * image.height),
        )
    )


def resized(width: int, height: int) -> Disguise:
    return lambda image: image.resize((width, height), Image.Resampling.BILINEAR)


def turned(how: Image.Transpose) -> Disguise:
    return lambda image: image.transpose(how)


def recoloured(brightness: float, contrast: float, saturation: float) -> Disguise:
    def recolour(image: Image.Image) -> Image.Image:
        for enhance, factor in (
            (ImageEnhance.Brightness, brightness),
            (ImageEnhance.Contrast, contrast),
            (ImageEnhance.Color, saturation),
        ):
            image = enhance(image).enhance(factor)
        return image

    return recolour


def both(*disguises: Disguise) -> Disguise:
    def disguise(image: Image.Image) -> Image.Image:
        for one in disguises:
            image = one(image)
        return image

    return disguise


DISGUISES: dict[str, Disguise] = {
    "64 pixels": resized(64, 64),
    "600 pixels": resized(600, 450),
    "quality 30": resaved(30),
    **{way.name.lower(): turned(way) for way in Image.Transpose},
    "cropped by 3 % in the middle": cropped(0.015, 0.015, 0.015, 0.015),
    "cropped by 3 % at one corner": cropped(0.03, 0.03, 0, 0),
    "cropped by 3 % at every edge": cropped(0.03, 0.03, 0.03, 0.03),
    "brighter": recoloured(1.1, 1.0, 1.0),
    "duller": recoloured(0.95, 0.9, 0.85),
    "mirrored, quality 30": both(turned(Image.Transpose.FLIP_LEFT_RIGHT), resaved(30)),
    "cropped, turned, small": both(cropped(0.03, 0, 0, 0.03), turned(Image.Transpose.ROTATE_90), resized(96, 96)),
    "all at once": both(
        cropped(0.01, 0.02, 0.02, 0),
        recoloured(1.05, 0.95, 1.1),
        turned(Image.Transpose.TRANSVERSE),
        resized(128, 128),
        resaved(40),
    ),
}
