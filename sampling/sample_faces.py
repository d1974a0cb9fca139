"""The command sample_faces: new faces from noise by estimator, sampler and decoder."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from diffusion.grid import TimeGrid, karras_grid, uniform_log_snr_grid, uniform_t_grid
from diffusion.samplers import SAMPLERS, Update, ddim, sample
from diffusion.schedule import TeacherSchedule
from diffusion.schedule_choice import (
    SCHEDULES,
    ScheduleFlags,
    choose_schedule,
    schedule_fingerprint,
)
from experiment.folder import CONFIG, open_run, read_run
from experiment.progress import tqdm
from experiment.seeds import bank_seeds, walk_noise
from experiment.tensors import write_tensors
from experiment.write import sha256, unfinished_name, write_atomically, write_json
from sampling.config import CompareSamplersConfig, SampleConfig, WalkConfig
from sampling.estimator_file import refuse_untrained_levels
from sampling.fid import FID_FILE, fid
from sampling.inputs import Models, load_models
from sampling.interpolate import arc_noise
from sampling.noise_estimator import NoiseEstimator
from vae.attributes import directions_path, load_directions
from vae.cache import load_images
from vae.model import VAE, to_uint8

SAMPLES_KIND = "mergelab samples, format 1"
SAMPLES_FILE = "samples.safetensors"
SCHEDULE_STEPS = 1_000  # T of the schedules from which --spacing t takes its levels
Config = SampleConfig | CompareSamplersConfig
Start = Callable[[Tensor], Tensor]
"""Unit noise (B, d) -> where a walk starts."""
STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # of an attribute's direction
BATCH = 1_024  # samples computed together; it changes no result


def make_time_grid(config: Config, steps: int) -> TimeGrid:
    """The grid of ``steps`` steps that the flags describe.

    Raises:
        FileNotFoundError, ValueError: there is no such schedule, it has fewer steps, or the sampler
            is not defined on it.
    """
    match config.spacing:
        case "t":
            # Karras' levels depend on their number; of the others those of a fine schedule are
            # taken, as they always were.
            found = fine_schedule(config, steps)
            if steps > found.num_steps:
                raise ValueError(
                    f"--steps {steps}, but {config.schedule} has {found.num_steps}; give no more"
                )
            if config.sampler == "euler_log_snr" and found.alpha[-1] == 0:
                raise ValueError(
                    "--spacing t starts at alpha = 0, where euler_log_snr is not defined; give "
                    "--spacing log_snr or karras, or a --schedule that keeps a signal"
                )
            return uniform_t_grid(found, steps)
        case "log_snr":
            return uniform_log_snr_grid(steps, config.q_max, config.q_min)
    return karras_grid(steps, config.q_max, config.q_min)


def fine_schedule(flags: ScheduleFlags, edm_steps: int = SCHEDULE_STEPS) -> TeacherSchedule:
    """The schedule from which --spacing t takes its levels.

    Args:
        edm_steps: T of the schedule edm, whose levels depend on it.

    Raises:
        FileNotFoundError, ValueError: there is no such schedule.
    """
    fine = SCHEDULE_STEPS if flags.schedule in SCHEDULES else None
    return choose_schedule(flags, edm_steps if flags.schedule == "edm" else fine)


def walk_start(config: Config, model: NoiseEstimator, grid: TimeGrid) -> Start:
    """Where the walk along a grid starts.

    The spacings log_snr and karras start where the signal is small, and take unit noise for x_T.
    """
    return from_noised_gaussian(model, grid) if config.spacing == "t" else from_noise


def make_update(config: WalkConfig) -> Update:
    """The sampler that the flags describe."""
    if config.sampler != "ddim" or config.eta == 0:
        return SAMPLERS[config.sampler]
    return partial(ddim, eta=config.eta)


def sample_latents(
    update: Update,
    models: Models,
    grid: TimeGrid,
    seeds: Sequence[int],
    start: Start | None = None,
) -> Tensor:
    """One sample per seed, (len(seeds), d), on the CPU. The batch size changes no result.

    Args:
        start: Without it the walk starts at the noise itself.
    """
    found = []
    for first in range(0, len(seeds), BATCH):
        drawn = walk_noise(seeds[first : first + BATCH], grid.num_steps, len(models.estimator.mean))
        found.append(_walk(update, models, grid, *drawn, start or from_noise))
    return torch.cat(found)


def _walk(
    update: Update, models: Models, grid: TimeGrid, x_start: Tensor, noise: Tensor, start: Start
) -> Tensor:
    """The latents that initial noise (B, d) and the steps' noise (steps, B, d) lead to, (B, d)."""
    x_start, noise = x_start.to(models.device), noise.to(models.device)
    return sample(update, models.estimator.denoise, grid, start(x_start), noise).cpu()


def _latents_between(
    ends: tuple[int, int], config: SampleConfig, models: Models, grid: TimeGrid, start: Start
) -> Tensor:
    """Latents of noise on the arc between the noises ``ends`` of the bank, (count, d)."""
    seeds = [bank_seeds(config.seed, 1, number)[0] for number in ends]
    _, x_start, noise = arc_noise(seeds, config.count, grid.num_steps, len(models.estimator.mean))
    update = make_update(config)
    parts = zip(x_start.split(BATCH), noise.split(BATCH, dim=1), strict=True)
    return torch.cat([_walk(update, models, grid, *part, start) for part in parts])


def from_noise(z: Tensor) -> Tensor:
    """The start at the noise itself."""
    return z


def from_noised_gaussian(model: NoiseEstimator, grid: TimeGrid) -> Start:
    """The start at the Gaussian of the latents, noised to the first level of a grid.

        x_T = alpha_T mu + U diag(sqrt(n_T)) U^T z,  n_T = alpha_T**2 lam + sigma_T**2

    At alpha_T = 0 that is z itself.
    """
    alpha, sigma = float(grid.alpha[0]), float(grid.sigma[0])
    if alpha == 0:
        return from_noise
    deviations = (alpha**2 * model.variances + sigma**2).sqrt()

    def start(z: Tensor) -> Tensor:
        return alpha * model.mean + ((z @ model.basis) * deviations) @ model.basis.T

    return start


@torch.no_grad()
def decode(vae: VAE, latents: Tensor) -> Tensor:
    """Images (N, 3, 64, 64) in [0, 1], on the CPU."""
    device = next(vae.parameters()).device
    return torch.cat([vae.decode(batch.to(device)).cpu() for batch in latents.split(BATCH)])


def _direction(name: str, path: Path, models: Models) -> Tensor:
    """The direction of an attribute, (d,)."""
    found = load_directions(path)
    if found.vae_sha256 != models.inputs["vae"]:
        raise ValueError(
            f"{path}: directions among the latents of another VAE; encode again with this one: "
            "mergelab encode_latents --attributes"
        )
    return found.of(name, path)


def refuse_other_files(folder: Path, count: int) -> None:
    """Refuse a folder for single images that holds files which ``write_pngs`` would leave.

    Raises:
        ValueError: it is a file, or holds something else, which a reader would take for a face.
    """
    if not folder.exists():
        return
    ours = {png_name(number) for number in range(count)}
    found = [(path.name, unfinished_name(path)) for path in folder.iterdir()]
    others = sorted(name for name, unfinished in found if not ours & {name, unfinished})
    if others:
        raise ValueError(
            f"--png {folder}: holds {others[0]}, which is none of these faces; give a new folder"
        )


def png_name(number: int) -> str:
    """File name of a single image."""
    return f"{number:06d}.png"


def write_pngs(folder: Path, images: Tensor) -> None:
    """Write images (N, 3, H, W) in [0, 1] as single files, each completely or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if unfinished_name(path):  # of a run that was killed
            path.unlink()
    for number, pixels in enumerate(to_uint8(images).numpy()):
        image = Image.fromarray(pixels)
        write_atomically(folder / png_name(number), partial(image.save, format="PNG"))


def _latents_of_bank(config: SampleConfig, models: Models, grid: TimeGrid, start: Start) -> Tensor:
    """Latents of the first noises of the bank, (count, d)."""
    update, seeds = make_update(config), bank_seeds(config.seed, config.count)
    found = []
    with tqdm(total=config.count, unit="face", desc="sample") as bar:
        for first in range(0, config.count, BATCH):
            some = seeds[first : first + BATCH]
            found.append(sample_latents(update, models, grid, some, start))
            bar.update(len(found[-1]))
    return torch.cat(found)


def refuse_former_comparison(out: Path) -> None:
    """Refuse the run folder of a comparison of samplers by version 0.1.0.

    Raises:
        OSError, ValueError: the folder is one, or its record cannot be read.
    """
    if (out / CONFIG).exists() and read_run(out)["config"].get("compare"):
        raise ValueError(
            f"{out}: was written by an older `sample_faces --compare`, which no command of this "
            "version resumes; give another --out"
        )


def sample_faces(config: SampleConfig) -> Tensor:
    """Draw faces into ``samples.safetensors``; returns the images, (N, 3, S, S) in [0, 1].

    N is ``count``, times the ``STRENGTHS`` of an attribute if one is given.

    Raises:
        FileNotFoundError, ValueError: models, grid or run folder are not usable.
    """
    refuse_former_comparison(config.out)
    models = load_models(config.estimator, config.vae, config.device)
    grid = make_time_grid(config, config.steps)
    refuse_untrained_levels(models.trained, grid)
    inputs = models.inputs | schedule_fingerprint(config)
    start = walk_start(config, models.estimator, grid)
    if config.fid is not None:
        others = load_images(config.fid, image_size=models.vae.image_size)
        inputs["fid"] = others.fingerprint
    direction = None
    if config.attribute is not None and config.attributes is not None:
        direction = _direction(config.attribute, directions_path(config.attributes), models)
        inputs["attributes"] = sha256(directions_path(config.attributes))
    if config.png is not None:
        refuse_other_files(config.png, config.count * (1 if direction is None else len(STRENGTHS)))
    open_run(config.out, "sample_faces", config, inputs, str(models.device))
    if config.interpolate is None:
        latents = _latents_of_bank(config, models, grid, start)
    else:
        latents = _latents_between(config.interpolate, config, models, grid, start)
    if direction is not None:
        strengths = torch.tensor(STRENGTHS)[:, None]
        latents = (latents[:, None] + strengths * direction).flatten(0, 1)  # face by face
    images = decode(models.vae, latents)
    if config.png is not None:
        write_pngs(config.png, images)
    tensors = {"latents": latents, "images": to_uint8(images)}
    metadata = {"kind": SAMPLES_KIND, "vae_sha256": models.inputs["vae"]}
    write_tensors(config.out / SAMPLES_FILE, tensors, metadata)
    if config.fid is not None:
        distance = fid(tensors["images"], torch.from_numpy(others.images))
        counts = {"faces": len(images), "images": len(others.images)}
        write_json(config.out / FID_FILE, {"fid": distance} | counts)
    return images
