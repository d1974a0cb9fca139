"""The schedule that the flags --schedule and --zero-snr ask for, the same in every command."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from diffusion.schedule import (
    NoiseSchedule,
    TeacherSchedule,
    cosine_schedule,
    edm_schedule,
    flow_schedule,
    linear_beta_schedule,
    scaled_linear_schedule,
    subsampled,
    zero_terminal_snr,
)
from diffusion.schedule_file import read_schedule
from experiment.folder import ADDED_LATER
from experiment.write import sha256

SCHEDULES: dict[str, Callable[[int], TeacherSchedule]] = {
    "cosine": cosine_schedule,
    "linear_beta": linear_beta_schedule,
    "scaled_linear": lambda num_steps: scaled_linear_schedule(),
    "edm": edm_schedule,
    "flow": flow_schedule,
}
"""Name -> T -> the schedule. scaled_linear has 1000 training steps whatever T is."""


@dataclass(frozen=True, kw_only=True)
class ScheduleFlags:
    """Flags of the commands that have a noise schedule."""

    schedule: str = field(default="cosine", metadata=ADDED_LATER)
    """Noise schedule: cosine, linear_beta, scaled_linear (Stable Diffusion's), edm (Karras' sigmas
    from 80 to 0.002), flow (flow matching), or a JSON, CSV, .npy, .npz or .safetensors file of
    betas, alphas_cumprod, sigmas (x = x_0 + sigma eps), or alpha and sigma. scaled_linear has 1000
    steps. From a schedule with more than T steps, T equally spaced ones are taken, the noisiest
    included."""
    zero_snr: bool = field(default=False, metadata=ADDED_LATER)
    """Rescale the schedule so that alpha_T = 0: it then ends in pure noise."""


def find_schedule(name: str, num_steps: int) -> TeacherSchedule:
    """The training schedule called ``name``, or the one in the file ``name``.

    Args:
        num_steps: T, where the schedule has no number of training steps of its own.

    Raises:
        FileNotFoundError: ``name`` is not in ``SCHEDULES``, and there is no such file.
        ValueError: the file holds no schedule.
    """
    if name in SCHEDULES:
        return SCHEDULES[name](num_steps)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(
            f"--schedule {path}: no such file, and none of {', '.join(SCHEDULES)}"
        )
    return read_schedule(path)


def choose_schedule(
    flags: ScheduleFlags, num_steps: int | None, flag: str = "--num-steps"
) -> TeacherSchedule:
    """The schedule of T = ``num_steps`` steps that the flags describe.

    --zero-snr rescales the training schedule, of which T steps are then taken.

    Args:
        num_steps: T; None takes all steps of the file.
        flag: What gives T.

    Raises:
        FileNotFoundError: there is no such schedule.
        ValueError: the file holds no schedule, or the schedule has fewer than T steps.
    """
    found = find_schedule(flags.schedule, num_steps or 1)
    return taken(found, num_steps, flags.zero_snr, flags.schedule, flag)


def taken(
    schedule: TeacherSchedule,
    num_steps: int | None,
    zero_snr: bool,
    called: str,
    flag: str = "--num-steps",
) -> TeacherSchedule:
    """T = ``num_steps`` steps of a training schedule, which is rescaled first if asked for.

    Args:
        num_steps: T; None takes all steps.
        called: What the user calls the schedule.
        flag: What gives T.

    Raises:
        ValueError: the schedule has fewer than T steps.
    """
    found = zero_terminal_snr(schedule) if zero_snr else schedule
    if num_steps is None or num_steps == found.num_steps:
        return found
    if num_steps > found.num_steps:
        raise ValueError(f"{flag} {num_steps}, but {called} has {found.num_steps}; give no more")
    return subsampled(found, num_steps)


def choose_noise_schedule(
    flags: ScheduleFlags, num_steps: int | None, flag: str = "--num-steps"
) -> NoiseSchedule:
    """The same for commands that start from unit noise; the schedule must end in pure noise.

    Raises:
        FileNotFoundError: there is no such schedule.
        ValueError: as ``choose_schedule``, or a signal is left at t = T.
    """
    found = choose_schedule(flags, num_steps, flag)
    if found.alpha[-1] > 0:
        raise ValueError(
            f"--schedule {flags.schedule} keeps the signal alpha_T = {found.alpha[-1]:.3g} at "
            f"t = T, but this command starts from pure noise; give --zero-snr, which rescales the "
            "schedule"
        )
    return NoiseSchedule(found.alpha, found.sigma, found.name)


def schedule_fingerprint(flags: ScheduleFlags) -> dict[str, str]:
    """The schedule's file among the inputs of a run: its SHA-256, or nothing for a name."""
    return {} if flags.schedule in SCHEDULES else {"schedule": sha256(Path(flags.schedule))}
