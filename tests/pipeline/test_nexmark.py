"""The queries of the Nexmark benchmark as pipelines, each against DuckDB over the same events.

The queries are those of its definition, in words of our own. Results are only ever added to a topic, so a
query over everything that ever was is one window of all of it (q4), or a table in which the newest result of
a key replaces the one before (q18, q19). Those with joins are in `test_nexmark_joins`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.pipeline.auction_house import EVENTS, House
from tests.pipeline.runs import Runs


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
