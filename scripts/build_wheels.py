"""Builds Horovod or petastorm with its patch and installs it: `build_wheels.py horovod`, in the .venv.

Wheels are kept in the user's cache, so that a second checkout does not build again.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import patch_ng

PATCHES = Path(__file__).parent / "patches"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dermaspark" / "wheels"
MAX_COMPILERS = 8  # each takes over 1 GB on TensorFlow's headers

VERSION_AND_SHA256 = {
    "horovod": ("0.28.1", "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"),  # sdist
    # A wheel: this version has no sdist.
    "petastorm": ("0.13.1", "7d073f01f65ba6b50e05fae8254d0f469881bcaf41ead2028e676517c45bbd1b"),
}
HOROVOD_OPTIONS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
}
# What of petastorm's wheel is of no use, or can't be imported any more.
PETASTORM_LEFT_OUT = ("examples", "petastorm/hdfs", "petastorm/local_disk_cache.py", "petastorm/**/tests")


def main(name: str) -> None:
    """Install `name` from the cache, building it first where the cache lacks it."""
    kept = CACHE / cache_key(name)
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=CACHE) as scratch:
            built = build(name, Path(scratch))
            # One rename, so that the cache never holds half a wheel.
            built.rename(kept)
    (wheel,) = kept.glob("*.whl")
    run("pip", "install", "--no-index", "--no-deps", "--force-reinstall", str(wheel))


def cache_key(name: str) -> str:
    """What a wheel was built from and for."""
    recipe = patch_file(name).read_bytes() + repr((HOROVOD_OPTIONS, PETASTORM_LEFT_OUT)).encode()
    digest = hashlib.sha256(recipe).hexdigest()
    python, tensorflow = sys.implementation.cache_tag, version("tensorflow-cpu")
    return f"{name}-{VERSION_AND_SHA256[name][0]}-{python}-tensorflow-{tensorflow}-{digest[:16]}"


def patch_file(name: str) -> Path:
    return PATCHES / f"{name}-{VERSION_AND_SHA256[name][0]}.patch"


def build(name: str, scratch: Path) -> Path:
    """The folder in `scratch` that holds the patched wheel of `name` and nothing else."""
    source, out = scratch / "source", scratch / "out"
    out.mkdir()
    archive = download(name, scratch)
    if name == "horovod":
        shutil.unpack_archive(archive, source)
        (tree,) = source.iterdir()
        apply_patch(name, tree)
        compile_horovod(tree, out)
    else:
        run("wheel", "unpack", str(archive), "--dest", str(source))
        (tree,) = source.iterdir()
        for pattern in PETASTORM_LEFT_OUT:
            for path in list(tree.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        apply_patch(name, tree)
        run("wheel", "pack", str(tree), "--dest-dir", str(out))
    return out


def download(name: str, folder: Path) -> Path:
    """The archive of `name` from the package index, checked against its hash."""
    number, sha256 = VERSION_AND_SHA256[name]
    requirement, downloads = folder / "requirement.txt", folder / "downloads"
    requirement.write_text(f"{name}=={number} --hash=sha256:{sha256}\n")
    options = ["--require-hashes", "--no-deps", "--no-build-isolation", "--dest", str(downloads)]
    run("pip", "download", *options, "-r", str(requirement))
    (archive,) = downloads.iterdir()
    return archive


def apply_patch(name: str, tree: Path) -> None:
    patch = patch_ng.fromfile(str(patch_file(name)))
    if not patch or not patch.apply(root=str(tree)):
        sys.exit(f"{patch_file(name)} does not apply to {tree.name}")


def compile_horovod(tree: Path, out: Path) -> None:
    compilers = min(len(os.sched_getaffinity(0)), MAX_COMPILERS)
    # MAKEFLAGS also shields the build from the make that may have called us.
    environment = {**os.environ, **HOROVOD_OPTIONS, "MAKEFLAGS": f"-j{compilers}"}
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--verbose", "--wheel-dir", str(out)]
    run("pip", "wheel", *options, str(tree), environment=environment)


def run(module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], env=environment, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
