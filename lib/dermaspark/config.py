"""The configuration: one frozen, typed tree with its defaults, checked when it is made."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from dermaspark.errors import UserError

MALIGNANT = ("melanoma", "basal cell carcinoma", "squamous cell carcinoma", "actinic keratosis")


@dataclass(frozen=True)
class Input:
    path: Any = "data"  # a folder; for several sources [path, path] or {name: path}; predict takes a file or glob too
    groups: Any = None  # CSV, or a list of CSVs: image_id, group or lesion_id, and any other columns
    max_bad_fraction: float = 0.01  # more unreadable photographs than this share, and the job fails
    max_pixels: int = 100_000_000  # a larger photograph is set aside before memory is taken for it

    def __post_init__(self) -> None:
        _within("input.max_bad_fraction", self.max_bad_fraction, 0, 1)
        _within("input.max_pixels", self.max_pixels, 1, 2**31)


@dataclass(frozen=True)
class Output:
    path: str | None = None  # default: runs/dataset from preprocess, runs/predictions from predict


@dataclass(frozen=True)
class Image:
    height: int = 128  # pixels; computed features are made for 128 x 128
    width: int = 128
    colour_constancy: bool = False  # the colour of the light taken out: shades of gray
    hair_removal: bool = False  # dark hairs painted over

    def __post_init__(self) -> None:
        _within("image.height", self.height, 8, 1024)
        _within("image.width", self.width, 8, 1024)


@dataclass(frozen=True)
class Features:
    """Numbers computed of each row's pixels, beside them in the dataset; fitted on training photographs alone."""

    # [] for none; efficientnet (pretrained) needs a package that is an extra to install
    families: list[str] = field(default_factory=lambda: ["colour_shape", "patches", "covariance"])
    components: int = 200  # principal axes kept of each family
    photographs: int = 4000  # that dictionaries and axes are fitted on, at most

    def __post_init__(self) -> None:
        for name in self.families:
            _one_of("features.families", name, ("colour_shape", "patches", "covariance", "efficientnet"))
        if len(set(self.families)) != len(self.families):
            raise UserError(f"features.families={self.families}: each family once")
        _within("features.components", self.components, 1, 1000)
        _within("features.photographs", self.photographs, 10, 20_000)


@dataclass(frozen=True)
class Augment:
    copies: int = 0  # augmented copies of each training photograph, beside the photograph itself (copy 0)
    rotation: float = 180.0  # degrees, drawn from [-rotation, rotation]
    shift: float = 0.1  # of the side, drawn from [-shift, shift], both axes
    shear: float = 10.0  # degrees, drawn from [-shear, shear]
    zoom: float = 0.1  # scale drawn from [1 - zoom, 1 + zoom]
    horizontal_flip: bool = True
    vertical_flip: bool = True
    resolution: float = 0.0  # a copy is seen at a share of its pixels a side, drawn from [1 - resolution, 1]
    quality: int = 100  # a copy is compressed as a JPEG of a quality drawn from [quality, 100]; 100: not at all
    fill: str = "reflect"  # outside the photograph: nearest, reflect, wrap or constant (black)

    def __post_init__(self) -> None:
        _within("augment.copies", self.copies, 0, 1000)
        _within("augment.rotation", self.rotation, 0, 180)
        _within("augment.shift", self.shift, 0, 0.5)
        _within("augment.shear", self.shear, 0, 45)
        _within("augment.zoom", self.zoom, 0, 0.9)
        _within("augment.resolution", self.resolution, 0, 0.9)
        _within("augment.quality", self.quality, 1, 100)
        _one_of("augment.fill", self.fill, ("nearest", "reflect", "wrap", "constant"))


@dataclass(frozen=True)
class Audit:
    near_copies: bool = True  # look for copies in disguise too; without it groups rest on exact ones and the table


@dataclass(frozen=True)
class Split:
    policy: str = "drop"  # of leaks and label conflicts: drop, keep, relabel (by a table), or as_published (naive)
    relabel: str | None = None  # CSV of relabel: image_id, class
    validation: float = 0.1  # of each class of the training photographs; calibration is fitted on them
    folds: int | None = None  # cross-validation: so many folds,
    fold: int = 0  # of which this one is the test split
    seed: int = 0  # of the split, the order of the rows and the augmentation

    def __post_init__(self) -> None:
        _one_of("split.policy", self.policy, ("drop", "keep", "relabel", "as_published"))
        _within("split.validation", self.validation, 0, 0.9)
        _within("split.seed", self.seed, 0, 2**32 - 1)
        if self.folds is not None:
            _within("split.folds", self.folds, 2, 1000)
            _within("split.fold", self.fold, 0, self.folds - 1)
        if (self.policy == "relabel") != (self.relabel is not None):
            raise UserError("split.policy=relabel and split.relabel=CSV go together")


@dataclass(frozen=True)
class Data:
    path: str = "runs/dataset"


@dataclass(frozen=True)
class Network:
    name: str = "fused"  # MLPs on features, of one family and of all; on pixels: seed (plain MLP), residual, mixer
    hidden: list[int] = field(default_factory=lambda: [512, 256, 128])  # units of each dense layer of seed
    width: int = 128  # units between the blocks of the others
    depth: int = 2  # their blocks
    expansion: int = 2  # of the width within a block
    heads: int = 1  # of fused, residual MLPs on each family
    wide_heads: int = 2  # of fused, MLPs of one wide layer on all families; all heads learn alone and are averaged
    wide_units: int = 1024  # of that layer
    patch: int = 8  # pixels a side of a patch of mixer
    dropout: float = 0.5
    input_dropout: float = 0.2  # of residual MLPs: what they are given

    def __post_init__(self) -> None:
        _one_of("network.name", self.name, ("fused", "seed", "residual", "mixer"))
        _within("network.dropout", self.dropout, 0, 0.95)
        _within("network.input_dropout", self.input_dropout, 0, 0.95)
        for name in ("width", "expansion", "heads", "wide_units", "patch"):
            _within(f"network.{name}", getattr(self, name), 1, 2**16)
        _within("network.wide_heads", self.wide_heads, 0, 2**16)
        _within("network.depth", self.depth, 0, 1000)
        for units in self.hidden:
            _within("network.hidden", units, 1, 2**20)


@dataclass(frozen=True)
class Train:
    num_processes: int = 2  # Horovod ranks, one Spark task each
    epochs: int = 30
    batch_size: int = 128  # the global batch: rows of one step over all ranks
    learning_rate: float = 1e-3
    scale_learning_rate: bool = False  # by the number of ranks (with a global batch that grows with them)
    warmup_epochs: float = 1.5  # over which the learning rate rises from a tenth of itself
    schedule: str = "cosine"  # after the warm-up: cosine (down to 0 at the last epoch) or plateau (ReduceLROnPlateau)
    optimizer: str = "adamw"  # adamw, adam or sgd
    weight_decay: float = 0.05  # of adamw
    mixup: float = 0.3  # rows are mixed in pairs by weights from Beta(mixup, mixup); 0: not
    label_smoothing: float = 0.0  # the share of each target that is spread over all classes
    class_weights: bool = False  # each class weighs the same in the training loss
    copies_per_epoch: int = 1  # of each photograph's copies
    reduce_lr_patience: int = 5  # epochs without a better validation loss; ReduceLROnPlateau
    reduce_lr_factor: float = 0.5
    min_learning_rate: float = 1e-6
    early_stopping_patience: int = 0  # epochs without a better validation loss; 0 never stops early
    seed: int = 0
    checkpoint_path: str | None = None  # default: beside the bundle
    checkpoint_minutes: float = 10.0  # between checkpoints within an epoch; each epoch ends with one anyway
    resume: str = "auto"  # auto goes on with an unfinished run; never starts afresh
    network_interface: str | None = None  # that Horovod binds to; default: the one Spark uses
    max_restarts: int = 2
    stall_minutes: float = 10.0  # a rank that makes no progress for so long is taken for dead
    slots_timeout: float = 30.0  # seconds to wait for a cluster's executors to register
    use_gpu: bool = False
    allow_clear_text: bool = False  # train although Spark is told to encrypt and Horovod can't

    def __post_init__(self) -> None:
        for name in ("num_processes", "epochs", "batch_size", "copies_per_epoch", "reduce_lr_patience"):
            _within(f"train.{name}", getattr(self, name), 1, 2**31)
        for name in ("warmup_epochs", "early_stopping_patience", "max_restarts", "slots_timeout"):
            _within(f"train.{name}", getattr(self, name), 0, 2**31)
        _within("train.learning_rate", self.learning_rate, 1e-12, 100)
        _within("train.min_learning_rate", self.min_learning_rate, 0, 100)
        _within("train.reduce_lr_factor", self.reduce_lr_factor, 1e-6, 0.999)
        _within("train.seed", self.seed, 0, 2**32 - 1)
        _within("train.stall_minutes", self.stall_minutes, 0.01, 1e6)
        _within("train.checkpoint_minutes", self.checkpoint_minutes, 0, 1e6)
        for name in ("weight_decay", "mixup"):
            _within(f"train.{name}", getattr(self, name), 0, 100)
        _within("train.label_smoothing", self.label_smoothing, 0, 0.9)
        _one_of("train.schedule", self.schedule, ("cosine", "plateau"))
        _one_of("train.optimizer", self.optimizer, ("adamw", "adam", "sgd"))
        _one_of("train.resume", self.resume, ("auto", "never"))


# Of Train, what may change between the parts of a run that was interrupted; anything else makes it another run.
FREE_TO_CHANGE = {
    *("num_processes", "epochs", "early_stopping_patience", "checkpoint_path", "checkpoint_minutes", "resume"),
    *("max_restarts", "stall_minutes", "slots_timeout", "network_interface", "use_gpu", "allow_clear_text"),
}


@dataclass(frozen=True)
class Model:
    path: str = "runs/model"
    gate: bool = True  # predict refuses what is not like the training photographs, with a model that reads features


@dataclass(frozen=True)
class Report:
    path: str = "runs/report"
    malignant: list[str] = field(default_factory=lambda: list(MALIGNANT))  # in any spelling
    prior: dict[str, float] | None = None  # the share of every class where the model is to be used: priors.given
    risk: float = 0.1  # wanted share of errors among the photographs that are accepted when the model may abstain

    def __post_init__(self) -> None:
        _within("report.risk", self.risk, 0, 1)
        for name, share in (self.prior or {}).items():
            if not share > 0:
                raise UserError(f"report.prior: the share of {name} is {share}; it must be positive")
        if self.prior is not None and not abs(sum(self.prior.values()) - 1) <= 1e-6:
            raise UserError(f"report.prior: the shares sum to {sum(self.prior.values()):.6g}, not to 1")


@dataclass(frozen=True)
class Labels:
    map: str | None = None  # CSV of an outside test: folder, class; a line for each class that is right for a folder


@dataclass(frozen=True)
class Config:
    input: Input = field(default_factory=Input)
    output: Output = field(default_factory=Output)
    image: Image = field(default_factory=Image)
    augment: Augment = field(default_factory=Augment)
    features: Features = field(default_factory=Features)
    audit: Audit = field(default_factory=Audit)
    split: Split = field(default_factory=Split)
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    train: Train = field(default_factory=Train)
    model: Model = field(default_factory=Model)
    report: Report = field(default_factory=Report)
    labels: Labels = field(default_factory=Labels)
    overwrite: bool = False  # a finished output is written over, from the start
    log_level: str = "info"  # debug adds stack traces and Spark's own log

    def __post_init__(self) -> None:
        _one_of("log_level", self.log_level, ("info", "debug"))


def to_dict(section: Any) -> dict[str, Any]:
    """A section of the tree as plain JSON values."""
    return dataclasses.asdict(section)


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{key}={value}: must lie between {low} and {high}")


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{key}={value}: must be one of {', '.join(choices)}")
