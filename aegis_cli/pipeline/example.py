"""The example that `aegis pipeline init` writes."""

from __future__ import annotations

EXAMPLE = """\
# What was bought, by customer, every five minutes. Steps run in the order in which they are written.
name: purchase-metrics
source: raw-events                  # a topic; '-' reads stdin

filter: type == "purchase"          # an expression; a missing field is null, and null is not true
map:                                # from here on a record has these fields, and no others
  customer: customer_id
  amount: total
  timestamp: created_at

# The time of an event is its own, not the clock's. Records may come up to 10 s out of order.
time: {field: timestamp, watermark: 10s}

group_by: [customer]
window: {tumbling: 5m}
aggregate:
  total_purchases: count()
  total_amount: sum(amount)

on_error: {to: purchase-errors}     # or drop, or stop, which is the default
sink: {topic: purchase-metrics, key: customer}

tests:
  - name: purchases of one window are added up, all else is left out
    given:
      raw-events:
        - {type: purchase, customer_id: a, total: 5, created_at: "2026-03-01T12:00:00Z"}
        - {type: refund, customer_id: a, total: 5, created_at: "2026-03-01T12:00:30Z"}
        - {type: purchase, customer_id: a, total: 7.5, created_at: "2026-03-01T12:01:00Z"}
        - {type: purchase, customer_id: b, total: 1, created_at: "2026-03-01T12:05:00Z"}
    expect:
      purchase-metrics:
        - {window_start: "2026-03-01T12:00:00Z", window_end: "2026-03-01T12:05:00Z", customer: a,
           total_purchases: 2, total_amount: 12.5}
        - {window_start: "2026-03-01T12:05:00Z", window_end: "2026-03-01T12:10:00Z", customer: b,
           total_purchases: 1, total_amount: 1}
"""
