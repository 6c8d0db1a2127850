"""The `aegis` command, and the engines that stand on the log store."""

__version__ = "0.1.0"
