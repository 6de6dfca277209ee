"""The configuration that a command line asks for: the defaults, a YAML file, and `key=value` on top."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from dermaspark.config import Config
from dermaspark.errors import UserError


def load(arguments: list[str], default_file: Path) -> Config:
    """The configuration from `[--config FILE.yaml] [key=value ...]`, over `default_file`, over the defaults.

    Raises:
        UserError: an unknown key, a value of the wrong type or out of range, a file that is not there.
    """
    file, overrides = _arguments(arguments, default_file)
    tree = _merge(OmegaConf.structured(Config), _read(file), f"{file}: ")
    for key, text in overrides:
        nested: Any = _value(key, text)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        tree = _merge(tree, nested, "", key)
    with _one_line_errors("", "a value"):
        return cast(Config, OmegaConf.to_object(tree))


def _arguments(arguments: list[str], default_file: Path) -> tuple[Path, list[tuple[str, str]]]:
    file, overrides, rest = default_file, [], list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--config" or argument.startswith("--config="):
            name = argument.partition("=")[2] or (rest.pop(0) if rest else "")
            if not name:
                raise UserError("--config needs the name of a YAML file")
            file = Path(name)
        elif "=" in argument and not argument.startswith(("-", "=")):
            key, _, text = argument.partition("=")
            overrides.append((key, text))
        else:
            raise UserError(f"{argument}: expected --config FILE.yaml or key=value")
    return file, overrides


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: can't read this configuration ({error})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        raise UserError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
    if tree is not None and not isinstance(tree, dict):
        raise UserError(f"{file}: a configuration is a mapping of keys, not {type(tree).__name__}")
    return tree or {}


def _value(key: str, text: str) -> Any:
    """A path stays the text it is; everything else, lists and mappings of paths included, is YAML."""
    is_path = key in ("input.groups", "split.relabel", "labels.map") or key.endswith("path")
    if is_path and text != "null" and not text.startswith(("[", "{")):
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if is_path:
            return text
        raise UserError(f"{key}={text}: not a YAML value ({' '.join(str(error).split())})") from error


def _merge(tree: Any, changes: dict[str, Any], where: str, key: str = "the file") -> Any:
    for name, value in changes.items():
        if OmegaConf.is_config(tree.get(str(name), None)) and not isinstance(value, dict):
            first = next(iter(tree[name]))
            raise UserError(f"{where}{name}: is a section, not {value}; name its keys, as {name}.{first}")
    with _one_line_errors(where, key):
        return OmegaConf.merge(tree, OmegaConf.create(changes))


@contextmanager
def _one_line_errors(where: str, key: str) -> Iterator[None]:
    try:
        yield
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, ConfigKeyError):
            reason = "unknown key"
        raise UserError(f"{where}{error.full_key or key}: {reason}") from error
