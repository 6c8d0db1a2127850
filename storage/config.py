"""Configuration: what each setting is, where its value came from, and how it is changed.

A value comes from the first place that names it:

    a flag > the environment > the store's aegis.toml > the user's config.toml > the default

Every value carries its origin, so that `aegis config list` can say why a setting is what it is. The name in
the environment is the key in capitals: `streaming.consumer.max_poll_records` is
`AEGIS_STREAMING_CONSUMER_MAX_POLL_RECORDS`. A key that is not known is an error, in a file and in the
environment alike: a setting that is silently ignored is worse than none.

The store's aegis.toml also holds the table `[store]` (format and identity), which belongs to the store: it is
neither read nor changed here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from enum import Enum

import msgspec

from storage import files, toml
from storage.errors import SettingError, StoreNotFoundError
from storage.quantities import parse_duration_ms, parse_size_bytes

STORE_FILE = "aegis.toml"
ENVIRONMENT_PREFIX = "AEGIS_STREAMING_"

# A file above this is no configuration, and is not read into memory to find out.
FILE_BYTES_MAX = 1 << 20

# A setting's value as the program uses it: bytes, milliseconds (None: forever), a count, a flag or a word.
Value = int | bool | str | None


class Kind(Enum):
    """How a setting's text is read."""

    SIZE = "a size such as 64KB or 1MB"
    DURATION = "a duration such as 30s or 7d"
    LIFETIME = "a duration such as 30d, or forever"
    COUNT = "a whole number above 0"
    FLAG = "true or false"
    DURABILITY = "fsync or os"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One setting that exists."""

    name: str
    kind: Kind
    default: str
    help: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "AEGIS_" + self.name.replace(".", "_").upper()


KEYS: tuple[Key, ...] = (
    Key(
        name="streaming.max_message_size",
        kind=Kind.SIZE,
        default="1MB",
        help="The longest message that is accepted.",
    ),
    Key(
        name="streaming.default_retention",
        kind=Kind.LIFETIME,
        default="forever",
        help="How long a topic created without --retention keeps its messages.",
    ),
    Key(
        name="streaming.durability",
        kind=Kind.DURABILITY,
        default="fsync",
        help="What an acknowledged message survives in a new topic: fsync a power cut, os a killed process.",
    ),
    Key(
        name="streaming.consumer.max_poll_records",
        kind=Kind.COUNT,
        default="500",
        help="How many messages a subscription takes at a time.",
    ),
    Key(
        name="streaming.consumer.auto_commit",
        kind=Kind.FLAG,
        default="true",
        help="Whether a group's position is committed without being asked.",
    ),
    Key(
        name="streaming.consumer.session_timeout",
        kind=Kind.DURATION,
        default="30s",
        help="How long a group waits for a member that no longer answers.",
    ),
    Key(
        name="streaming.cdc.enabled",
        kind=Kind.FLAG,
        default="true",
        help="Whether changes of databases may be captured into this store.",
    ),
    Key(
        name="streaming.cdc.buffer_size",
        kind=Kind.COUNT,
        default="10000",
        help="How many captured changes are held in memory before they are published.",
    ),
)

_BY_NAME = {key.name: key for key in KEYS}
_BY_VARIABLE = {key.variable: key for key in KEYS}


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting's value: as written, as used, and its origin: a path, a variable, `flag` or `default`."""

    key: Key
    text: str
    value: Value
    origin: str


class Config(msgspec.Struct, frozen=True):
    """Every setting. The properties give them under their own types and units."""

    settings: Mapping[str, Setting]

    def __iter__(self) -> Iterator[Setting]:
        return iter(self.settings.values())

    def __getitem__(self, name: str) -> Setting:
        """The setting of this name. Raises `SettingError` for one that does not exist."""
        return self.settings[known(name).name]

    @property
    def message_bytes_max(self) -> int:
        return self._int("streaming.max_message_size")

    @property
    def default_retention_ms(self) -> int | None:
        """`None` keeps messages for ever."""
        value = self.settings["streaming.default_retention"].value
        assert value is None or isinstance(value, int), "a lifetime is read as milliseconds or None"
        return value

    @property
    def durability(self) -> str:
        """`fsync` or `os`."""
        return str(self.settings["streaming.durability"].value)

    @property
    def max_poll_records(self) -> int:
        return self._int("streaming.consumer.max_poll_records")

    @property
    def auto_commit(self) -> bool:
        return self.settings["streaming.consumer.auto_commit"].value is True

    @property
    def session_timeout_ms(self) -> int:
        return self._int("streaming.consumer.session_timeout")

    @property
    def cdc_enabled(self) -> bool:
        return self.settings["streaming.cdc.enabled"].value is True

    @property
    def cdc_buffer_records(self) -> int:
        return self._int("streaming.cdc.buffer_size")

    def _int(self, name: str) -> int:
        value = self.settings[name].value
        assert isinstance(value, int), "sizes, durations and counts are read as integers"
        return value


def load(
    store_path: str | None,
    *,
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read every setting for the store at `store_path` (`None`: for no store in particular).

    `flags` are texts by key, as given on a command line. Raises `SettingError` for an unknown key or a value
    that cannot be used, wherever it is.
    """
    environ = os.environ if environ is None else environ
    settings = {key.name: _setting(key, key.default, "default") for key in KEYS}
    settings.update(_file_settings(user_file(environ)))
    if store_path is not None:
        settings.update(_file_settings(store_file(store_path)))
    settings.update(_environment_settings(environ))
    for name, text in (flags or {}).items():
        settings[name] = _setting(known(name), text, "flag")
    return Config({key.name: settings[key.name] for key in KEYS})


def store_file(store_path: str) -> str:
    """The path of a store's own configuration."""
    return os.path.join(os.path.abspath(store_path), STORE_FILE)


def user_file(environ: Mapping[str, str]) -> str:
    """The path of the user's configuration, which counts for every store."""
    base = environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification has relative paths ignored.
    if not os.path.isabs(base):
        base = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(base, "aegis", "config.toml")


def set_store_value(store_path: str, name: str, text: str) -> Setting:
    """Write one setting into a store's aegis.toml. Raises `SettingError`, `StoreNotFoundError`."""
    path = store_file(store_path)
    setting = _setting(known(name), text, path)
    if not os.path.exists(path):
        raise StoreNotFoundError(store_path)
    _write(path, setting)
    return setting


def set_user_value(name: str, text: str, *, environ: Mapping[str, str] | None = None) -> Setting:
    """Write one setting into the user's configuration, making the file. Raises `SettingError`."""
    path = user_file(os.environ if environ is None else environ)
    setting = _setting(known(name), text, path)
    # The XDG specification asks for a directory that only its owner can read.
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    _write(path, setting)
    return setting


def known(name: str) -> Key:
    """The key of this name. Raises `SettingError` with the nearest one otherwise."""
    key = _BY_NAME.get(name)
    if key is None:
        raise _unknown(name, None)
    return key


def _write(path: str, setting: Setting) -> None:
    import tomli_w

    # Where the file is a link, as for people who keep their settings under version control, it stays one.
    path = os.path.realpath(path)
    document = _document(path)
    table = document
    *parents, last = setting.key.name.split(".")
    for parent in parents:
        inner = table.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise _no_table(parent, path)
        table = inner
    table[last] = setting.value if setting.key.kind in (Kind.FLAG, Kind.COUNT) else setting.text
    files.replace_file(path, tomli_w.dumps(document).encode())


def _document(path: str) -> dict[str, object]:
    """The TOML in a file; a file that is missing is empty."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    try:
        if len(data) > FILE_BYTES_MAX:
            raise ValueError(f"it is larger than {FILE_BYTES_MAX} bytes")
        return toml.loads(data.decode())
    except ValueError as error:
        raise SettingError("*", f"cannot be read: {error}", remedy="correct the file", source=path) from error


def _file_settings(path: str) -> dict[str, Setting]:
    document = _document(path)
    document.pop("store", None)
    return {key.name: _setting(key, value, path) for key, value in _leaves(document, "", path)}


def _leaves(table: Mapping[str, object], prefix: str, path: str) -> Iterator[tuple[Key, object]]:
    """Every value in nested tables with its key; a table is entered only where a known key lies below it."""
    for word, value in table.items():
        name = prefix + word
        if name in _BY_NAME:
            yield _BY_NAME[name], value
        elif not any(known_name.startswith(f"{name}.") for known_name in _BY_NAME):
            raise _unknown(name, path)
        elif isinstance(value, dict):
            yield from _leaves(value, f"{name}.", path)
        else:
            raise _no_table(name, path)


def _environment_settings(environ: Mapping[str, str]) -> dict[str, Setting]:
    settings = {}
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        key = _BY_VARIABLE.get(variable)
        if key is None:
            nearest = _nearest(variable, _BY_VARIABLE)
            remedy = f"did you mean '{nearest}'?" if nearest else "unset it"
            raise SettingError(variable, "does not exist", remedy=remedy, source="the environment")
        settings[key.name] = _setting(key, text, variable)
    return settings


def _setting(key: Key, given: object, origin: str) -> Setting:
    """Check one value. In a file it may have TOML's own type; from anywhere else it is text."""
    try:
        value = _value(key.kind, given)
    except ValueError as error:
        source = None if origin == "flag" else origin
        raise SettingError(
            key.name, f"cannot be {given!r}", remedy=f"give {key.kind.value}", source=source
        ) from error
    text = str(given).lower() if isinstance(given, bool) else str(given)
    return Setting(key=key, text=text, value=value, origin=origin)


def _value(kind: Kind, given: object) -> Value:
    """Raises `ValueError` for what is no value of this kind."""
    # TOML's booleans are integers to Python, and no setting but a flag can be one.
    if isinstance(given, bool):
        if kind is not Kind.FLAG:
            raise ValueError("a flag where none is expected")
        return given
    if not isinstance(given, int | str):
        raise ValueError("neither text nor a whole number")
    text = str(given).strip()
    if kind is Kind.FLAG:
        return _flag(text.lower())
    if kind is Kind.DURABILITY:
        if text not in ("fsync", "os"):
            raise ValueError("neither of the two")
        return text
    if kind is Kind.LIFETIME and text.lower() == "forever":
        return None
    return _positive(_number(kind, text))


def _flag(text: str) -> bool:
    if text not in ("true", "yes", "1", "false", "no", "0"):
        raise ValueError("neither true nor false")
    return text in ("true", "yes", "1")


def _number(kind: Kind, text: str) -> int:
    if kind is Kind.COUNT:
        return int(text)
    if kind is Kind.SIZE:
        return parse_size_bytes(text)
    return parse_duration_ms(text)


def _positive(number: int) -> int:
    if number <= 0:
        raise ValueError("not above 0")
    return number


def _unknown(name: str, source: str | None) -> SettingError:
    nearest = _nearest(name, _BY_NAME)
    remedy = f"did you mean '{nearest}'?" if nearest else "'aegis config list' shows those that exist"
    return SettingError(name, "does not exist", remedy=remedy, source=source)


def _no_table(name: str, source: str) -> SettingError:
    return SettingError(name, "is not a table", remedy=f"write [{name}] above its settings", source=source)


def _nearest(name: str, candidates: Mapping[str, Key]) -> str | None:
    """The candidate that was probably meant: one that ends in these words, else one spelled much like it."""
    for candidate in candidates:
        if candidate.endswith(("." + name, "_" + name)):
            return candidate
    from difflib import get_close_matches

    close = get_close_matches(name, candidates, n=1)
    return close[0] if close else None
