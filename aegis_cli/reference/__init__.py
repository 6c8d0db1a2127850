"""The reference: completions, man pages and the README's table, all written from the command tree.

`tree.py` turns the Typer application into plain values; every other module writes one form of them. The
results are committed, so that a checkout and a wheel hold them, and a test keeps them fresh.
"""
