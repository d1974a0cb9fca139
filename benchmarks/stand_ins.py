"""Lets the acceptance run import our packages where ``pytorch-msssim`` is not installed.

That package measures MS-SSIM for records. Our training loss computes the same number up to
rounding, which a test checks. So the loss replaces the package here, and only here: numbers that
are kept come from the package.
"""

import sys
from types import ModuleType

try:
    import pytorch_msssim  # noqa: F401
except ImportError:
    from vae.ms_ssim import ms_ssim

    stand_in = ModuleType("pytorch_msssim")
    stand_in.ms_ssim = lambda images, others, **_: ms_ssim(images, others)  # type: ignore[attr-defined]
    sys.modules["pytorch_msssim"] = stand_in
