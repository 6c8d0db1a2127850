from __future__ import annotations

import base64
import json
import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aegis_cli
from aegis_cli.formats import FormatError, compile_format
from storage.envelope import encode_batch
from tests.storage.sample_batches import APPEND_TIME_MS, RecordingBatch, batches, sample_batch

PLUS_TWO = timezone(timedelta(hours=2))
FULL = sample_batch(
    [b'{"id":1}', b'"t\\u0065xt"', b'{"$base64":"AP8="}'],
    keys=[b'"abc"', None, b'{"$base64":"AP8="}'],
    headers=[b'[{"key":"a","value":"b"},{"key":"c","value":null}]', None, b"null"],
    timestamps_ms=[1_700_000_000_123, 1_700_000_000_456, 1_700_000_001_000],
    offsets=[5, 8, 13],
)
BARE = sample_batch([b"1", b"22"])


def printed(text: str, batch: RecordingBatch = FULL) -> bytes:
    return compile_format(text, local_zone=PLUS_TWO)(batch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"%v\n", b'{"id":1}\n"t\\u0065xt"\n{"$base64":"AP8="}\n'),
        (r"%s\n", b'{"id":1}\n"t\\u0065xt"\n{"$base64":"AP8="}\n'),
        (r"%k %o\n", b"abc 5\n 8\n\0\xff 13\n"),
        (r"%t-%p;", b"orders-3;" * 3),
        (r"%d\n", b"1700000000123\n1700000000456\n1700000001000\n"),
        (r"%T,", b"1700000000123,1700000000456,1700000001000,"),
        (r"%K %V %S,", b"3 8 8,-1 11 11,2 18 18,"),
        (r"%R", b"\0\0\0\x08\0\0\0\x0b\0\0\0\x12"),
        (r"%H,", b"2,0,0,"),
        (r"%h,", b"a=b,c=,,,"),
        (r"%h{ %k=%v{hex} }|", b" a=62  c= |||"),
        (r"%h{%K%%%V%{%}}|", b"1%1{}1%0{}|||"),
        (r"%%%{%}\t\r\0\\\x41\x7f,", b"%{}\t\r\0\\A\x7f," * 3),
        (r"%k{hex},", b"616263,,00ff,"),
        (r"%k{base64} %k{base64raw},", b"YWJj YWJj, ,AP8= AP8,"),
        (r"%k{json},", b'"abc",null,{"$base64":"AP8="},'),
        (r"%k{text},", b'abc,,{"$base64":"AP8="},'),
        (r"%v{text},", b'{"id":1},text,{"$base64":"AP8="},'),
        (r"%v{bytes},", b'{"id":1},text,\0\xff,'),
        (r"%v{bytes;hex},", b"7b226964223a317d,74657874,00ff,"),
        (r"%t{hex},", b"6f7264657273," * 3),
        (r"%t{json},", b'"orders",' * 3),
        (
            r"%o{hex64} %o{hex8} %o{hex4},",
            b"0000000000000005 05 5,0000000000000008 08 8,000000000000000d 0d d,",
        ),
        (r"%o{big16}%o{little16}%o{byte}", b"\0\5\5\0\5\0\x08\x08\0\x08\0\r\r\0\r"),
        (r"%p{big32}", b"\0\0\0\3" * 3),
        (r"%o{ascii},", b"5,8,13,"),
        (r"%d{strftime[%F %T]},", b"2023-11-15 00:13:20,2023-11-15 00:13:20,2023-11-15 00:13:21,"),
        (r"%d{strftime[%S.%f %z]},", b"20.123000 +0200,20.456000 +0200,21.000000 +0200,"),
        (r"%d{strftime### [%Y] ###},", b" [2023] , [2023] , [2023] ,"),
        (r"%d{strftime{%Y}},", b"2023," * 3),
        (r"%d{iso},", b"2023-11-14T22:13:20.123Z,2023-11-14T22:13:20.456Z,2023-11-14T22:13:21.000Z,"),
        ("käse %o\n", "käse 5\nkäse 8\nkäse 13\n".encode()),
        ("%o\udcff", b"5\xff8\xff13\xff"),
        (r"\n", b"\n\n\n"),
    ],
)
def test_a_format_prints_what_rpk_and_kcat_users_expect(text: str, expected: bytes) -> None:
    assert expected == printed(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%k|%k{json}|%K|%H|%h|%h{%k}\\n", b"|null|-1|0||\n" * 2),
        ("%d\\n", b"%d\n" % APPEND_TIME_MS * 2),
        ("%d{iso} %d{strftime[%Y]}\\n", b"2023-11-14T22:13:20.000Z 2023\n" * 2),
        ("%o=%v,", b"5=1,6=22,"),
    ],
)
def test_what_a_batch_has_not_is_empty(text: str, expected: bytes) -> None:
    assert expected == printed(text, BARE)


def test_a_timestamp_beyond_the_calendar_prints_as_its_number() -> None:
    for time_ms in (253_402_300_799_999, 2**62):
        batch = sample_batch([b"1"], timestamps_ms=[time_ms])
        assert b"%d" % time_ms == printed("%d{strftime[%F]}", batch)
    assert b"%d" % (2**62) == printed("%d{iso}", sample_batch([b"1"], timestamps_ms=[2**62]))


def test_the_word_json_prints_envelopes() -> None:
    assert encode_batch(FULL) == printed("json")


def test_only_the_columns_that_are_named_are_read() -> None:
    batch = sample_batch([b"1"], keys=[b'"k"'], headers=[None])
    assert b"1\n" == compile_format(r"%v\n")(batch)
    assert [] == batch.called()
    compile_format("%o %v %V")(batch)
    assert ["offsets", "values"] == batch.called()


def test_a_string_with_padding_or_beside_other_json_is_decoded_alike() -> None:
    batch = sample_batch([b'"a"', b' "b" ', b'"\\ud83d"', b"7", b"null"])
    assert b"a,b,?,7,null," == printed("%v{text},", batch)
    assert b"a,c," == printed("%v{text},", sample_batch([b'"a"', b'"c"']))
    assert b"a,c," == printed("%v{text},", sample_batch([b'"a"', b'"c" ']))


@pytest.mark.parametrize(
    ("text", "position", "part"),
    [
        ("", 1, "--json"),
        ("yaml", 1, "--json"),
        ("%k %q", 4, "%q is unknown"),
        ("%", 1, "%%"),
        ("%k%", 3, "%%"),
        (r"%k\q", 3, r"\q is unknown"),
        ("%k\\", 3, "backslash"),
        (r"\x4", 1, r"\x is unknown"),
        (r"\x+1", 1, r"\x is unknown"),
        ("%k{hex", 3, "not closed"),
        ("%k{}", 3, "{} is no way"),
        ("%k{zip}", 3, "{hex}"),
        ("%k{hex;base64}", 3, "no way"),
        ("%v{json;text}", 3, "no way"),
        ("%o{hex}", 3, "{hex64}"),
        ("%d{go[2006]}", 3, "strftime"),
        ("%d{strftime}", 3, "brackets"),
        ("%d{strftime[%F}", 3, "brackets"),
        ("%d{strftime%F}", 3, "brackets"),
        ("%h{%o}", 4, "field of a header"),
        ("%h{%h}", 4, "field of a header"),
        ("%h{%d}", 4, "field of a header"),
        ("%h{%k", 3, "not closed"),
        ("%i", 1, "nl"),
        ("%e", 1, "epoch"),
        ("%[", 1, "describe"),
    ],
)
def test_a_bad_format_is_refused_with_its_position_and_a_remedy(text: str, position: int, part: str) -> None:
    with pytest.raises(FormatError) as caught:
        compile_format(text)
    assert part in str(caught.value)
    assert position == caught.value.position
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_rendering_imports_nothing_heavy() -> None:
    code = (
        "import sys, storage.envelope, storage.offsets; from aegis_cli.formats import compile_format;"
        "compile_format('%k %o %d %s'); print(*sys.modules)"
    )
    root = Path(aegis_cli.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    modules = run.stdout.split()
    assert "aegis_cli.formats" in modules
    assert not {"msgspec", "datetime", "json", "rich", "typer"} & set(modules)


def text_of(raw: bytes | None) -> bytes:
    if raw is None or raw == b"null":
        return b""
    value = json.loads(raw)
    if isinstance(value, str):
        return value.encode()
    return base64.b64decode(value["$base64"]) if isinstance(value, dict) else raw


@given(batches())
def test_every_record_prints_its_own_key_offset_and_value(batch: RecordingBatch) -> None:
    keys = batch.keys() or [None] * batch.count
    rows = zip(keys, batch.offsets(), batch.values(), strict=True)
    expected = b"".join(text_of(key) + b" %d %b\n" % (offset, value) for key, offset, value in rows)
    assert expected == printed(r"%k %o %s\n", batch)


VERBS = ["%t", "%p", "%o", "%k", "%v", "%s", "%h", "%d", "%K", "%V", "%H", "%%", "%{", r"\n", r"\x00", " x"]
VERBS += [
    "%k{json}",
    "%v{bytes;base64}",
    "%h{%k=%v;}",
    "%d{iso}",
    "%o{big64}",
    "%d{strftime[%j]}",
    "%V{hex8}",
]


@given(st.lists(st.sampled_from(VERBS), min_size=1, max_size=6).map("".join), batches())
def test_records_print_alone_as_they_print_together(text: str, batch: RecordingBatch) -> None:
    show = compile_format(text + r"\n", local_zone=PLUS_TWO)
    alone = [show(batch.select([index])) for index in range(batch.count)]
    assert b"".join(alone) == show(batch)


@given(st.text(alphabet="%{}[]#\\xkvohdtpjson;ebi4ftrm \n", max_size=20))
def test_any_text_is_a_format_or_refused(text: str) -> None:
    try:
        show = compile_format(text, local_zone=PLUS_TWO)
    except FormatError as error:
        assert 1 <= error.position <= len(text) + 1
        assert error.remedy
        return
    assert isinstance(show(FULL), bytes)
