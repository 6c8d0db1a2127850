"""Connections of PostgreSQL in pipeline files: what they say, what may not stand there, and what is shown."""

from __future__ import annotations

import pytest

from aegis_cli.pipeline.conninfo import REFUSED, ConninfoError, parse_conninfo
from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.explain import explanation
from aegis_cli.pipeline.program import Program
from aegis_cli.pipeline.reading import loads

SECRET = "pa55 w?rd"


@pytest.mark.parametrize(
    ("text", "expected", "address"),
    [
        ("postgresql://", {}, "postgresql://"),
        ("postgres:///metrics", {"dbname": "metrics"}, "postgresql:///metrics"),
        (
            "postgresql://me:pa55%20w%3Frd@db:5433/metrics?sslmode=require&connect_timeout=3",
            {
                "user": "me",
                "password": SECRET,
                "host": "db",
                "port": "5433",
                "dbname": "metrics",
                "sslmode": "require",
                "connect_timeout": "3",
            },
            "postgresql://me@db:5433/metrics",
        ),
        (
            "postgresql://a,b:5433/m",
            {"host": "a,b", "port": ",5433", "dbname": "m"},
            "postgresql://a,b:5433/m",
        ),
        (
            "postgresql://[::1]:5432/m",
            {"host": "::1", "port": "5432", "dbname": "m"},
            "postgresql://::1:5432/m",
        ),
        ("postgresql://%2Frun%2Fpg/m", {"host": "/run/pg", "dbname": "m"}, "postgresql:///run/pg/m"),
        (
            r"host = db user=me password='pa55 w?rd' dbname='it\'s'",
            {"host": "db", "user": "me", "password": SECRET, "dbname": "it's"},
            "postgresql://me@db/it's",
        ),
        (r"dbname=a\ b", {"dbname": "a b"}, "postgresql:///a b"),
        ("service=metrics", {"service": "metrics"}, "postgresql:service=metrics"),
    ],
)
def test_a_connection(text: str, expected: dict[str, str], address: str) -> None:
    found = parse_conninfo(text)
    assert (expected, address) == (found.parameters, found.address)


@pytest.mark.parametrize(
    "text", ["postgresql://me:pa55%20w%3Frd@db/m", "host=db user=me password='pa55 w?rd'"]
)
def test_a_connection_is_what_libpq_understands_by_the_text(text: str) -> None:
    from psycopg.conninfo import conninfo_to_dict

    assert conninfo_to_dict(text) == parse_conninfo(text).parameters


@pytest.mark.parametrize("name", REFUSED)
def test_what_reads_files_or_runs_something_may_not_stand_in_a_file(name: str) -> None:
    for text in (f"host=db {name}=x", f"postgresql://db/m?{name}=x"):
        with pytest.raises(ConninfoError, match=f"'{name}' may not stand in a pipeline's file"):
            parse_conninfo(text)


def test_each_parameter_that_libpq_knows_is_allowed_or_refused() -> None:
    from psycopg import pq

    from aegis_cli.pipeline.conninfo import ALLOWED

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    assert set() == known - {*ALLOWED, *REFUSED}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("metrics", "no connection"),
        ("host=db pa55", "no connection"),
        ("password='pa55", "no connection"),
        ("pa55=x", "a parameter that is not known"),
        ("postgresql://me:pa55?x@db/m", "no URL"),
        ("postgresql://db/m?pa55=x", "a parameter that is not known"),
        ("postgresql://db/m?pa55", "there must be parameters"),
        ("postgresql://me:pa55%zz@db/m", "two hexadecimal digits"),
        ("postgresql://me:pa55%ff@db/m", "no UTF-8"),
        ("postgresql://me:pa55%00@db/m", "'password' holds a character"),
        ("postgresql://me@pa55:x/m", "no URL"),
        ("postgresql://me:12/pa55@db/m", "no URL"),
        ("host=a host=b", "'host' is given twice"),
        ("dbname='host=evil passfile=/etc/passwd'", "not another connection"),
        ("service=s host=evil", "'service' says which server it is"),
        ("host=db\x07", "holds a character"),
    ],
)
def test_what_is_no_connection_is_refused_without_showing_it(text: str, reason: str) -> None:
    with pytest.raises(ConninfoError, match=reason) as caught:
        parse_conninfo(text)
    assert "pa55" not in str(caught.value)
    expected = f"p.yaml:2:19: 'postgres' cannot be used: .*{reason}"
    with pytest.raises(PipelineFileError, match=expected) as refused:
        loads(f"source: a\nsink: {{postgres: {quoted(text)}, table: t}}\n", path="p.yaml")
    assert "pa55" not in str(refused.value)


def quoted(text: str) -> str:
    return '"' + text.replace("\x07", "\\x07") + '"'


def test_a_password_is_not_explained() -> None:
    text = "source: a\nsink: {postgres: 'postgresql://me:${password}@db/m', table: t, key: id}\n"
    program = Program(loads(text, path="p.yaml", settings={"password": "s3cret"}))
    plan = explanation(program)
    assert ("sink", "postgres postgresql://me@db/m, table t, key id") == plan.steps[-1]
    assert not any("s3cret" in source for source in program.sources.values())
