"""Topics of many partitions: more files than the usual limit lets a process open."""

from __future__ import annotations

import subprocess
import sys

from tests.cli.conftest import PROCESS_SECONDS_MAX, Aegis, Finished

PARTITIONS = 40
LINES = b"".join(b'{"k":%d}\n' % number for number in range(1000))


def limited(aegis: Aegis, limits: str, *arguments: str, stdin: bytes = b"") -> Finished:
    """Run `aegis` in a shell that has lowered its limits."""
    command = f'ulimit {limits} && exec "$0" -m aegis_cli "$@"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, *arguments],
        input=stdin,
        capture_output=True,
        env=aegis.environ,
        timeout=PROCESS_SECONDS_MAX,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def test_more_files_than_the_soft_limit_are_opened_where_the_hard_one_lets_us(aegis: Aegis) -> None:
    aegis("topic", "create", "t", "--partitions", str(PARTITIONS))
    published = limited(aegis, "-Sn 64", "publish", "t", "--key-field", "k", stdin=LINES)
    assert (0, "") == (published.code, published.err)
    consumed = limited(aegis, "-Sn 64", "consume", "t")
    assert (0, sorted(LINES.splitlines())) == (consumed.code, sorted(consumed.stdout.splitlines()))


def test_who_may_not_open_so_many_files_is_told_what_to_do(aegis: Aegis) -> None:
    aegis("topic", "create", "t", "--partitions", str(PARTITIONS))
    assert 0 == limited(aegis, "-Sn 64", "publish", "t", "--key-field", "k", stdin=LINES).code
    consumed = limited(aegis, "-n 64", "consume", "t")
    assert 1 == consumed.code
    remedy = "allow more with 'ulimit -n', or name fewer partitions with -p"
    assert f": Too many open files; {remedy}\n" in consumed.err
    assert 1 == len(consumed.err.splitlines())
