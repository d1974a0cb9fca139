"""Weights and optimizer state from a file, held against the network that they are for."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from reading.files import field, shown

_VARIANCES = {"running_var", "variances", "spread"}  # buffers whose root is taken


def check_weights(found: object, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Refuse a state dict that is not one of the network whose own is ``expected``.

    Args:
        expected: On any device, "meta" too: names, shapes and types are what counts.

    Returns:
        ``found``, of the types that the network has.

    Raises:
        ValueError: with the first name that is missing, unknown, of another shape or type, or
            holds a value that is not finite.
    """
    if not isinstance(found, Mapping):
        raise ValueError(f"{shown(found)} is no set of weights")
    for name in [*expected, *found]:
        if name not in found or name not in expected:
            where = "lacks" if name in expected else "has an unknown"
            raise ValueError(f"does not fit the network: {where} {shown(name)}")
    return {name: _fitted(name, found[name], tensor) for name, tensor in expected.items()}


def _fitted(name: str, found: object, expected: Tensor) -> Tensor:
    if not isinstance(found, Tensor) or found.layout != torch.strided or found.is_meta:
        raise ValueError(f"{name} is no tensor with values")
    if found.shape != expected.shape or found.is_floating_point() != expected.is_floating_point():
        raise ValueError(
            f"does not fit the network: {name} is {found.dtype} of shape {tuple(found.shape)}, "
            f"must be {expected.dtype} of {tuple(expected.shape)}"
        )
    if found.is_complex() or found.is_quantized:
        raise ValueError(f"{name} is {found.dtype}")
    fitted = found.to(expected.dtype)
    if not fitted.isfinite().all():
        raise ValueError(f"{name} must have finite values")
    if name.rpartition(".")[2] in _VARIANCES and (fitted < 0).any():
        raise ValueError(f"{name} must be at least 0")
    return fitted


def check_adam(found: object, parameters: Sequence[Tensor]) -> dict[str, object]:
    """Refuse a state dict that is not one of Adam or AdamW for these parameters.

    Returns:
        Its "state" alone, of the types that the parameters have.

    Raises:
        ValueError: what is wrong.
    """
    state = field(found, "state", dict)
    if state and set(state) != set(range(len(parameters))):
        raise ValueError(f"an optimizer of {len(state)} parameters, this one has {len(parameters)}")
    checked = {}
    for i in state:
        expected = dict.fromkeys(("exp_avg", "exp_avg_sq"), parameters[i])
        expected["step"] = torch.empty((), device="meta")
        try:
            checked[i] = check_weights(state[i], expected)
        except ValueError as error:
            raise ValueError(f"optimizer, parameter {i}: {error}") from error
        if (checked[i]["exp_avg_sq"] < 0).any():
            raise ValueError(f"optimizer, parameter {i}: exp_avg_sq must be at least 0")
    return {"state": checked}


def restore_optimizer(optimizer: torch.optim.Optimizer, checked: Mapping[str, object]) -> None:
    """Give an optimizer a state that was read, in place; its settings stay, which flags decide."""
    settings = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": checked["state"], "param_groups": settings})
