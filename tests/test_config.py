"""The configuration's promises: what a person mistypes is refused by name, and the keys are a decision."""

import dataclasses
from pathlib import Path

import pytest
from dermaspark.command_line import load
from dermaspark.config import Config
from dermaspark.errors import UserError


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("train.epoch=3", "train.epoch: unknown key"),
        ("trian.epochs=3", "trian: unknown key"),
        ("train.epochs=many", "train.epochs: Value 'many'"),
        ("train.epochs=1.5", "train.epochs: Value '1.5'"),
        ("train.epochs=0", "train.epochs=0: must lie between"),
        ("train=3", "train: is a section, not 3; name its keys, as train.num_processes"),
        ("=3", "=3: expected"),
        ("overwrite=maybe", "overwrite: Value 'maybe'"),
        ("augment.fill=mirror", "augment.fill=mirror: must be one of"),
        ("network.hidden=[64, wide]", "network.hidden[1]: Value 'wide'"),
        ("epochs", "epochs: expected"),
        ("--overwrite", "--overwrite: expected"),
        ("features.photographs=2024-13-45", "features.photographs=2024-13-45: not a YAML value"),
        ("train.seed=" + "[" * 3000, "train.seed=[[["),
        ("train.epochs={", "train.epochs={: not a YAML value"),
        ("split.seed=-1", "split.seed=-1: must lie between"),
        ("train.seed=-1", "train.seed=-1: must lie between"),
        ("train.reduce_lr_factor=1", "train.reduce_lr_factor=1.0: must lie between"),
        ("report.risk=2", "report.risk=2.0: must lie between"),
        ("report.prior={a: 0.5, b: 0.6}", "report.prior: the shares sum to 1.1, not to 1"),
        ("report.prior={a: 1.5, b: -0.5}", "report.prior: the share of b is -0.5; it must be positive"),
        ("report.prior={a: .nan}", "report.prior: the share of a is nan; it must be positive"),
        ("report.prior={a: half}", "report.prior.a: Value 'half'"),
    ],
)
def test_a_mistake_is_refused_in_one_line_that_names_the_key(configure, argument, named):
    with pytest.raises(UserError) as error:
        configure(argument)
    assert str(error.value).startswith(named)
    assert "\n" not in str(error.value)


def test_a_path_is_taken_as_it_stands(configure):
    for path in ("a b/50%, c=d.jpg", "1", "photo: 2.jpg", "[a].jpg", "Ölfleck é.png"):
        assert configure(f"input.path={path}").input.path in (path, [path.strip("[]")])
        assert configure(f"model.path={path}").model.path == path
        assert configure(f"labels.map={path}").labels.map == path


def test_sources_are_lists_or_mappings(configure):
    assert configure("input.path=[a, b c]").input.path == ["a", "b c"]
    assert configure("input.path={x: a, y: b}").input.path == {"x": "a", "y": "b"}


def test_a_file_and_then_the_command_line_go_over_the_defaults(configure, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("train: {epochs: 7, batch_size: 32}\n")
    config = configure("--config", str(file), "train.batch_size=64")
    assert (config.train.epochs, config.train.batch_size, config.train.num_processes) == (7, 64, 2)
    with pytest.raises(UserError, match="no.yaml: can't read"):
        configure("--config", "no.yaml")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("train: 5", "train: is a section, not 5"),
        ("train: null", "train: is a section, not None"),
        ("input: {path: " + "[" * 2000 + "]" * 2000 + "}", "not YAML"),
        ("output: {path: 2024-06-31}", "not YAML"),
        ("input: !!python/object/apply:os.mkdir [planted]", "not YAML"),
    ],
)
def test_a_mistake_in_a_file_is_refused_by_name(configure, tmp_path, monkeypatch, text, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=f"mine.yaml: {named}"):
        configure("--config", "mine.yaml")
    assert not (tmp_path / "planted").exists()


def test_the_default_file_holds_the_defaults():
    assert load([], Path(__file__).parents[1] / "conf" / "default.yaml") == Config()


def test_the_keys_are_frozen():
    tree = Config()
    keys = {
        section.name: [f.name for f in dataclasses.fields(getattr(tree, section.name))]
        if dataclasses.is_dataclass(getattr(tree, section.name))
        else []
        for section in dataclasses.fields(tree)
    }
    assert {s: keys[s] for s in ("input", "output", "data", "model", "report", "labels")} == {
        "input": ["path", "groups", "max_bad_fraction", "max_pixels"],
        "output": ["path"],
        "data": ["path"],
        "model": ["path", "gate"],
        "report": ["path", "malignant", "prior", "risk"],
        "labels": ["map"],
    }
    fixed = {"num_processes", "epochs", "batch_size", "learning_rate", "seed", "checkpoint_path"}
    assert fixed <= set(keys["train"])
    assert list(keys) == [
        *(
            "input",
            "output",
            "image",
            "augment",
            "features",
            "audit",
            "split",
            "data",
            "network",
            "train",
            "model",
            "report",
            "labels",
        ),
        *("overwrite", "log_level"),
    ]
