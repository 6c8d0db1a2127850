"""Benchmarks of whole processes against other tools on one machine; `python -m benchmarks` prints them."""
