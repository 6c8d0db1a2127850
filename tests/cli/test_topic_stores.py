"""`aegis topic` where the store cannot be used: none, foreign, newer, damaged, read-only, full."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import pytest

from tests.cli.topics import documents, names_in, publish


def test_without_a_store_there_is_nothing_to_list(aegis: Any) -> None:
    finished = aegis("topic", "list")
    assert 3 == finished.code
    assert (
        f"aegis: error: no store at {aegis.store}; 'aegis topic create NAME' makes one, "
        "or name another with --store\n" == finished.err
    )


@pytest.mark.parametrize("command", [["list"], ["create", "t"]])
def test_a_directory_that_is_no_store_is_refused_and_left_alone(aegis: Any, command: list[str]) -> None:
    aegis.store.mkdir()
    (aegis.store / "mail").write_text("from: somebody")
    finished = aegis("topic", *command)
    assert 9 == finished.code
    assert f"aegis: error: {aegis.store} is not a store: it " in finished.err
    assert finished.err.endswith("; name an empty directory or a store\n")
    assert ["mail"] == names_in(aegis.store)


def make_newer(aegis: Any, *, read: int, write: int) -> None:
    path = aegis.store / "aegis.toml"
    text = path.read_text()
    text = text.replace("format_read = 1", f"format_read = {read}")
    path.write_text(text.replace("format_write = 1", f"format_write = {write}"))


def test_a_store_of_a_newer_format_is_refused(aegis: Any) -> None:
    aegis("topic", "create", "orders")
    make_newer(aegis, read=9, write=9)
    finished = aegis("topic", "list")
    assert 9 == finished.code
    assert (
        f"aegis: error: store {aegis.store} needs format 9 to read and this aegis knows 1; upgrade aegis\n"
        == finished.err
    )


def test_a_store_that_may_only_be_read_can_be_looked_at(aegis: Any) -> None:
    aegis("topic", "create", "orders")
    make_newer(aegis, read=1, write=9)
    assert 0 == aegis("topic", "describe", "orders").code
    finished = aegis("topic", "create", "audit")
    assert (9, True) == (finished.code, "needs format 9 to write" in finished.err)


def test_corrupt_settings_of_one_topic_leave_the_others_usable(aegis: Any) -> None:
    aegis("topic", "create", "orders")
    aegis("topic", "create", "audit")
    path = aegis.store / "topics/orders/topic.toml"
    path.write_text(path.read_text().replace("partitions", "partition?"))
    finished = aegis("topic", "describe", "orders")
    assert 5 == finished.code
    assert f"aegis: error: {path} is damaged: it is not a topic's settings (" in finished.err
    assert finished.err.endswith("; run 'aegis store verify'\n")
    listed = aegis("topic", "list", "--json")
    assert (5, ["audit"]) == (listed.code, [topic["name"] for topic in documents(listed)])
    assert f"aegis: warning: {path} is damaged: " in listed.err


def in_own_namespace(aegis: Any, script: str) -> Any:
    """Run a shell script that may mount, with `aegis` on its path, and see nothing of it outside."""
    process = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-ec", script],
        capture_output=True,
        env=aegis.environ,
        cwd=aegis.home,
        timeout=60,
        check=False,
    )
    return process.returncode, process.stdout.decode(), process.stderr.decode()


def read_only(aegis: Any, script: str) -> Any:
    """Run a script while the store cannot be written: mounted so where we may mount, else by its modes."""
    store = shlex.quote(str(aegis.store))
    if in_own_namespace(aegis, "true")[0] == 0:
        return in_own_namespace(
            aegis, f"mount --bind {store} {store}; mount -o remount,bind,ro {store}; {script}"
        )
    directories = [path for path in aegis.store.rglob("*") if path.is_dir()]
    for path in (aegis.store, *directories):
        path.chmod(0o555)
    try:
        process = subprocess.run(
            ["bash", "-c", script], capture_output=True, env=aegis.environ, cwd=aegis.home, check=False
        )
    finally:
        for path in (aegis.store, *directories):
            path.chmod(0o755)
    return process.returncode, process.stdout.decode(), process.stderr.decode()


def test_a_read_only_store_can_be_read_and_refuses_changes(aegis: Any) -> None:
    aegis("topic", "create", "orders")
    publish(aegis, "orders", 1, 2)
    code, out, err = read_only(aegis, "aegis topic describe orders --json")
    assert (0, "", 2) == (code, err, json.loads(out)["records"])
    assert (0, "", "aegis: nothing to remove\n") == read_only(aegis, "aegis topic clean --dry-run")
    refused = f"aegis: error: store {aegis.store} is read-only; check its permissions and how it is mounted\n"
    for command in ("create audit", "alter orders --retention 1d", "delete orders --yes", "clean"):
        assert (9, "", refused) == read_only(aegis, f"aegis topic {command}"), command


def test_a_full_disk_makes_no_topic_and_leaves_a_store_that_works(aegis: Any) -> None:
    aegis.store.mkdir()
    store = shlex.quote(str(aegis.store))
    script = (
        f"mount -t tmpfs -o size=1m tmpfs {store}; "
        "aegis topic create orders && exit 99; code=$?; "
        f"mount -o remount,size=20m {store}; aegis topic create orders; aegis topic list --json; exit $code"
    )
    code, out, err = in_own_namespace(aegis, script)
    assert (8, "orders") == (code, json.loads(out)["name"])
    assert "aegis: error: no space left for " in err.splitlines()[0]
    assert err.splitlines()[0].endswith("nothing of this append was stored; free some space")
