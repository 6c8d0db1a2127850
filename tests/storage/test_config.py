"""Settings: precedence, origins, types, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from storage import config
from storage.errors import SettingError, StoreNotFoundError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "user")}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    path.mkdir()
    (path / "aegis.toml").write_text('[store]\nformat_read = 1\nid = "abc"\nlater = "kept"\n')
    return path


def write_store(store: Path, text: str) -> None:
    (store / "aegis.toml").write_text(text)


def write_user(environ: dict[str, str], text: str) -> None:
    path = Path(config.user_file(environ))
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_every_default_can_be_used(environ: dict[str, str]) -> None:
    settings = config.load(None, environ=environ)
    assert {"default"} == {setting.origin for setting in settings}
    assert settings.message_bytes_max >= 1_000_000
    assert None is settings.default_retention_ms
    assert "fsync" == settings.durability
    assert 500 == settings.max_poll_records
    assert settings.auto_commit
    assert 30_000 == settings.session_timeout_ms
    assert settings.cdc_enabled
    assert 10_000 == settings.cdc_buffer_records


def test_a_flag_goes_before_the_environment_the_store_the_user_and_the_default(
    store: Path, environ: dict[str, str]
) -> None:
    name = "streaming.consumer.max_poll_records"
    assert ("500", "default") == shown(store, environ, name)
    write_user(environ, "[streaming.consumer]\nmax_poll_records = 1\n")
    assert ("1", config.user_file(environ)) == shown(store, environ, name)
    write_store(store, "[streaming.consumer]\nmax_poll_records = 2\n")
    assert ("2", str(store / "aegis.toml")) == shown(store, environ, name)
    variable = "AEGIS_STREAMING_CONSUMER_MAX_POLL_RECORDS"
    environ[variable] = "3"
    assert ("3", variable) == shown(store, environ, name)
    flagged = config.load(str(store), flags={name: "4"}, environ=environ)[name]
    assert ("4", "flag") == (flagged.text, flagged.origin)


def shown(store: Path, environ: dict[str, str], name: str) -> tuple[str, str]:
    setting = config.load(str(store), environ=environ)[name]
    return setting.text, setting.origin


def test_the_stores_own_table_is_no_setting(store: Path, environ: dict[str, str]) -> None:
    assert {"default"} == {setting.origin for setting in config.load(str(store), environ=environ)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[streaming]\ndurabilty = 'os'", "did you mean 'streaming.durability'?"),
        ("[streaming]\nmax_poll_records = 5", "did you mean 'streaming.consumer.max_poll_records'?"),
        ("[streeming]\ndurability = 'os'", "setting 'streeming' in"),
        ("streaming = 5", "setting 'streaming' in .* is not a table; write \\[streaming\\] above"),
        ("[streaming]\ndurability = 'maybe'", "cannot be 'maybe'; give fsync or os"),
        ("[streaming]\ndurability = true", "cannot be True; give fsync or os"),
        ("[streaming]\nmax_message_size = -5", "cannot be -5; give a size such as"),
        ("[streaming]\nmax_message_size = 1.5", "cannot be 1.5; give a size such as"),
        ("[streaming]\nmax_message_size = true", "cannot be True; give a size such as"),
        ("[streaming]\ndefault_retention = 'soon'", "give a duration such as 30d, or forever"),
        ("[streaming.consumer]\nsession_timeout = 'forever'", "give a duration such as 30s"),
        ("[streaming.consumer]\nsession_timeout = '0s'", "cannot be '0s'"),
        ("[streaming.consumer]\nauto_commit = 'perhaps'", "give true or false"),
        ("[streaming.consumer]\nmax_poll_records = 'many'", "give a whole number above 0"),
        ("[streaming\n", "cannot be read: .*; correct the file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(
    store: Path, environ: dict[str, str], text: str, message: str
) -> None:
    write_store(store, text)
    with pytest.raises(SettingError, match=message) as caught:
        config.load(str(store), environ=environ)
    assert str(store / "aegis.toml") == caught.value.source


def test_a_file_that_is_not_utf_8_is_refused(store: Path, environ: dict[str, str]) -> None:
    (store / "aegis.toml").write_bytes(b"[streaming]\ndurability = '\xff'\n")
    with pytest.raises(SettingError, match="cannot be read"):
        config.load(str(store), environ=environ)


def test_a_huge_file_is_refused_unread(store: Path, environ: dict[str, str]) -> None:
    (store / "aegis.toml").write_bytes(b"#" * (config.FILE_BYTES_MAX + 1))
    with pytest.raises(SettingError, match="larger than"):
        config.load(str(store), environ=environ)


def test_a_variable_that_names_no_setting_is_refused(environ: dict[str, str]) -> None:
    environ["AEGIS_STREAMING_DURABILTY"] = "os"
    with pytest.raises(SettingError, match="did you mean 'AEGIS_STREAMING_DURABILITY'"):
        config.load(None, environ=environ)


def test_other_variables_of_ours_are_no_settings(environ: dict[str, str]) -> None:
    environ["AEGIS_STORE"] = "/anywhere"
    assert "fsync" == config.load(None, environ=environ).durability


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("YES", True), ("1", True), ("false", False), ("no", False), ("0", False)],
)
def test_a_flag_is_read_from_text(environ: dict[str, str], text: str, expected: bool) -> None:
    settings = config.load(None, flags={"streaming.cdc.enabled": text}, environ=environ)
    assert expected is settings.cdc_enabled


def test_a_size_may_be_a_bare_number_of_bytes(store: Path, environ: dict[str, str]) -> None:
    write_store(store, "[streaming]\nmax_message_size = 4096\n")
    assert 4096 == config.load(str(store), environ=environ).message_bytes_max


def test_set_keeps_all_else_in_the_file(store: Path, environ: dict[str, str]) -> None:
    config.set_store_value(str(store), "streaming.consumer.auto_commit", "no")
    config.set_store_value(str(store), "streaming.durability", "os")
    document = tomllib.loads((store / "aegis.toml").read_text())
    expected = {
        "store": {"format_read": 1, "id": "abc", "later": "kept"},
        "streaming": {"consumer": {"auto_commit": False}, "durability": "os"},
    }
    assert expected == document
    assert ["aegis.toml"] == [path.name for path in store.iterdir()]


def test_set_needs_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        config.set_store_value(str(tmp_path / "none"), "streaming.durability", "os")


def test_set_refuses_to_write_below_something_that_is_no_table(store: Path) -> None:
    write_store(store, "streaming = 5\n")
    with pytest.raises(SettingError, match="is not a table"):
        config.set_store_value(str(store), "streaming.durability", "os")


def test_set_user_makes_the_file_and_writes_through_a_link(tmp_path: Path, environ: dict[str, str]) -> None:
    config.set_user_value("streaming.durability", "os", environ=environ)
    path = Path(config.user_file(environ))
    target = tmp_path / "dotfiles.toml"
    path.rename(target)
    path.symlink_to(target)
    config.set_user_value("streaming.durability", "fsync", environ=environ)
    assert path.is_symlink()
    assert {"streaming": {"durability": "fsync"}} == tomllib.loads(target.read_text())


def test_a_relative_xdg_directory_is_ignored() -> None:
    environ = {"XDG_CONFIG_HOME": "relative", "HOME": "/home/someone"}
    assert "/home/someone/.config/aegis/config.toml" == config.user_file(environ)
