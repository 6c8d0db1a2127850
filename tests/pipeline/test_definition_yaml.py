"""The YAML of pipeline files: what is refused, where, in which time; variables; files that cannot be read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from aegis_cli.pipeline.definition import Filter
from aegis_cli.pipeline.errors import PipelineFileError, PipelineFileNotFoundError
from aegis_cli.pipeline.reading import load, loads

ENDS = "source: in\nsink: out\n"
MIB = 1 << 20
# Reading 1 MiB takes tens of milliseconds; what is quadratic takes minutes.
SECONDS_MAX = 20.0


@pytest.fixture(params=["libyaml", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either parser that PyYAML may come with."""
    import yaml

    if request.param == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader")


def refused(text: str, **settings: str) -> PipelineFileError:
    with pytest.raises(PipelineFileError) as caught:
        loads(text, path="p.yaml", settings=settings)
    assert "\n" not in str(caught.value)
    return caught.value


# The file, line and column, a part of the message.
YAML = [
    (f"{ENDS}filter: *a", 3, 9, "an alias (*name) cannot be used"),
    (f"{ENDS}filter: &a b", 3, 9, "an anchor (&name) cannot be used"),
    (f"{ENDS}filter: && b", 3, 10, "for both of two conditions write 'and'"),
    (f"{ENDS}filter: !active", 3, 9, "a tag (!name) cannot be used"),
    (f"{ENDS}filter: !!python/object:os.system x", 3, 9, "a tag (!name) cannot be used"),
    (f"{ENDS}<<: {{a: b}}", 3, 1, "a merge key (<<) cannot be used"),
    (f"{ENDS}? [a]\n: b", 3, 3, "a key must be a text, not a list"),
    (f"{ENDS}---\n{ENDS}", 3, 1, "a second document begins"),
    (f"%YAML 1.2\n---\n{ENDS}", 1, 1, "a YAML directive (%) cannot be used"),
    (f"{ENDS}map:\n\ta: b", 4, 1, "indent with spaces, not with tabs"),
    (f"{ENDS}filter: @a", 3, 9, "quote a text that begins with '@'"),
    (f"{ENDS}filter: a: b", 3, 10, "quote a text that holds ': '"),
    (f"{ENDS}filter: 'a' == b", 3, 13, "quote an expression that begins with a quote as a whole"),
    (f"{ENDS}map: {{a: b[1]}}", 3, 11, "inside {} and [] quote a text"),
    (f"{ENDS}limits: {{groups: ${{n}}}}", 3, 19, "inside {} and [] quote a text"),
    (f"{ENDS}filter: 'a\n", 4, 1, 'close the quote that begins in "filter: \'a" (begun in line 3)'),
    (f"{ENDS} filter: a", 3, 8, "check the indentation"),
    (f"{ENDS}filter: a\x07b", 3, 10, "the character '\\x07' may not stand in YAML"),
    (f"{ENDS}filter: a\u2028b", 3, 10, "the character '\\u2028' may not stand in YAML"),
    ("source: in\rsink: out", 1, 11, "a line ends with a carriage return alone"),
    (f'{ENDS}filter: "a\\rb"', 3, 10, "'filter' holds a control character"),
]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("text", "line", "column", "message"), YAML)
def test_yaml_that_is_not_for_pipelines_is_refused(text: str, line: int, column: int, message: str) -> None:
    error = refused(text)
    assert message in str(error)
    assert (line, column) == (error.line, error.column)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n", "---\n...\n"])
def test_a_file_of_nothing_is_refused(text: str) -> None:
    error = refused(text)
    assert error.reason in ("the file is empty", "the pipeline must be a mapping, and this is nothing")


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff"])
def test_half_a_surrogate_pair_is_refused(escape: str) -> None:
    assert 3 == refused(f'{ENDS}description: "{escape}"').line


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "text", [f"---\n{ENDS}", f"{ENDS}...\n", f"\ufeff{ENDS}", ENDS.replace("\n", "\r\n")]
)
def test_what_begins_and_ends_a_document_may_stand(text: str) -> None:
    assert "in" == loads(text, path="p.yaml").source.name


BOMBS = {
    "flow lists": "a: " + "[" * (MIB - 10),
    "flow lists over lines": "a: " + "[\n " * (MIB // 3 - 10),
    "flow mappings": "{a: " * (MIB // 4),
    "block lists": "- " * (MIB // 2),
    "explicit keys": "? " * (MIB // 2),
    "many keys": "".join(f"k{i}: 1\n" for i in range(80_000)),
    "comments": "#\n" * (MIB // 2),
    "a long text": f"{ENDS}filter: {'a' * (MIB - 100)}",
    "a long key": f"{'k' * 1000}: 1",
    "quotes": "a: '" + "''" * (MIB // 2 - 10),
    "directives": "%TAG !a! x\n" * 80_000,
    "laughs": "a: &a [x, x]\nb: &b [*a, *a]\n",
    "open literals": f"{ENDS}map:\n" + "".join(f"  k{i}: x" + "'\\" * 4990 + "\n" for i in range(100)),
    "digits": f"{ENDS}tests: [{{name: a, given: {{in: [{'1' * (MIB - 200)}]}}, expect: {{out: 1}}}}]",
    "nested calls": f"{ENDS}aggregate: {{a: {'-' * 9000}}}",
    "arguments": f"{ENDS}aggregate:\n  a: sum({'a,' * 4900})",
    "brackets": f"{ENDS}aggregate:\n  a: sum{'(' * 4000}1{')' * 4000}",
    "variables": f"{ENDS}description: {'${a}' * 200_000}",
}


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("name", BOMBS)
def test_a_file_made_to_be_slow_is_refused_soon(name: str) -> None:
    began = time.process_time()
    refused(BOMBS[name], a="x" * 100 if name == "variables" else "")
    assert time.process_time() - began < SECONDS_MAX


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > ${least}", "a > 5"),
        ("a > ${least:-7}", "a > 5"),
        ("a > ${other:-7}", "a > 7"),
        ("a == '${empty:-}'", "a == ''"),
        ("price > '$$5' and f('^a$')", "price > '$5' and f('^a$')"),
        ("a == '$${least}'", "a == '${least}'"),
        ('"a > ${least} # b"', "a > 5 # b"),
        ("|\n  a > ${least}", "a > 5"),
    ],
)
def test_a_variable_is_replaced(text: str, expected: str) -> None:
    settings = {"least": "5"} if "${least" in text.replace("$${", "") else {}
    (step,) = loads(f"{ENDS}filter: {text}", path="p.yaml", settings=settings).steps
    assert isinstance(step, Filter)
    assert expected == step.condition.text


def test_what_a_setting_holds_is_a_text_and_no_yaml() -> None:
    error = refused("source: ${in}\nsink: out", **{"in": "a\nfilter: b"})
    assert "cannot be a topic's name" in error.reason


def test_a_variable_in_a_key_stays() -> None:
    (step,) = loads(f"{ENDS}map: {{'${{a}}': b}}", path="p.yaml").steps
    assert "${a}" in repr(step)


def test_topics_of_tests_are_not_checked_where_settings_may_change_names() -> None:
    text = "source: ${in:-a}\nsink: out\ntests: [{name: x, given: {a: [{y: '${in:-a}'}]}, expect: {out: 0}}]"
    assert "b" == loads(text, path="p.yaml", settings={"in": "b"}).source.name
    assert "a" == loads(text, path="p.yaml").source.name


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("a > ${least}", 13, "the variable 'least' has no value; give --set least=VALUE"),
        ("'a ${}'", 12, "'${}' is not a variable; write ${name}"),
        ("a ${b", 11, "'${b' is not a variable"),
        ("a ${b-c}", 11, "'${b-c}' is not a variable"),
    ],
)
def test_a_variable_without_a_value_is_refused(text: str, column: int, message: str) -> None:
    error = refused(f"{ENDS}filter: {text}")
    assert message in str(error)
    assert (3, column) == (error.line, error.column)


def test_a_setting_that_nothing_asks_for_is_refused() -> None:
    text = f"{ENDS}filter: a > ${{least:-5}}"
    assert "p.yaml: the file has no variable 'leats'; did you mean 'least'?" == str(refused(text, leats="5"))
    assert "the file has no variable 'a'" in str(refused(ENDS, a="b"))


def test_a_setting_that_is_no_utf_8_is_refused() -> None:
    assert "is no UTF-8" in str(refused(f"{ENDS}filter: ${{a}}", a="\udcff"))


def test_a_file_that_cannot_be_read_is_refused_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(PipelineFileNotFoundError, match=r"no\.yaml: no such file; 'aegis pipeline init'"):
        load(str(tmp_path / "no.yaml"))
    with pytest.raises(PipelineFileError, match="cannot be read: is a directory"):
        load(str(tmp_path))
    with pytest.raises(PipelineFileError, match="cannot be read: "):
        load("a\0b")


def test_bytes_that_are_no_utf_8_are_refused_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"source: in\nsink: \xff\n")
    with pytest.raises(PipelineFileError) as caught:
        load(str(path))
    assert ("the file is no UTF-8", 2, 7) == (caught.value.reason, caught.value.line, caught.value.column)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(ENDS + "#" * MIB)
    with pytest.raises(PipelineFileError, match="more than 1048576 bytes"):
        load(str(path))
    assert "more than 1048576 bytes" in str(refused(path.read_text()))
