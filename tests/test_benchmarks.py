"""The benchmarks run and check their results, at sizes so small that no figure means anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import data
from benchmarks.processes import BenchmarkError, environment, run
from benchmarks.rows import Row, in_turn, ratios, table

SMALL = [
    "--lines",
    "3000",
    "--rounds",
    "1",
    "--seconds",
    "0.1",
    "--writers",
    "3",
    "--stored-messages",
    "30000",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("startup", ["aegis publish t VALUE: CPU", "aegis --version: CPU"]),
        ("bulk", ["lines per CPU second", "cat f | wc -l", "memory of consume", "4 partitions"]),
        ("durable", ["SQLite synchronous=FULL", "3 writing processes together"]),
        ("latency", ["library, 100 messages a second: p99", "idle follower"]),
        ("growth", ["by offset", "by time", "opening and publishing"]),
        ("groups", ["takeover", "joining", "two members", "position commits", "group describe"]),
        ("pipeline", ["rows per CPU second", "DuckDB", "jq", "peak memory", "100 rows"]),
    ],
)
def test_each_group_checks_its_results_and_prints_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], group: str, expected: list[str]
) -> None:
    code = benchmarks.main([*SMALL, "--directory", str(tmp_path), "--only", group])
    printed = capsys.readouterr()
    assert 0 == code, printed.err
    assert [] == [words for words in expected if words not in printed.out]
    assert [] == list(tmp_path.iterdir())


def test_an_unknown_group_is_refused_with_the_groups_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert 1 == benchmarks.main(["--only", "bulky"])
    assert "startup, bulk, durable, latency, growth, groups, pipeline" in capsys.readouterr().err


def test_a_verdict_is_the_best_bound_that_the_median_holds() -> None:
    def verdict(*figures: float, better: str = "more") -> str:
        return Row(what="", figures=figures, unit="x", must=2, aim=4, better=better).verdict  # type: ignore[arg-type]

    assert ["MISSED", "must", "aim"] == [verdict(1.9), verdict(0, 2, 9), verdict(4)]
    bounded = Row(what="", figures=[3], unit="x", must=4, aim=2, better="less")
    assert "must" == bounded.verdict
    assert "" == Row(what="", figures=[3], unit="x").verdict


def test_a_table_shows_median_and_range_and_the_direction_of_bounds() -> None:
    row = Row(what="waiting", figures=[1.234, 0.5, 20], unit="ms", must=10, aim=3, better="less")
    assert ["waiting", "1.23 ms (0.5 to 20)", "≤ 10", "≤ 3", "aim"] == [
        cell.strip() for cell in table([row]).splitlines()[-1].split("  ") if cell
    ]


def test_contestants_take_turns_and_are_compared_within_a_round() -> None:
    order: list[str] = []
    results = in_turn(2, {name: lambda name=name: order.append(name) or len(order) for name in "ab"})  # type: ignore[misc]
    assert ["a", "b", "a", "b"] == order
    assert [0.5, 0.75] == ratios(results["a"], results["b"])


def test_lines_are_about_200_bytes_and_the_same_each_time(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        data.write_lines(path, 25_000)
    contents = paths[0].read_bytes()
    assert contents == paths[1].read_bytes()
    assert 25_000 == contents.count(b"\n")
    assert 195 <= len(contents) / 25_000 <= 205


def test_a_line_in_the_wrong_partition_is_found(tmp_path: Path) -> None:
    source, empty = tmp_path / "source", tmp_path / "empty"
    data.write_lines(source, 10)
    empty.touch()
    data.check_partitions(source, [source])
    with pytest.raises(BenchmarkError, match="line 1"):
        data.check_partitions(source, [empty])
    data.slice_of(source, 9, tmp_path / "fewer")
    with pytest.raises(BenchmarkError, match="more than was published"):
        data.check_partitions(tmp_path / "fewer", [source])


def test_a_command_that_fails_ends_the_benchmark_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no-such-file"):
        run(["cat", "no-such-file"], ["wc"], environment=environment(tmp_path))


def test_a_pipeline_gives_its_output_and_what_each_process_used(tmp_path: Path) -> None:
    done = run(["echo", "words"], ["cat"], environment=environment(tmp_path))
    assert b"words\n" == done.output
    assert 2 == len(done.usages)
    assert done.memory_bytes > 100_000


def test_the_store_of_whoever_measures_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEGIS_STORE", "/precious")
    monkeypatch.setenv("AEGIS_MAX_MESSAGE_SIZE", "1")
    own = environment(tmp_path)
    assert str(tmp_path / "store") == own["AEGIS_STORE"]
    assert "AEGIS_MAX_MESSAGE_SIZE" not in own
