"""The reader of pipeline files: YAML into the values of `aegis_cli.pipeline.definition`.

Nothing in a file is run, and what its expressions mean is not looked at here; whatever is wrong is a
`PipelineFileError` with line, column and what to do.
"""

from __future__ import annotations

from aegis_cli.pipeline.reading.file import load, loads

__all__ = ["load", "loads"]
