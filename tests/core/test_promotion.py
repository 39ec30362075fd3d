"""Python numbers and dtypes: what fits, and the names of dtypes in messages."""

import math

import pytest

import taper as torch
from taper.core.promotion import cpp_type_name, fitting_number

ONE = torch.tensor([0])


@pytest.mark.parametrize(
    ("name", "text"),
    [("float32", "float"), ("int64", "long int"), ("uint8", "unsigned char"), ("bool", "bool"),
     ("bfloat16", "c10::BFloat16"), ("complex64", "c10::complex<float>"),
     ("uint16", "short unsigned int"), ("float8_e4m3fn", "c10::Float8_e4m3fn")],
)  # fmt: skip
def test_cpp_type_name(name, text):
    assert cpp_type_name(getattr(torch, name)) == text


@pytest.mark.parametrize(
    ("value", "dtype", "held"),
    [(255, torch.uint8, 255), (-1, torch.uint8, -1), (1.9, torch.int8, 1), (2 + 0j, torch.int8, 2),
     (2j, torch.bool, True), (65504, torch.float16, 65504), (math.inf, torch.float16, math.inf),
     (2j, torch.complex64, 2j)],
)  # fmt: skip
def test_numbers_that_fit(value, dtype, held):
    assert fitting_number(value, dtype) == held


@pytest.mark.parametrize(
    ("value", "dtype", "name"),
    [(256, torch.uint8, "uint8_t"), (-1.5, torch.uint8, "uint8_t"), (2**31, torch.int32, "int"),
     (math.nan, torch.int64, "int64_t"), (65505, torch.float16, "c10::Half"),
     (1e300, torch.float32, "float"), (1 + 1j, torch.float64, "double")],
)  # fmt: skip
def test_numbers_that_do_not_fit(value, dtype, name):
    words = f"value cannot be converted to type {name} without overflow"
    with pytest.raises(RuntimeError, match=words.replace("(", ".")):
        fitting_number(value, dtype)


@pytest.mark.parametrize(
    "write",
    [lambda x: x.fill_(2**40), lambda x: x.masked_fill(ONE == 0, 2**40),
     lambda x: x.scatter(0, ONE, 2**40), lambda x: x.index_fill(0, ONE, 2**40),
     lambda x: x.__setitem__(0, 2**40), lambda x: torch.full((1,), 2**40, dtype=x.dtype),
     lambda x: torch.full_like(x, 2**40), lambda x: x.clamp(2**40),
     lambda x: torch.where(ONE == 0, x, 2**40)],
)  # fmt: skip
def test_operators_refuse_what_does_not_fit(write):
    with pytest.raises(RuntimeError, match="type int8_t without overflow"):
        write(torch.zeros(1, dtype=torch.int8))


def test_a_number_beyond_64_bits():
    with pytest.raises(OverflowError, match="int too big to convert"):
        torch.zeros(1).fill_(2**64)
