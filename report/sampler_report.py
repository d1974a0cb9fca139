"""Every figure of the samplers' theory, and the table of claims."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from report.sampler_paths import draw_paths
from report.sampler_theory import claims_table, draw_local_kl, draw_marginals, draw_orders
from sampling.claims import Claim, claims
from vae.files import write_rows, write_text
from vae.run_folder import open_run


@dataclass(frozen=True)
class SamplerTheoryConfig:
    """Draw the samplers' theory: PNG and SVG, and the claims as CSV and Markdown."""

    out: Path
    """Run folder for the figures and tables."""


def draw_sampler_theory(config: SamplerTheoryConfig) -> Iterator[Path]:
    """Draw one figure after another; yields the files as they are written."""
    open_run(config.out, "plot_samplers", config, {}, "cpu")
    yield from draw_orders(config.out / "orders")
    yield from draw_local_kl(config.out / "local_kl")
    yield from draw_marginals(config.out / "marginals")
    yield from draw_paths(config.out / "paths")
    found = claims()
    write_rows(config.out / "claims.csv", found, Claim)
    write_text(config.out / "claims.md", claims_table(found))
    yield from (config.out / "claims.csv", config.out / "claims.md")
