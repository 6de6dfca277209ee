"""The networks, by name: Keras models from pixels or computed features to class probabilities."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from dermaspark.config import Network
from dermaspark.errors import UserError

READS = {"seed": "image", "residual": "image", "mixer": "image", "fused": "features"}  # the dataset's column


def build(network: Network, preprocessing: dict[str, Any], classes: int, seed: int) -> keras.Model:
    """A new model of rows of the column READS[network.name] to float32 probabilities (n, classes).

    Pixels are uint8 (n, height, width, 3), and their scaling is a layer of the model, so nobody can scale them twice
    or not at all. The layer 'logits' gives float32 (n, heads, classes); the probabilities are those of the heads,
    averaged as logarithms. Layers of Keras alone, so that Keras alone loads the model.

    Raises:
        UserError: the dataset lacks the features that the network reads, or its size does not suit it.
    """
    keras.utils.set_random_seed(seed)
    if READS[network.name] == "features" and "features" not in preprocessing:
        raise UserError(f"network.name={network.name}: the dataset has no features; preprocess with features.families")
    inputs, heads = BUILDERS[network.name](network, preprocessing, classes)
    logits = layers.Concatenate(axis=1, name="logits")([layers.Reshape((1, classes))(head) for head in heads])
    logs = layers.Activation("log_softmax", name="log_probabilities")(logits)
    fused = layers.GlobalAveragePooling1D(name="mean_of_heads")(logs)
    return keras.Model(inputs, layers.Softmax(name="probabilities")(fused), name=network.name)


def logits_of(model: keras.Model) -> keras.Model:
    """The same model up to its logits (n, heads, classes), sharing all weights: what training works on."""
    return keras.Model(model.input, model.get_layer("logits").output)


Built = tuple[Any, list[Any]]  # the input, and the logits of each head, (n, classes)


def _seed(network: Network, preprocessing: dict[str, Any], classes: int) -> Built:
    """The plain MLP: dense layers with ReLU and dropout on flattened pixels."""
    pixels, scaled = _pixels(preprocessing)
    x = layers.Flatten(name="flatten")(scaled)
    for i, units in enumerate(network.hidden):
        x = layers.Dense(units, activation="relu", name=f"dense_{i}")(x)
        x = layers.Dropout(network.dropout, name=f"dropout_{i}")(x)
    return pixels, [layers.Dense(classes, name="head")(x)]


def _residual(network: Network, preprocessing: dict[str, Any], classes: int) -> Built:
    """A residual MLP on flattened pixels."""
    pixels, scaled = _pixels(preprocessing)
    return pixels, [_residual_head(layers.Flatten(name="flatten")(scaled), network, classes, "pixels")]


def _mixer(network: Network, preprocessing: dict[str, Any], classes: int) -> Built:
    """MLP-Mixer (Tolstikhin et al. 2021) on patches of pixels."""
    height, width, side = preprocessing["height"], preprocessing["width"], network.patch
    if height % side or width % side:
        raise UserError(f"network.patch={side}: does not divide the photographs' {height} x {width} pixels")
    pixels, x = _pixels(preprocessing)
    x = layers.Conv2D(network.width, side, strides=side, name="patches")(x)  # one dense layer, shared by all patches
    patches = height * width // side**2
    x = layers.Reshape((patches, network.width), name="tokens")(x)
    for i in range(network.depth):
        y = layers.Permute((2, 1))(layers.LayerNormalization(name=f"norm_tokens_{i}")(x))
        y = layers.Permute((2, 1))(_bottleneck(y, network, patches, f"tokens_{i}"))
        x = layers.Add(name=f"add_tokens_{i}")([x, y])
        y = _bottleneck(
            layers.LayerNormalization(name=f"norm_channels_{i}")(x), network, network.width, f"channels_{i}"
        )
        x = layers.Add(name=f"add_channels_{i}")([x, y])
    x = layers.GlobalAveragePooling1D(name="pool")(layers.LayerNormalization(name="norm")(x))
    return pixels, [layers.Dense(classes, name="head")(layers.Dropout(network.dropout, name="dropout")(x))]


def _fused(network: Network, preprocessing: dict[str, Any], classes: int) -> Built:
    """Residual MLPs on each family of features, then wide MLPs on all families together."""
    widths = preprocessing["features"]["widths"]
    features = keras.Input((sum(widths.values()),), name="features")
    heads, start = [], 0
    for family, width in widths.items():
        part = features[:, start : start + width]
        heads += [_residual_head(part, network, classes, f"{family}_{i}") for i in range(network.heads)]
        start += width
    return features, heads + [_wide_head(features, network, classes, f"wide_{i}") for i in range(network.wide_heads)]


BUILDERS: dict[str, Callable[[Network, dict[str, Any], int], Built]] = {
    "seed": _seed,
    "residual": _residual,
    "mixer": _mixer,
    "fused": _fused,
}


def _pixels(preprocessing: dict[str, Any]) -> tuple[Any, Any]:
    """The input, and its values from -1 to 1. Mixed pixels are no whole numbers: hence floats."""
    pixels = keras.Input((preprocessing["height"], preprocessing["width"], 3), name="pixels")
    return pixels, layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(pixels)


def _residual_head(x: Any, network: Network, classes: int, name: str) -> Any:
    """Inverted bottlenecks that add to what they are given, after a normalisation (as in a transformer)."""
    x = layers.Dense(network.width, name=f"{name}_in")(layers.Dropout(network.input_dropout, name=f"{name}_drop")(x))
    for i in range(network.depth):
        y = layers.LayerNormalization(name=f"{name}_norm_{i}")(x)
        x = layers.Add(name=f"{name}_add_{i}")([x, _bottleneck(y, network, network.width, f"{name}_{i}")])
    x = layers.Dropout(network.dropout, name=f"{name}_drop_out")(layers.LayerNormalization(name=f"{name}_norm")(x))
    return layers.Dense(classes, name=f"{name}_head")(x)


def _wide_head(x: Any, network: Network, classes: int, name: str) -> Any:
    """One wide layer between two dropouts: it sees what goes together over families."""
    x = layers.Dropout(network.dropout, name=f"{name}_drop")(x)
    x = layers.Dense(network.wide_units, activation="gelu", name=f"{name}_in")(x)
    return layers.Dense(classes, name=f"{name}_head")(layers.Dropout(network.dropout, name=f"{name}_drop_out")(x))


def _bottleneck(x: Any, network: Network, units: int, name: str) -> Any:
    """Up to `expansion` times as many units and down again."""
    x = layers.Dense(network.expansion * units, activation="gelu", name=f"{name}_up")(x)
    return layers.Dense(units, name=f"{name}_down")(layers.Dropout(network.dropout, name=f"{name}_dropout")(x))
