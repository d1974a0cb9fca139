"""What does the short spin of waiting threads cost an idle machine, and save a busy one?

Gradient steps of the noise estimator's size, with one thread and with one thread per core. Threads
wait as PyTorch's OpenMP does by default, or with the short spin of the commands
(``experiment/threads.py``). The busy machine has one more process per core, which computes without
end. Every variant runs in its own process, and the variants take turns.

    python -m benchmarks.bench_threads
"""

import os
import statistics
import subprocess
import sys
from contextlib import ExitStack

from experiment.threads import SHORT_SPIN, SPIN_COUNT

ROUNDS = 7
SECONDS = 1.5
UPDATES = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
layers = [torch.nn.Sequential(torch.nn.Linear(384, 384), torch.nn.SiLU()) for _ in range(6)]
model, x = torch.nn.Sequential(*layers), torch.randn(512, 384)
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
done, started = 0, time.perf_counter()
while (elapsed := time.perf_counter() - started) < float(sys.argv[2]) or done < 3:
    loss = model(x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    done += 1
print(1e3 * elapsed / done)
"""
ENDLESS = "while True: pass"
WAITING: dict[str, dict[str, str]] = {
    "default": {},
    "short spin": {SPIN_COUNT: SHORT_SPIN},
}


def update_milliseconds(threads: int, waiting: str) -> float:
    """Mean time of an update, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", UPDATES, str(threads), str(SECONDS)],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)} | WAITING[waiting],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    """Print the median time of every variant, on an idle and on a busy machine."""
    cores = os.cpu_count() or 1
    variants = [(1, "default"), (cores, "default"), (cores, "short spin")]
    for load in (0, cores):
        with ExitStack() as stack:
            for _ in range(load):
                busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", ENDLESS]))
                stack.callback(busy.kill)
            found: dict[tuple[int, str], list[float]] = {variant: [] for variant in variants}
            for _ in range(ROUNDS):
                for variant in variants:
                    found[variant].append(update_milliseconds(*variant))
        medians = {variant: statistics.median(times) for variant, times in found.items()}
        for (threads, waiting), median in medians.items():
            ratio = median / medians[cores, "short spin"]
            print(
                f"{load} other processes, {threads} threads, {waiting:10} {median:8.1f} ms "
                f"per step, ratio to the short spin {ratio:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
