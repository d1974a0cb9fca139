"""Names and colours of the samplers, the same in every figure."""

SAMPLER_LABELS = {
    "ddim": "DDIM",
    "euler_log_snr": "Euler, log-SNR",
    "dpmpp_2m": "DPM-Solver++ 2M",
    "dpm_2m": "DPM-Solver 2M (noise)",
    "ddpm_small": "DDPM, small variance",
    "ddpm_large": "DDPM, large variance",
    "euler_ancestral": "Euler ancestral",
}
# Okabe & Ito's palette, as for the strategies in report/style.py.
SAMPLER_COLOURS = {
    "ddim": "#0072B2",
    "euler_log_snr": "#E69F00",
    "dpmpp_2m": "#D55E00",
    "dpm_2m": "#CC79A7",
    "ddpm_small": "#009E73",
    "ddpm_large": "#56B4E9",
    "euler_ancestral": "#000000",
}
# Euler ancestral is DDPM with the small variance: its line must show beneath.
SAMPLER_DASHES = dict.fromkeys(SAMPLER_LABELS, "-") | {
    "dpm_2m": (0, (4, 1.5)),
    "euler_ancestral": (0, (1, 2)),
}
