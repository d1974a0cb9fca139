"""The job that measures how Gaussian real latents are for a sampler: operators of every step."""

from diffusion.schedule import cosine_schedule
from sampling.config import OperatorConfig
from sampling.faces import load_models
from sampling.operators import Operators, StepRow, measure_operators
from sampling.train_job import load_parts
from vae.files import write_rows
from vae.run_folder import RESULTS, open_run


def compare_operators(config: OperatorConfig) -> Operators:
    """Measure on the held-out latents; the departures go to ``results.csv``.

    Raises:
        FileNotFoundError, ValueError: models, latents or run folder will not do.
    """
    models = load_models(config.estimator, config.vae, config.device)
    _, held_out, digest = load_parts(config.latents, config.vae)
    inputs = models.inputs | {"latents": digest}
    open_run(config.out, "compare_operators", config, inputs, str(models.device))
    schedule = cosine_schedule(config.num_steps)
    found = measure_operators(models.estimator, held_out.to(models.device), schedule, config.seed)
    write_rows(config.out / RESULTS, found.rows, StepRow)
    return found
