"""What the tests of trials share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and an accelerator where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no accelerator here")
    return torch.device(request.param)
