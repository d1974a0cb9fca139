"""Readers of checkpoints: a state that is damaged, foreign or of another network is told."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sampling import train_noise_estimator as job
from sampling.config import TrainConfig
from sampling.estimator_file import ESTIMATOR_FILE, load_estimator
from sampling.train_noise_estimator import train_noise_estimator
from tests.conftest import make_model_run
from tests.damage import READER, damaged, outcome, spoilt_state
from vae.checkpoint import FOLDER, TrainingState, load_state, save_state
from vae.latents import LATENTS_FILE, load_latents, save_latents
from vae.model import VAE

SIZE = 32


@pytest.fixture(scope="module")
def vae_state(tmp_path_factory):
    """A state after one step, as it was kept in memory and as the bytes of its file."""
    torch.manual_seed(0)
    model = VAE(SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.rand(2, 3, SIZE, SIZE), torch.zeros(2, 128))[0].sum().backward()
    optimizer.step()
    losses = torch.rand(3, 4)
    state = TrainingState(2, losses, 0.5, model.state_dict(), optimizer.state_dict())
    run = tmp_path_factory.mktemp("run")
    save_state(run, 5, state, SIZE, keep=1)
    (path,) = (run / FOLDER).iterdir()
    return state, path


def in_folder(tmp_path, content: bytes) -> Path:
    path = tmp_path / FOLDER / "step_000000005.pt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def read_state(path):
    return load_state(path.parents[1], SIZE)


def bytes_of(content) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def state_is_whole(state):
    model = VAE(SIZE)
    model.load_state_dict(state.model)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert state.losses.shape[1:] == (4,)
    assert state.epoch >= 0


def test_a_state_is_read_as_written(vae_state):
    state, path = vae_state
    found = read_state(path)
    assert (found.epoch, found.best_ms_ssim) == (state.epoch, state.best_ms_ssim)
    assert torch.equal(found.losses, state.losses)
    for name, tensor in state.model.items():
        assert torch.equal(found.model[name], tensor)
    for i, moments in state.optimizer["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(found.optimizer["state"][i][name], tensor)


@settings(READER, max_examples=10)
@given(data=st.data())
def test_damaged_bytes_of_a_state_are_told_or_harmless(vae_state, tmp_path, data):
    content = data.draw(damaged(vae_state[1].read_bytes()))
    found = outcome(read_state, in_folder(tmp_path, content))
    if found is not None:
        state_is_whole(found)


@settings(READER, max_examples=15)
@given(data=st.data())
def test_a_spoilt_state_is_told_or_harmless(vae_state, tmp_path, data):
    whole = torch.load(vae_state[1])
    content = bytes_of(data.draw(spoilt_state(whole)))
    found = outcome(read_state, in_folder(tmp_path, content))
    if found is not None:
        state_is_whole(found)


def test_a_state_of_another_size_is_told(vae_state, tmp_path):
    whole = torch.load(vae_state[1])
    other = whole | {"model": VAE(48).state_dict()}
    path = in_folder(tmp_path, bytes_of(other))
    with pytest.raises(ValueError, match=r"does not fit the network: .* remove it to"):
        read_state(path)


@pytest.fixture(scope="module")
def estimator_run(tmp_path_factory):
    """Config of a training that has four updates left, and the bytes of its files."""
    folder = tmp_path_factory.mktemp("training")
    latents = make_model_run(folder)[1]
    found = load_latents(latents)
    found.splits[400:] = 1
    save_latents(latents / LATENTS_FILE, found)
    config = TrainConfig(
        latents=latents,
        out=folder / "run",
        gradient_steps=8,
        batch_size=16,
        width=8,
        depth=1,
        device="cpu",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sampling.train.COUNT", 32)
        patch.setattr("sampling.train_noise_estimator.UPDATES_PER_SAVE", 4)
        updates = job.train_updates
        calls = iter([updates])
        patch.setattr("sampling.train_noise_estimator.train_updates", lambda *a: next(calls)(*a))
        with pytest.raises(StopIteration):
            train_noise_estimator(config)
        patch.setattr("sampling.train_noise_estimator.train_updates", updates)
        yield config, {path.name: path.read_bytes() for path in config.out.iterdir()}


def resume(config, files, name, content):
    """Go on with the run from these files but one, which holds something else."""
    shutil.rmtree(config.out, ignore_errors=True)
    config.out.mkdir()
    for own, whole in files.items():
        (config.out / own).write_bytes(content if own == name else whole)

    def go_on(path):
        try:
            train_noise_estimator(config)
        except FloatingPointError:  # of a weight that is wrong, but a number
            return None
        rows = [json.loads(row) for row in (path.parent / "metrics.jsonl").read_text().splitlines()]
        assert rows[-1]["update"] == config.gradient_steps
        return load_estimator(path.parent / ESTIMATOR_FILE)

    return outcome(go_on, config.out / name)


def test_weights_are_there_once_they_are_calibrated_and_not_before(estimator_run):
    config, files = estimator_run
    assert set(files) == {"config.json", "metrics.jsonl", "checkpoint.pt"}
    resume(config, files, "checkpoint.pt", files["checkpoint.pt"])
    model, trained = load_estimator(config.out / ESTIMATOR_FILE)
    assert trained.updates == config.gradient_steps
    assert not torch.equal(model.spread, model.variances)
    whole = (config.out / ESTIMATOR_FILE).read_bytes()

    (config.out / ESTIMATOR_FILE).unlink()
    with pytest.raises(
        FileNotFoundError, match="training in this folder has not ended; repeat its"
    ):
        load_estimator(config.out / ESTIMATOR_FILE)
    train_noise_estimator(config)
    assert (config.out / ESTIMATOR_FILE).read_bytes() == whole


@pytest.mark.parametrize(
    "content",
    [
        {"model": 1},
        [1, 2],
        torch.ones(3),
        {"updates_done": 4, "model": {}, "average": {}, "optimizer": {"state": {}}},
        {"updates_done": 9, "model": {}, "average": {}, "optimizer": {"state": {}}},
        VAE(32).state_dict(),
    ],
)
def test_a_foreign_checkpoint_is_told_with_the_mend(estimator_run, content):
    config, files = estimator_run
    assert resume(config, files, "checkpoint.pt", bytes_of(content)) is None
    with pytest.raises(ValueError, match=r"checkpoint\.pt: not a whole .* remove it to train from"):
        train_noise_estimator(config)


@settings(READER, max_examples=15)
@given(data=st.data())
def test_a_damaged_checkpoint_is_told_or_harmless(estimator_run, data):
    config, files = estimator_run
    whole = files["checkpoint.pt"]
    content = data.draw(damaged(whole) | spoilt_state(torch.load(io.BytesIO(whole))).map(bytes_of))
    resume(config, files, "checkpoint.pt", content)


@settings(READER, max_examples=8)
@given(data=st.data())
def test_damaged_metrics_are_told_or_harmless(estimator_run, data):
    config, files = estimator_run
    resume(config, files, "metrics.jsonl", data.draw(damaged(files["metrics.jsonl"])))


def test_a_row_that_was_cut_off_and_later_ones_are_dropped(estimator_run):
    config, files = estimator_run
    row = files["metrics.jsonl"]
    later = row.replace(b'"update": 4', b'"update": 8')
    resume(config, files, "metrics.jsonl", row + later + later[:9])
    lines = (config.out / "metrics.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["update"] for line in lines] == [4, 8]
    assert lines[0] == row.strip()
