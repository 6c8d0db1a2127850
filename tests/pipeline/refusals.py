"""What tests of mistakes in pipeline files share: files that are right as far as they go, and a refusal."""

from __future__ import annotations

import pytest

from aegis_cli.pipeline.errors import PipelineFileError
from aegis_cli.pipeline.reading import loads

ENDS = "source: in\nsink: out\n"
TIMED = f"{ENDS}time: t\n"


def refused(text: str) -> PipelineFileError:
    with pytest.raises(PipelineFileError) as caught:
        loads(text, path="p.yaml")
    assert "\n" not in str(caught.value)
    return caught.value
