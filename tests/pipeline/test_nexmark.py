"""The queries of the Nexmark benchmark as pipelines, each against DuckDB over the same events.

The queries are those of its definition, in words of our own. Results are only ever added to a topic, so a
query over everything that ever was is one window of all of it (q4), or a table in which the newest result of
a key replaces the one before (q18, q19).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aegis_cli.pipeline.account import Account
from tests.pipeline.auctions import auction_events
from tests.pipeline.runs import Runs

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EVENTS = auction_events()


class House:
    """The events in a store, and in DuckDB."""

    def __init__(self, runs: Runs, tables: DuckDBPyConnection) -> None:
        self.runs = runs
        self.tables = tables
        for topic, some in EVENTS.batches:
            runs.publish(topic, some)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """What DuckDB answers, in order of the rows."""
        return sorted(self.tables.execute(query).fetchall())

    def run(self, name: str, text: str) -> Account:
        """Run a pipeline; nothing is late, nothing cannot be processed."""
        account = self.runs.run(text, name=name)
        assert (0, 0) == (account.late, account.dead)
        return account

    def found(self, topic: str, *names: str) -> list[tuple[Any, ...]]:
        """What a topic holds, in order of the rows."""
        return sorted(self.runs.columns(topic, *names))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    import duckdb

    directory = tmp_path_factory.mktemp("events")
    with duckdb.connect() as connection:
        for name in ("persons", "auctions", "bids"):
            file = directory / f"{name}.jsonl"
            file.write_text("".join(json.dumps(event) + "\n" for event in getattr(EVENTS, name)))
            connection.execute(f"create table {name} as from read_json('{file}')")
        connection.execute(
            "create macro text(ms) as strftime(make_timestamp(ms::bigint * 1000), '%Y-%m-%dT%H:%M:%SZ')"
        )
        yield connection


@pytest.fixture(params=[13, 1 << 30], ids=["chunks of 13", "whole"])
def house(request: pytest.FixtureRequest, tmp_path: Path, tables: DuckDBPyConnection) -> Iterator[House]:
    runs = Runs(tmp_path / "store", chunk_records=request.param)
    with runs.store:
        yield House(runs, tables)


def test_the_generator_makes_what_the_queries_need() -> None:
    assert (80, 240, 3680) == (len(EVENTS.persons), len(EVENTS.auctions), len(EVENTS.bids))
    times = [bid["date_time"] for bid in EVENTS.bids]
    assert times != sorted(times)


def test_q0_passes_bids_through(house: House) -> None:
    house.run("q0", "source: bids\nsink: q0")
    assert EVENTS.bids == house.runs.rows("q0")


def test_q1_converts_the_currency(house: House) -> None:
    house.run(
        "q1",
        """
        source: bids
        map: {auction: auction, bidder: bidder, price: 0.908 * price, date_time: date_time}
        sink: q1
        """,
    )
    expected = house.sql("select auction, bidder, 0.908::double * price, date_time from bids")
    assert expected == house.found("q1", "auction", "bidder", "price", "date_time")


def test_q2_selects_bids_by_auction(house: House) -> None:
    house.run(
        "q2", "{source: bids, filter: auction % 123 == 0, map: {auction: auction, price: price}, sink: q2}"
    )
    expected = house.sql("select auction, price from bids where auction % 123 = 0")
    assert expected
    assert expected == house.found("q2", "auction", "price")


def test_q3_says_who_sells_in_three_states(house: House) -> None:
    # An auction comes after its seller, so a table of persons has whom a join of streams would wait for.
    house.run(
        "q3",
        """
        source: auctions
        tables: {person: {topic: persons, key: id}}
        steps:
          - filter: category == 10
          - join: {table: person, key: seller}
          - filter: person.state in ["OR", "ID", "CA"]
          - map: {name: person.name, city: person.city, state: person.state, id: id}
        sink: q3
        """,
    )
    expected = house.sql(
        "select p.name, p.city, p.state, a.id from auctions a join persons p on a.seller = p.id "
        "where a.category = 10 and p.state in ('OR', 'ID', 'CA')"
    )
    assert expected
    assert expected == house.found("q3", "name", "city", "state", "id")


def test_q4_gives_the_average_winning_price_of_a_category(house: House) -> None:
    # Two steps with one window of everything: the winning bid of each auction, then the average of those.
    house.run(
        "winning",
        """
        source: bids
        tables: {offer: {topic: auctions, key: id}}
        join: {table: offer, key: auction}
        map: {auction: auction, category: offer.category, price: price, at: date_time,
              opens: offer.date_time, closes: offer.expires}
        time: {field: at, watermark: 2s}
        group_by: [auction, category]
        window: {tumbling: 30d}
        aggregate: {final: max(price if at >= opens and at <= closes else None)}
        sink: winning
        """,
    )
    house.run(
        "q4",
        """
        source: winning
        filter: final is not None
        time: window_start
        group_by: category
        window: {tumbling: 30d}
        aggregate: {average: avg(final)}
        sink: q4
        """,
    )
    expected = house.sql(
        """
        with winning as (
            select a.id, a.category, max(b.price) as final from auctions a join bids b on a.id = b.auction
            where b.date_time between a.date_time and a.expires group by all
        ) select category, avg(final) from winning group by category
        """
    )
    assert 5 == len(expected)
    assert expected == house.found("q4", "category", "average")


def test_q5_finds_the_auctions_with_the_most_bids_of_the_last_ten_seconds(house: House) -> None:
    # The second step puts the counts of a window together, the third keeps those that are the greatest.
    house.run(
        "hot",
        """
        source: bids
        time: {field: date_time, watermark: 2s}
        group_by: auction
        window: {hopping: 10s, every: 2s}
        aggregate: {bids: count()}
        sink: hot
        """,
    )
    house.run(
        "most",
        """
        source: hot
        time: window_start
        window: {tumbling: 2s}
        aggregate: {most: max(bids), each: "collect([auction, bids])"}
        map: {start: window_start, most: most, each: each}
        sink: most
        """,
    )
    house.run(
        "q5",
        """
        source: most
        flat_map: {items: each, as: one}
        filter: one[1] == most
        map: {start: start, auction: "one[0]", bids: "one[1]"}
        sink: q5
        """,
    )
    expected = house.sql(
        """
        with counts as (
            select (b.date_time // 2000 - hop) * 2000 as start, b.auction, count(*) as bids
            from bids b, range(5) hops(hop) group by all
        ) select text(start), auction, bids from counts c
        where bids = (select max(bids) from counts d where d.start = c.start)
        """
    )
    per_window = Counter(start for start, _, _ in expected)
    assert 1 < max(per_window.values()), "no two auctions are equal; the query has nothing to show"
    assert expected == house.found("q5", "start", "auction", "bids")


def test_q7_finds_the_highest_bids_of_each_ten_seconds(house: House) -> None:
    house.run(
        "highest",
        """
        source: bids
        time: {field: date_time, watermark: 2s}
        window: {tumbling: 10s}
        aggregate: {highest: max(price), bids: "collect([auction, bidder, price, seq])"}
        map: {highest: highest, bids: bids}
        sink: highest
        """,
    )
    house.run(
        "q7",
        """
        source: highest
        flat_map: {items: bids, as: bid}
        filter: bid[2] == highest
        map: {auction: "bid[0]", bidder: "bid[1]", price: "bid[2]", seq: "bid[3]"}
        sink: q7
        """,
    )
    expected = house.sql(
        """
        select auction, bidder, price, seq from bids b where price = (
            select max(price) from bids c where c.date_time // 10000 = b.date_time // 10000
        )
        """
    )
    assert expected == house.found("q7", "auction", "bidder", "price", "seq")


def test_q8_finds_who_came_and_offered_something_within_the_same_ten_seconds(house: House) -> None:
    house.run(
        "q8",
        """
        source: auctions
        tables: {person: {topic: persons, key: id}}
        steps:
          - join: {table: person, key: seller}
          - filter: person.date_time // 10000 == date_time // 10000
          - time: {field: date_time, watermark: 2s}
          - group_by: {id: seller, name: person.name}
          - window: {tumbling: 10s}
          - aggregate: {auctions: count()}
        sink: q8
        """,
    )
    expected = house.sql(
        """
        select p.id, p.name, text(p.date_time // 10000 * 10000)
        from (select id, name, date_time from persons) p join auctions a on a.seller = p.id
        where a.date_time // 10000 = p.date_time // 10000 group by all
        """
    )
    assert expected
    assert expected == house.found("q8", "id", "name", "window_start")


def test_q3_as_a_join_of_streams(house: House) -> None:
    house.run(
        "q3",
        """
        source: auctions
        time: {field: date_time, watermark: 2s}
        filter: category == 10
        join: {topic: persons, as: person, key: seller, other_key: id, other_time: date_time, within: 30d}
        map: {name: person.name, city: person.city, state: person.state, id: id}
        branches:
          - filter: state in ["OR", "ID", "CA"]
            sink: q3
        """,
    )
    expected = house.sql(
        "select p.name, p.city, p.state, a.id from auctions a join persons p on a.seller = p.id "
        "where a.category = 10 and p.state in ('OR', 'ID', 'CA')"
    )
    assert expected == house.found("q3", "name", "city", "state", "id")


def test_q7_as_a_join_of_bids_with_the_highest_price_of_their_window(house: House) -> None:
    house.run(
        "highest",
        """
        source: bids
        time: {field: date_time, watermark: 2s}
        window: {tumbling: 10s}
        aggregate: {price: max(price)}
        sink: highest
        """,
    )
    house.run(
        "q7",
        """
        source: bids
        time: {field: date_time, watermark: 2s}
        join: {topic: highest, as: top, key: price, other_key: price, other_time: window_start, within: 10s}
        map: {auction: auction, bidder: bidder, price: price, seq: seq, at: date_time, of: top.window_start}
        branches:
          - filter: at // 10000 == parse_time(of) // 10000
            sink: q7
        """,
    )
    expected = house.sql(
        """
        select auction, bidder, price, seq from bids b where price = (
            select max(price) from bids c where c.date_time // 10000 = b.date_time // 10000
        )
        """
    )
    assert expected == house.found("q7", "auction", "bidder", "price", "seq")


def test_q8_as_a_join_of_streams(house: House) -> None:
    house.run(
        "q8",
        """
        source: persons
        time: {field: date_time, watermark: 2s}
        join: {topic: auctions, as: offer, key: id, other_key: seller, other_time: date_time, within: 10s}
        filter: date_time // 10000 == offer.date_time // 10000
        group_by: [id, name]
        window: {tumbling: 10s}
        aggregate: {auctions: count()}
        sink: q8
        """,
    )
    expected = house.sql(
        """
        select p.id, p.name, text(p.date_time // 10000 * 10000), count(*)
        from persons p join auctions a on a.seller = p.id
        where a.date_time // 10000 = p.date_time // 10000 group by all
        """
    )
    assert expected == house.found("q8", "id", "name", "window_start", "auctions")


def test_q11_counts_the_bids_of_a_bidder_s_session(house: House) -> None:
    house.run(
        "q11",
        """
        source: bids
        time: {field: date_time, watermark: 2s}
        group_by: bidder
        window: {session: 10s}
        aggregate: {bids: count(), first: min(date_time), last: max(date_time)}
        sink: q11
        """,
    )
    expected = house.sql(
        """
        with marked as (
            select bidder, date_time,
                   date_time - lag(date_time) over (partition by bidder order by date_time) > 10000 as begins
            from bids
        ), numbered as (
            select *, count(*) filter (begins) over (
                partition by bidder order by date_time rows unbounded preceding) as session
            from marked
        ) select bidder, count(*), min(date_time), max(date_time) from numbered group by bidder, session
        """
    )
    bidders = Counter(bidder for bidder, *_ in expected)
    assert 1 < max(bidders.values())
    assert expected == house.found("q11", "bidder", "bids", "first", "last")


def test_q12_counts_bids_by_the_time_of_their_append(tmp_path: Path) -> None:
    # The store's clock is the test's: each batch comes 1.7 seconds after the one before.
    runs = Runs(tmp_path / "store")
    expected: Counter[tuple[int, int]] = Counter()
    with runs.store:
        for topic, some in EVENTS.batches:
            if topic == "bids":
                runs.now_ms += 1_699
                runs.publish(topic, some)
                expected.update((bid["bidder"], runs.now_ms // 10_000) for bid in some)
        runs.run(
            """
            source: bids
            time: {processing: true}
            group_by: bidder
            window: {tumbling: 10s}
            aggregate: {bids: count()}
            map: {bidder: bidder, bids: bids, start: parse_time(window_start)}
            sink: q12
            """,
            name="q12",
        )
        found = runs.columns("q12", "bidder", "start", "bids")
    assert {(bidder, number * 10_000, bids) for (bidder, number), bids in expected.items()} == set(found)
    assert len(expected) == len(found)


def test_q18_finds_the_last_bid_of_a_bidder_on_an_auction(tmp_path: Path, house: House) -> None:
    database = tmp_path / "bids.db"
    house.run(
        "q18",
        f"""
        source: bids
        time: {{field: date_time, watermark: 2s}}
        group_by: [bidder, auction]
        aggregate: {{price: last(price), date_time: last(date_time), seq: last(seq)}}
        sink: {{sqlite: "{database}", table: last_bids, key: [bidder, auction]}}
        """,
    )
    expected = house.sql(
        """
        select bidder, auction, price, date_time, seq from bids
        qualify row_number() over (partition by bidder, auction order by date_time desc, seq desc) = 1
        """
    )
    assert expected == table(database, "select bidder, auction, price, date_time, seq from last_bids")


def test_q19_finds_the_ten_highest_bids_on_an_auction(tmp_path: Path, house: House) -> None:
    database = tmp_path / "bids.db"
    house.run(
        "q19",
        f"""
        source: bids
        group_by: auction
        aggregate: {{highest: "top_n(10, [bidder, price, seq], price)"}}
        sink: {{sqlite: "{database}", table: highest_bids, key: auction}}
        """,
    )
    expected = house.sql(
        """
        select auction, row_number() over (partition by auction order by price desc, seq) as place,
               bidder, price, seq
        from bids qualify place <= 10
        """
    )
    query = """
        select auction, key + 1, value ->> 0, value ->> 1, value ->> 2
        from highest_bids, json_each(highest_bids.highest)
    """
    assert expected == table(database, query)


def table(database: Path, query: str) -> list[tuple[Any, ...]]:
    import sqlite3

    connection = sqlite3.connect(database)
    try:
        return sorted(connection.execute(query).fetchall())
    finally:
        connection.close()
