"""What only a CUDA device can show about neural students."""

import pytest
import torch

from neural.distill_neural import distill_neural
from tests.test_neural_distill_neural import small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.mark.parametrize(
    "flags", [{}, {"parametrisation": "operator"}, {"student": "shared"}], ids=str
)
def test_students_on_a_gpu_are_those_of_the_cpu(tmp_path, flags):
    """All strategies side by side against one after another; both train in float32."""
    flags = {"num_steps": 8} | flags
    there = distill_neural(small(tmp_path / "cuda", **flags | {"device": "cuda"}))
    here = distill_neural(small(tmp_path / "cpu", **flags))
    assert len(there.rows) == len(here.rows)
    for one, other in zip(there.rows, here.rows, strict=True):
        assert (one.strategy, one.updates) == (other.strategy, other.updates)
        assert one.error == pytest.approx(other.error, rel=1e-2)
