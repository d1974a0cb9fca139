"""Damaged files, and what a reader may make of them: a value, or one line that says it all."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from safetensors.torch import load, save
from torch import Tensor

T = TypeVar("T")
UTF8_BOM = b"\xef\xbb\xbf"
# The same examples at every run; the functions' own temporary folders are overwritten by each.
READER = settings(
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD_NUMBERS = [0, -1, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")]
ODD_VALUES = st.one_of(
    st.sampled_from([None, True, "", "1", "../x", "\0", [], {}, [[]], [1], {"a": 1}]),
    st.sampled_from(ODD_NUMBERS),
)


def outcome(read: Callable[[Path], T], path: Path) -> T | None:
    """What ``read`` makes of a file: its value, or None once the refusal is seen to be in order.

    Anything but ``OSError`` and ``ValueError`` goes through, and fails the test.
    """
    try:
        return read(path)
    except (OSError, ValueError) as error:
        text = str(error)
        assert text.startswith(str(path)), text  # or a file in this folder
        assert len(text.splitlines()) == 1, text
        assert len(text) < 800 + len(str(path)), text
        assert ";" in text, f"no mend: {text}"
        return None


@st.composite
def damaged(draw: DrawFn, whole: bytes) -> bytes:
    """Bytes cut off, changed, dropped, added, repeated, or something else altogether."""
    place = draw(st.integers(0, max(len(whole) - 1, 0)))
    length = draw(st.integers(0, 20))
    other = draw(st.binary(max_size=20))
    start, end = whole[:place], whole[place:]
    ways: list[Callable[[], bytes]] = [
        lambda: start,
        lambda: start + other + end[len(other) :],
        lambda: start + other + end,
        lambda: start + end[length:],
        lambda: start + end[:length] + end,
        lambda: start + bytes([end[0] ^ 1 << length % 8]) + end[1:] if end else b"",
        lambda: UTF8_BOM + whole,
        lambda: whole.replace(b"\n", b"\r\n"),
        lambda: whole.replace(b"\n", b"\r"),
        lambda: whole.replace(b"\n", b""),
        lambda: whole + whole,
        lambda: whole + b"\0" * length,
        lambda: other,
        lambda: b"[" * 100_000,
        lambda: b'{"a":' * 100_000,
        lambda: whole.decode("utf-8", "replace").encode("utf-16"),
    ]
    return draw(st.sampled_from(ways))()


@st.composite
def spoilt(draw: DrawFn, value: object) -> object:
    """A JSON value with one of its parts dropped, repeated, or replaced by another value."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        name = draw(st.sampled_from(sorted(value)))
        rest = {key: inner for key, inner in value.items() if key != name}
        match draw(st.integers(0, 9)):
            case 0:
                return rest
            case 1:
                return rest | {name + draw(st.sampled_from(["x", "/", "\0", "/../x"])): value[name]}
        return rest | {name: draw(spoilt(value[name]))}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        i = draw(st.integers(0, len(value) - 1))
        match draw(st.integers(0, 9)):
            case 0:
                return value[:i] + value[i + 1 :]
            case 1:
                return [*value[:i], value[i], *value[i:]]
        return [*value[:i], draw(spoilt(value[i])), *value[i + 1 :]]
    return draw(ODD_VALUES)


def spoilt_json(value: object) -> SearchStrategy[bytes]:
    """A file of it, with numbers that JSON does not know but Python writes."""
    return spoilt(value).map(lambda found: json.dumps(found).encode())


@st.composite
def spoilt_table(draw: DrawFn, whole: bytes) -> bytes:
    """A CSV file with a field, a row or a column dropped, repeated, moved or replaced."""
    rows = [line.split(",") for line in whole.decode().splitlines()]
    i, j = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(rows[0]) - 1))
    match draw(st.integers(0, 5)):
        case 0:
            rows.insert(draw(st.integers(0, len(rows))), rows[i])
        case 1:
            del rows[i]
        case 2:
            rows = [[*row[:j], row[j], *row[j:]] for row in rows]
        case 3:
            rows = [row[:j] + row[j + 1 :] for row in rows]
        case 4:
            rows = [row[j:] + row[:j] for row in rows]
        case 5:
            values = ["", "x", "nan", "inf", "-1", "1e999", "9" * 5_000, '"', "\0", "a" * 200_000]
            rows[i][j] = draw(st.sampled_from(values))
    return "\n".join(map(",".join, rows)).encode()


DTYPES = [
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    *(torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn),
]
ODD_FACTS = ["", "x", "-1", "0", "1", "1.5", "nan", "10000000", "9" * 18, "9" * 5_000, "[[", "²"]
ODD_ENTRIES = [float("nan"), float("inf"), -1.0, 0.0, 1e30, 300.0]


@st.composite
def spoilt_tensors(draw: DrawFn, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with one of them missing, renamed, of another type or shape, or with odd values."""
    name = draw(st.sampled_from(sorted(whole)))
    rest = {key: tensor for key, tensor in whole.items() if key != name}
    tensor = whole[name]
    shape = tensor.shape
    match draw(st.integers(0, 5)):
        case 0:
            return rest
        case 1:
            return rest | {f"{name}.more": tensor}
        case 2:
            return rest | {name: tensor.to(draw(st.sampled_from(DTYPES)))}
        case 3:
            shapes = [(0, *shape), (1, *shape), (), (0,), (shape.numel(),), (10**6, 10**6, 0)]
            other = draw(st.sampled_from([s for s in shapes if s]))
            return rest | {name: torch.ones(other, dtype=tensor.dtype)}
        case 4:
            return rest | {name: tensor.flatten()[: tensor.numel() // 2]}
    changed = tensor.clone().flatten()
    if len(changed):
        place = draw(st.integers(0, len(changed) - 1))
        value = draw(st.sampled_from(ODD_ENTRIES))
        if tensor.is_floating_point():
            changed[place] = value
        elif abs(value) < 1_000:
            changed[place] = int(value) % 256 if tensor.dtype == torch.uint8 else int(value)
    return rest | {name: changed.reshape(shape)}


@st.composite
def spoilt_facts(draw: DrawFn, whole: Mapping[str, str]) -> dict[str, str]:
    """Metadata with one entry missing or replaced."""
    name = draw(st.sampled_from(sorted(whole)))
    rest = {key: value for key, value in whole.items() if key != name}
    if draw(st.booleans()):
        return rest
    return rest | {name: draw(st.sampled_from(ODD_FACTS) | st.text(max_size=10))}


@st.composite
def spoilt_safetensors(draw: DrawFn, whole: bytes) -> bytes:
    """A safetensors file with odd tensors, odd metadata, an odd header, or damaged bytes."""
    how = draw(st.integers(0, 3))
    if how == 0:
        # The header is where damage is seen; most of the file is numbers.
        start = 8 + int.from_bytes(whole[:8], "little")
        return draw(damaged(whole) | damaged(whole[:start]).map(lambda head: head + whole[start:]))
    if how == 1:
        start = 8 + int.from_bytes(whole[:8], "little")
        header = draw(spoilt_json(json.loads(whole[8:start])))
        return len(header).to_bytes(8, "little") + header + whole[start:]
    tensors = load(whole)
    facts = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    if how == 2:
        return save(draw(spoilt_tensors(tensors)), facts)
    return save(tensors, draw(spoilt_facts(facts)))


@st.composite
def spoilt_state(draw: DrawFn, value: object) -> object:
    """The content of a checkpoint with one of its parts missing, replaced or odd."""
    if isinstance(value, Tensor):
        name = "it"
        return draw(spoilt_tensors({name: value})).get(name, draw(ODD_VALUES))
    if not isinstance(value, Mapping) or not value or draw(st.integers(0, 9)) == 0:
        return draw(ODD_VALUES)
    name = draw(st.sampled_from(list(value)))
    rest = {key: inner for key, inner in value.items() if key != name}
    if draw(st.integers(0, 4)) == 0:
        return rest
    return rest | {name: draw(spoilt_state(value[name]))}
