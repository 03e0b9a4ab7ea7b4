"""What the tests of trials share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and an accelerator where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no accelerator here")
    return torch.device(request.param)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as a worker has, whatever was set before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
