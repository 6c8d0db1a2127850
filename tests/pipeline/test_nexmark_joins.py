"""Those of Nexmark's queries that bring two streams, or the records of a window and its result, together.

Some take two steps, one pipeline after the other; q3, q7 and q8 are there twice, in two ways to say them.
"""

from __future__ import annotations

from collections import Counter

from tests.pipeline.auction_house import House

HIGHEST_BIDS = """
    select auction, bidder, price, seq from bids b where price = (
        select max(price) from bids c where c.date_time // 10000 = b.date_time // 10000
    )
"""


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
    assert house.sql(HIGHEST_BIDS) == house.found("q7", "auction", "bidder", "price", "seq")


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
    assert house.sql(HIGHEST_BIDS) == house.found("q7", "auction", "bidder", "price", "seq")


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
