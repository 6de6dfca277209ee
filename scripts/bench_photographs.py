"""Owns the photographs that the benchmark works on: those of the set it is pointed at, enlarged or blended."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from dermaspark.errors import UserError
from dermaspark.photo_file import EXTENSIONS
from dermaspark.randomness import generator
from PIL import Image

JPEG_QUALITY = 90
SEED = 0


def make_set(source: Path, folder: Path, count: int, size: tuple[int, int]) -> int:
    """Write `count` photographs of `size` (width, height) to `folder`; return the bytes of all.

    The first are those of `source`, resized, evenly taken over its folders. Where more are asked for than there
    are, each further one is a blend of two, so that no two are copies. Classes and Train and Test
    stay what they are.
    """
    paths = find(source)
    if len(paths) > count:
        paths = [paths[i * len(paths) // count] for i in range(count)]
    with ProcessPoolExecutor() as pool:
        write = partial(_write, source=source, folder=folder, paths=paths, size=size)
        return sum(pool.map(write, range(count), chunksize=64))


def find(source: Path) -> list[Path]:
    """UserError where there is no photograph below `source`."""
    paths = sorted(path for path in source.rglob("*") if path.suffix[1:].lower() in EXTENSIONS)
    if not paths:
        raise UserError(f"{source}: no photographs there; point INPUT at a folder of class folders")
    return paths


def _write(i: int, source: Path, folder: Path, paths: Sequence[Path], size: tuple[int, int]) -> int:
    path = paths[i % len(paths)]
    image = _read(path, size)
    if i >= len(paths):
        rng = generator(SEED, "bench", str(i))
        other = _read(paths[int(rng.integers(len(paths)))], size).transpose(Image.Transpose.ROTATE_180)
        grain = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        image = Image.blend(Image.blend(image, other, float(rng.uniform(0.3, 0.7))), grain, 0.25)
    name = path.relative_to(source)
    target = folder / name.parent / f"{name.stem}_{i:06d}.jpg"
    target.parent.mkdir(parents=True, exist_ok=True)
    image.save(target, "JPEG", quality=JPEG_QUALITY)
    return target.stat().st_size


def _read(path: Path, size: tuple[int, int]) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
