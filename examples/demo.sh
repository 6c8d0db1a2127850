#!/usr/bin/env bash
# Publish the example purchases, read them back and run a pipeline over them, in a store that is gone afterwards.
# Needs `aegis` on the PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

AEGIS_STORE=$(mktemp -d)
export AEGIS_STORE
trap 'rm -rf "$AEGIS_STORE"' EXIT

# Show a command, then run it.
run() {
    printf '\n$ %s\n' "$1"
    eval "$1"
}

run "aegis topic create purchases --partitions 2 --key customer_id"
run "aegis publish purchases --file purchases.jsonl"
run "aegis topic list"
run "aegis topic describe purchases"
run "aegis consume purchases -n 3"
run "aegis consume purchases --last 1 --json"
run "aegis consume purchases --key customer-07 -n 2"
run "aegis consume purchases --grep '\"type\": \"return\"' | wc -l"

# What was published comes back, whole: nothing lost, nothing twice, nothing altered.
run "aegis consume purchases | sort | cmp - <(sort purchases.jsonl) && echo 'all lines are back'"

# A bad line is refused by its number.
run "printf '{\"id\": 1}\n{\"id\": \n' | aegis publish purchases --key-field id || echo \"exit code \$?\""

# A pipeline: what was bought every five minutes, by the time of the purchase. It says what became of each record.
run "aegis pipeline test pipelines/purchase-metrics.yaml"
run "aegis topic create raw-events"
run "aegis publish raw-events --file purchases.jsonl"
run "aegis pipeline run pipelines/purchase-metrics.yaml --once --flush"
run "aegis consume purchase-metrics"

# Another run finds nothing new, and history run again gives what the topic holds.
run "aegis pipeline run pipelines/purchase-metrics.yaml --once"
run "aegis pipeline status purchase-metrics"
run "aegis pipeline verify pipelines/purchase-metrics.yaml"

run "aegis store verify"
