"""Owns the sample photographs: nine classes of drawn skin lesions, to try the pipeline without real ones.

    python scripts/sample_photographs.py OUT_DIR [--seed 0] [--train-per-class 80] [--test-per-class 16]

864 photographs by default, in about 20 s on 2 cores. The classes differ in what a lesion is made of
(lesion_drawing); skin, light, hair, bubbles, ruler, lens and grain (here) are drawn alike for all of them.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from brushes import ASPECT, GRID_X, GRID_Y, HEIGHT, TURN, WIDTH, curve, discs, smooth_noise, soft, strokes
from dermaspark.errors import UserError
from dermaspark.randomness import generator
from lesion_drawing import KINDS, Frame, Lesion

# What melanin, blood and deep melanin take from red, green and blue light at density 1 (natural logarithm).
# Tuned by eye: melanin takes blue first, haemoglobin green, and melanin seen through the dermis red.
ABSORBANCE = np.array([[0.5, 0.95, 1.35], [0.18, 1.1, 0.8], [1.15, 0.85, 0.5]], np.float32)
BARE_SKIN = np.array([246, 226, 212], np.float32)
KERATIN = np.array([240, 226, 200], np.float32)
CORNER = (ASPECT / 2, 0.5)  # in picture heights from the middle


class Photograph(NamedTuple):
    """Which photograph: these three and the seed decide every pixel of it."""

    split: str
    kind: str
    number: int

    @property
    def path(self) -> Path:
        """The file, relative to the set's folder; no two photographs of a set share a stem."""
        stem = f"{self.kind}-{self.split}-{self.number:04d}".lower().replace(" ", "-")
        return Path(self.split, self.kind, f"{stem}.jpg")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Draw nine classes of skin lesions as JPEG photographs.")
    parser.add_argument("out_dir", type=Path, help="gets Train/<class>/, Test/<class>/ and README.txt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-per-class", type=_count, default=80, metavar="N")
    parser.add_argument("--test-per-class", type=_count, default=16, metavar="N")
    options = parser.parse_args(arguments)
    try:
        draw_set(options.out_dir, options.seed, options.train_per_class, options.test_per_class)
    except (UserError, OSError) as error:
        print(f"sample_photographs: {error}", file=sys.stderr)
        return 1
    return 0


def draw_set(out_dir: Path, seed: int, train: int, test: int, processes: int | None = None) -> None:
    """Draws `train` and `test` photographs of each class; leaves `out_dir` alone when it holds just that set.

    The set is drawn beside `out_dir` and moved there when whole, so a run that died leaves no `out_dir`.

    Raises:
        UserError: `out_dir` holds something else.
    """
    about = _about(seed, train, test)
    if _is_complete(out_dir, about):
        print(f"{out_dir} holds these photographs already: nothing to do")
        return
    counts = {"Train": train, "Test": test}
    photographs = [
        Photograph(split, kind, number) for split, count in counts.items() for kind in KINDS for number in range(count)
    ]
    processes = processes or getattr(os, "process_cpu_count", os.cpu_count)() or 1
    print(f"drawing {len(photographs)} photographs into {out_dir} with {processes} processes")
    start = time.monotonic()
    place = out_dir.resolve()
    partly = place.with_name(f"{place.name}.partial")
    if partly.exists():
        shutil.rmtree(partly)
    for folder in {(partly / photograph.path).parent for photograph in photographs}:
        folder.mkdir(parents=True)
    with get_context("spawn").Pool(processes) as pool:  # a fork would copy the caller's threads' locks
        drawn = pool.imap_unordered(partial(_save, seed, partly), photographs, chunksize=4)
        for _ in tqdm(drawn, total=len(photographs), unit=" photographs", disable=None):
            pass
    (partly / "README.txt").write_text(about, encoding="utf-8")
    partly.replace(place)
    seconds = time.monotonic() - start
    print(f"drew {len(photographs)} photographs in {seconds:.0f} s ({len(photographs) / seconds:.0f}/s)")


def draw(seed: int, photograph: Photograph) -> tuple[Image.Image, int]:
    """The photograph (RGB, WIDTH x HEIGHT) and the JPEG quality to save it with."""
    rng = generator(seed, "sample photograph", "/".join(map(str, photograph)))
    kind = KINDS[photograph.kind]
    lesion = kind.draw(rng, _frame(rng, kind.radius, kind.roundness))
    lit = _light(rng, _skin(rng, lesion))
    image = Image.fromarray(lit).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    for add, share in ((_hair, 0.45), (_bubbles, 0.3), (_ruler, 0.25), (_lens_rim, 0.15)):
        if rng.random() < share:
            add(rng, image)
    return _grain(rng, image), int(rng.integers(86, 95))


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least one photograph a class")
    return count


def _about(seed: int, train: int, test: int) -> str:
    return (
        "Drawn by scripts/sample_photographs.py: these are pictures of no real lesion and of nobody's skin.\n"
        "They are for trying software; nothing about diagnosis follows from them.\n\n"
        f"seed: {seed}\nphotographs a class: {train} in Train, {test} in Test\nclasses: {', '.join(KINDS)}\n"
    )


def _is_complete(out_dir: Path, about: str) -> bool:
    readme = out_dir / "README.txt"
    if readme.is_file() and readme.read_text(encoding="utf-8") == about:
        return True
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise UserError(f"{out_dir}: holds something else than these photographs; remove it or name another folder")
    return False


def _save(seed: int, folder: Path, photograph: Photograph) -> None:
    image, quality = draw(seed, photograph)
    image.save(folder / photograph.path, quality=quality)


# --------------------------------------------------------------------------------------------- skin and light


def _frame(rng: Generator, radii: tuple[float, float], roundness: tuple[float, float]) -> Frame:
    """Near the middle, turned by any angle, of a size and roundness within the kind's."""
    radius, ratio, turn = rng.uniform(*radii), rng.uniform(*roundness), rng.uniform(0, TURN)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return Frame(rng.normal(0, 0.03, 2), rotation * radius * [ratio**-0.5, ratio**0.5], radius)


def _skin(rng: Generator, lesion: Lesion) -> NDArray[np.float32]:
    """The lesion in mottled, freckled skin under even light, float32 (ROWS, COLUMNS, 3) from 0 to 255.

    Light is lost exponentially with each pigment's density (the law of Beer and Lambert).
    """
    strength = rng.uniform(0.85, 1.15)
    tan, flush = rng.uniform(0.03, 0.22), rng.uniform(0.08, 0.2)
    creases = 0.025 * smooth_noise(rng, 0.3, 3) + 0.018 * smooth_noise(rng, 0.016)
    freckles = int(rng.integers(0, 12))
    where, sizes = (
        rng.uniform(np.negative(CORNER), CORNER, (freckles, 2)),
        rng.uniform(0.004, 0.014, freckles),
    )
    spots = rng.uniform(0.05, 0.3) * soft(discs(where, sizes), 1.5)
    densities = (
        tan + creases + spots + strength * lesion.melanin * (1 + 0.08 * smooth_noise(rng, 0.04, 3)),
        flush * (1 + 0.25 * smooth_noise(rng, 0.25, 4)) + strength * lesion.blood,
        strength * lesion.deep,
    )
    taken = sum(np.maximum(density, 0)[..., None] * light for density, light in zip(densities, ABSORBANCE, strict=True))
    colour = BARE_SKIN * np.exp(-taken)
    cover = np.clip(lesion.keratin, 0, 1)[..., None]
    mixed: NDArray[np.float32] = colour + cover * (KERATIN * np.float32(rng.uniform(0.85, 1.0)) - colour)
    return mixed


def _light(rng: Generator, colour: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The camera's: exposure, white balance, one side brighter than the other, darker corners."""
    balance = rng.uniform(0.88, 1.04) * rng.uniform((0.97, 0.97, 0.93), (1.03, 1.03, 1.08))
    turn = rng.uniform(0, TURN)
    side = 1 + rng.uniform(0, 0.15) * (np.cos(turn) * GRID_X + np.sin(turn) * GRID_Y)
    shade = side * (1 - rng.uniform(0.05, 0.35) * (GRID_X**2 + GRID_Y**2))
    lit = colour * balance.astype(np.float32) * shade.astype(np.float32)[..., None]
    pixels: NDArray[np.uint8] = np.clip(lit, 0, 255).astype(np.uint8)
    return pixels


# --------------------------------------------------------------------------------------- what lies in the way


def _hair(rng: Generator, image: Image.Image) -> None:
    """Hairs of one colour that grow more or less one way."""
    count = int(rng.integers(3, 22))
    starts = rng.uniform(np.negative(CORNER), CORNER, (count, 2))
    headings = rng.uniform(0, TURN) + rng.normal(0, 0.5, count)
    reach = rng.uniform(0.2, 0.9, (count, 1)) * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    bends = rng.normal(0, 0.08, count)
    paths = [curve(start, start + ray, bend) for start, ray, bend in zip(starts, reach, bends, strict=True)]
    stencil = _smoothed(strokes(paths, rng.uniform(1, 3.4, count).tolist()))
    red, green, blue = (rng.uniform(0.3, 1.6) * np.array([70, 50, 40])).astype(int).tolist()
    image.paste((red, green, blue), mask=stencil.point(lambda value: value * 6 // 7))


def _bubbles(rng: Generator, image: Image.Image) -> None:
    """Bubbles in the gel: a bright ring around a slightly darker inside."""
    count = int(rng.integers(1, 7))
    where, radii = rng.uniform(np.negative(CORNER), CORNER, (count, 2)), rng.uniform(0.008, 0.035, count)
    inside = _smoothed(discs(where, radii * 0.85))
    ring = ImageChops.subtract(_smoothed(discs(where, radii)), inside)
    image.paste((90, 70, 60), mask=inside.point(lambda value: value // 8))
    image.paste((255, 250, 245), mask=ring.point(lambda value: value * 2 // 3))


def _ruler(rng: Generator, image: Image.Image) -> None:
    """The marks of a dermatoscope's scale down one side, every fifth one longer."""
    marks = np.arange(-0.4, 0.4, rng.uniform(0.035, 0.055))
    across, lean = rng.choice([-1, 1]) * rng.uniform(0.44, 0.62), rng.normal(0, 0.05)
    lengths = np.where(np.arange(len(marks)) % 5 == 0, 0.07, 0.04) * -np.sign(across)
    starts = np.stack([across + lean * marks, marks], axis=1)
    ends = starts + lengths[:, None] * np.array([1, -lean])
    stencil = strokes(list(np.stack([starts, ends], axis=1)), [2] * len(marks))
    image.paste((35, 32, 34), mask=_smoothed(stencil))


def _lens_rim(rng: Generator, image: Image.Image) -> None:
    """The black around the round field of a lens."""
    field = discs(rng.normal(0, 0.02, (1, 2)), rng.uniform(0.58, 0.72, 1))
    image.paste((9, 7, 7), mask=ImageOps.invert(field).filter(ImageFilter.GaussianBlur(5)))


def _grain(rng: Generator, image: Image.Image) -> Image.Image:
    """The sensor's noise."""
    noise = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32) * np.float32(rng.uniform(2, 5))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _smoothed(stencil: Image.Image) -> Image.Image:
    """A stencil without the stairs that Pillow's pen leaves."""
    return stencil.filter(ImageFilter.GaussianBlur(0.7))


if __name__ == "__main__":
    sys.exit(main())
