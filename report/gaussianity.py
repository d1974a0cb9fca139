"""How well the assumption of planning holds for latents, in words."""

from diffusion.gaussianity import (
    FEWEST_ROWS,
    LARGE_KURTOSIS,
    LARGE_SKEWNESS,
    MOST_NON_NORMAL,
    MOST_OFF_DIAGONAL,
    Gaussianity,
)


def assumption_text(found: Gaussianity) -> str:
    """Whether the latents are what planning assumes, and what is known to be different."""
    parts = [_verdict(found), _correlation(found), _shape(found), *_sampling(found)]
    return " ".join(parts)


def _verdict(found: Gaussianity) -> str:
    assumed = "Planning assumes independent Gaussian coordinates"
    if found.holds:
        known = "" if found.non_normal is not None else ", as far as moments tell"
        return f"{assumed}, and these latents are near to that{known}."
    if found.count < FEWEST_ROWS:
        return f"{assumed}, and {found.count:,} latents are too few to tell."
    if not (found.is_diagonal and found.is_normal):
        return (
            f"{assumed}, which these latents do not have: take the recommendation and all "
            "predictions with caution."
        )
    return f"{assumed}, which these latents have only after a rotation."


def _correlation(found: Gaussianity) -> str:
    share = (
        f"Without sampling noise, {found.off_diagonal:.1%} of the covariance's energy is off its "
        "diagonal"
    )
    if found.rank is None:
        limit = "more" if found.off_diagonal > MOST_OFF_DIAGONAL else "not more"
        return f"{share}, {limit} than the {MOST_OFF_DIAGONAL:.0%} that count as correlated."
    where = (
        "the eigenbasis of the covariance, where nothing is off the diagonal"
        if found.rank == found.width
        else f"{found.rank} principal directions and a diagonal, where {found.left:.1%} remains"
    )
    return f"{share}, so plans are made in {where}; samples are rotated back."


def _shape(found: Gaussianity) -> str:
    if found.non_normal is None:
        return (
            "Only moments are known, so it is not known whether the coordinates are normal; "
            "mergelab compare_operators measures it with a trained noise estimator."
        )
    far = f"|skewness| > {LARGE_SKEWNESS:g} or |excess kurtosis| > {LARGE_KURTOSIS:g}"
    text = f"{found.non_normal:.1%} of the planned coordinates are far from normal ({far}), "
    if found.is_normal:
        return f"{text}not more than the {MOST_NON_NORMAL:.0%} that count as far from Gaussian."
    return f"{text}more than {MOST_NON_NORMAL:.0%}, and no rotation mends that."


def _sampling(found: Gaussianity) -> list[str]:
    texts = []
    if found.count < FEWEST_ROWS:
        error = (2.0 / found.count) ** 0.5
        texts.append(
            f"Only {found.count:,} latents were given, so variances are uncertain by about "
            f"{error:.0%}."
        )
    if found.count < found.width:
        texts.append(
            f"There are fewer latents than coordinates ({found.count:,} < {found.width:,}), so the "
            f"covariance has a rank below {found.count:,}"
            + (
                f" and {found.constant:,} planned coordinates have no variance."
                if found.constant
                else "."
            )
        )
    elif found.constant:
        texts.append(f"{found.constant:,} planned coordinates never vary.")
    if found.rank is not None and found.count < 10 * found.width:
        # Marchenko & Pastur 1967.
        ratio = (found.width / found.count) ** 0.5
        low, high = max(0.0, 1.0 - ratio) ** 2, (1.0 + ratio) ** 2
        texts.append(
            f"With {found.count:,} latents for {found.width:,} coordinates, sampling alone spreads "
            f"equal variances along the axes of the eigenbasis from {low:.2g} to {high:.2g} times "
            "their size."
        )
    return texts
