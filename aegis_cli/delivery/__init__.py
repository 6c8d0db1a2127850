"""Engines that hand messages of a group on: to an output, a file, a command."""
