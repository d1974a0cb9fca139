import pytest
import torch

from diffusion.grid import uniform_log_snr_grid
from diffusion.samplers import SAMPLERS, sample
from experiment.seeds import walk_noise
from sampling.estimator_file import embedded_estimator, load_estimator

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_gpu_draws_the_latents_that_a_cpu_draws(name):
    model, _ = load_estimator(embedded_estimator())
    grid = uniform_log_snr_grid(10, 20.0, 0.02)
    x_start, noise = walk_noise(range(4), grid.num_steps, 128)
    expected = sample(SAMPLERS[name], model.denoise, grid, x_start, noise)
    found = sample(SAMPLERS[name], model.cuda().denoise, grid, x_start.cuda(), noise.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)  # TF32 may be on
