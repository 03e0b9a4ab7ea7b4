"""Each shape of task fits some English training examples of real data with the embedded encoder.

``python benchmarks/learning.py`` goes on to train each task for minutes; its table is in docs/tasks.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.learning import FITTED, fit


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("task", ["xnli", "xcopa", "panx", "tydiqa"])
def test_a_shape_fits_its_training_examples(task: str, shared_data: Path) -> None:
    assert fit(*FITTED[task], shared_data, examples=16, steps=20) > 0.9
