"""A publisher of the soak that uses the library: it appends until it is killed and says what is acknowledged.

    python -m tests.soak.publisher STORE PRODUCER INCARNATION TOPIC:PARTITION...

With several places each record goes to all of them in one atomic append; with TOPIC:* its key chooses the
partition. Acknowledgements go to stdout, a line each, after the append and before the next.
"""

from __future__ import annotations

import os
import random
import sys

import msgspec

from storage.batch import RecordBatch
from storage.store import Append, Store
from tests.soak.record import line, name


def main() -> None:
    path, producer, incarnation, *places = sys.argv[1:]
    sizes = random.Random(f"{producer} {incarnation}")
    number = 0
    with Store(path) as store:
        while True:
            record = name(int(producer), int(incarnation), number)
            value = line(record, padding=sizes.choice((10, 200, 2000)))
            batch = RecordBatch(lines=value, count=1)
            appends = []
            for place in places:
                topic, _, partition = place.partition(":")
                chosen = (
                    store.choose_partition(topic, b'"key-%d"' % (record % 1000))
                    if partition == "*"
                    else int(partition)
                )
                appends.append(Append(topic=topic, partition=chosen, batches=[batch]))
            receipts = store.append(appends)
            os.write(1, b"".join(msgspec.json.encode(receipt) + b"\n" for receipt in receipts))
            number += 1


if __name__ == "__main__":
    main()
