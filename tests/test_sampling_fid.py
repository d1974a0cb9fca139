"""FID by torch-fidelity, offline: with random weights of Inception in place of the trained ones."""

from importlib.util import find_spec

import pytest
import torch

from sampling.config import SampleConfig
from sampling.fid import fid
from sampling.frechet import frechet_distance


def test_without_the_package_the_flag_is_refused_in_one_line(tmp_path):
    if find_spec("torch_fidelity") is None:
        with pytest.raises(ValueError, match=r"not installed here; pip install '\.\[fid\]'"):
            SampleConfig(out=tmp_path / "run", fid=tmp_path)
    else:
        assert SampleConfig(out=tmp_path / "run", fid=tmp_path).fid == tmp_path


def test_the_fid_is_the_frechet_distance_of_inceptions_features(tmp_path):
    inception = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Untrained(inception.FeatureExtractorInceptionV3):
        """Keeps the weights that it is built with, whatever its file says."""

        def load_state_dict(self, *_, **__):
            pass

    torch.manual_seed(0)
    torch.save({}, tmp_path / "none.pth")
    network = Untrained("ours", ["2048"], feature_extractor_weights_path=tmp_path / "none.pth")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    generator = torch.Generator().manual_seed(0)
    faces, images = torch.randint(0, 256, (2, 6, 32, 32, 3), generator=generator).byte()
    images[..., 0] //= 2

    found = fid(faces, images, tmp_path / "weights.pth")
    features = [network(part.permute(0, 3, 1, 2))[0] for part in (faces, images)]
    expected = frechet_distance(*features)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6 * expected)
    assert fid(faces, faces, tmp_path / "weights.pth") == pytest.approx(0.0, abs=1e-3 * expected)
