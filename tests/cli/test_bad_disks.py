"""Disks that are full or may not be written: `aegis publish` keeps and counts what there is."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest

from storage.store import Store
from storage.topic import TopicSettings
from tests.cli.published import count


def in_bash(aegis: Any, script: str, *before: str) -> subprocess.CompletedProcess[str]:
    """Run a script with `aegis` on its path."""
    return subprocess.run(
        [*before, "bash", "-ec", script],
        capture_output=True,
        text=True,
        env=aegis.environ,
        cwd=aegis.home,
        timeout=60,
        check=False,
    )


def in_own_namespace(aegis: Any, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that may mount, and see nothing of it outside."""
    return in_bash(aegis, script, "unshare", "--user", "--map-root-user", "--mount")


def test_a_full_disk_refuses_and_keeps_what_is_there(aegis: Any, topic: str) -> None:
    full = {"AEGIS_FAILPOINTS": "allocate:*.jsonl=enospc"}
    finished = aegis("publish", topic, stdin=b"1\n", environ=full)
    assert (8, b"") == (finished.code, finished.stdout)
    place = aegis.store / "topics/t/0"
    assert (
        f"aegis: error: no space left for {place}; nothing of this append was stored; free some space\n"
        == finished.err
    )
    assert 0 == count(aegis)
    assert 0 == aegis("publish", topic, "2").code
    # Room that is reserved already takes more, however full the disk is.
    assert 0 == aegis("publish", topic, "3", environ=full).code
    assert b"2\n3\n" == aegis("consume", topic).stdout


def test_a_disk_that_fills_up_midway_keeps_and_counts_what_was_published(aegis: Any) -> None:
    with Store(aegis.store, create=True) as store:
        store.create_topic("t", TopicSettings(segment_bytes=1_000_000))
    lines = b"".join(b'{"n":%d,"pad":"%s"}\n' % (number, b"x" * 100) for number in range(250_000))
    (aegis.home / "in").write_bytes(lines)
    finished = aegis(
        *("publish", "t", "--file", "in"),
        environ={"AEGIS_FAILPOINTS": "allocate:*.jsonl=enospc@3"},
    )
    assert 8 == finished.code
    told, error = finished.err.splitlines()
    kept = aegis("consume", "t").stdout
    assert 0 < len(kept) < len(lines)
    assert lines.startswith(kept)
    assert f"aegis: warning: {kept.count(10)} records were published before this error" == told
    assert error.startswith("aegis: error: no space left for ")


@pytest.mark.parametrize("mounted", [True, False], ids=["mounted", "told by a failpoint"])
def test_a_full_disk_takes_what_fits(aegis: Any, mounted: bool) -> None:
    aegis.store.mkdir()
    store = shlex.quote(str(aegis.store))
    make, fill, free = "true", "export AEGIS_FAILPOINTS='allocate:*.jsonl=enospc@2'", "unset AEGIS_FAILPOINTS"
    run = in_bash
    # Where the kernel lets nobody mount, the failpoint tells both times what it would.
    if mounted and in_own_namespace(aegis, "mount -t tmpfs tmpfs .").returncode == 0:
        make, fill = f"mount -t tmpfs -o size=12m tmpfs {store}", "true"
        free = f"mount -o remount,size=24m {store}"
        run = in_own_namespace
    script = (
        f"{make}; aegis topic create t; {fill}; "
        "set +e; seq 3000000 | aegis publish t; echo $?; seq 3 | aegis publish t; echo $?; "
        "aegis consume t > out; echo $?; wc -l < out; tail -n 1 out; "
        f"{free}; echo 99 | aegis publish t; echo $?; aegis consume t --last 1"
    )
    done = run(aegis, script)
    code, second, consumed, lines, last, third, newest = done.stdout.split()
    told = done.stderr.splitlines()
    assert ("8", "0", "0", "99") == (code, consumed, third, newest)
    assert second in ("0", "8")
    published = int(told[1].removeprefix("aegis: warning: ").split()[0])
    assert 0 < published < 3_000_000
    assert published + 3 * (second == "0") == int(lines)
    assert str(published if second == "8" else 3) == last
    assert told[2].startswith("aegis: error: no space left for ")


def test_a_read_only_store_is_read_and_not_written(aegis: Any, topic: str) -> None:
    assert 0 == aegis("publish", topic, "1").code
    store = shlex.quote(str(aegis.store))
    if in_own_namespace(aegis, "true").returncode == 0:
        prepare = f"mount --bind {store} {store}; mount -o remount,bind,ro {store}; set +e; "
        done = in_own_namespace(aegis, prepare + "aegis publish t 2; echo $?; aegis consume t; echo $?")
    else:
        prepare = f"chmod -R a-w {store}; "
        script = prepare + f"aegis publish t 2; echo $?; aegis consume t; echo $?; chmod -R u+w {store}"
        done = in_bash(aegis, "set +e; " + script)
    assert ["9", "1", "0"] == done.stdout.split()
    message = f"store {aegis.store} is read-only; check its permissions and how it is mounted"
    assert f"aegis: error: {message}\n" == done.stderr
