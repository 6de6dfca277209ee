"""The networks, by name: Keras models from uint8 pixels to class probabilities."""

import keras

from dermaspark.config import Network


def build(network: Network, height: int, width: int, classes: int, seed: int) -> keras.Model:
    """A new model: uint8 (n, height, width, 3) to float32 probabilities (n, classes).

    The scaling of the pixels is a layer of the model, so nobody can scale them twice or not at all. The layer
    before the last gives the logits.
    """
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((height, width, 3), dtype="uint8", name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(pixels)
    x = keras.layers.Flatten(name="flatten")(x)
    for i, units in enumerate(network.hidden):
        x = keras.layers.Dense(units, activation="relu", name=f"dense_{i}")(x)
        if network.dropout:
            x = keras.layers.Dropout(network.dropout, seed=seed + i, name=f"dropout_{i}")(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(pixels, keras.layers.Softmax(name="probabilities")(logits), name=network.name)


def logits_of(model: keras.Model) -> keras.Model:
    """The same model without its softmax, sharing all weights: what training works on."""
    return keras.Model(model.input, model.get_layer("logits").output)
