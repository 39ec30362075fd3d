"""The words by which plans and machine code know each other. See planned_calls.py.

Note [the words of a plan]. A plan is one block of words. First come those of `Plan`, then records
of fixed length, to which they say where: for each argument (ARGUMENT words: what it must be, the
object or dtype, number of dimensions, and where its sizes and strides are), each result (RESULT
words: dtype, dimensions, where its sizes and its strides are, or -1 for C order, bytes), each piece
of scratch memory (its bytes), each launch (STEP words: kernel, units, units of a piece, helpers,
how many words its block has and where they are, how many of these are addresses and where it says
which and of what), and each part of what is returned (RETURN words). Arguments, results
and scratch memory are numbered in this order. Behind the records is what they point to.
"""

from __future__ import annotations

from string import Template

from taper.runtime.direct_call import DATA

__all__ = [
    "HASH", "MOST_WORDS", "SLOTS", "SLOT_SHIFT", "Environment", "Kind", "Plan", "Table",
    "with_numbers",
]

SLOT_SHIFT = 55
SLOTS = 1 << (64 - SLOT_SHIFT)  # plans of one function, found by the upper bits of a hash
HASH = 0x9E3779B97F4A7C15
MOST_WORDS = 120  # of an argument block


class Environment:
    """Words that all functions share, as indices."""

    (EPOCH, RUN, POOL, TAKE, GIVE, MEMORY, HANDLER, NDARRAY, NEW, RETAIN, RELEASE, CALL, SAVE,
     RESTORE, NEW_TUPLE, SET_ITEM, TO_INT, WORDS) = range(18)


class Table:
    """Words of one function; slots follow."""

    OTHERWISE, ENVIRONMENT, HITS, SLOT = range(4)


class Plan:
    """Words of a plan, the last of which are where records begin; and how long records are."""

    (PLAN_EPOCH, OWNER, ARGUMENTS, RESULTS, SCRATCHES, STEPS, RETURNED, RESULT_PLACE,
     SCRATCH_PLACE, STEP_PLACE, RETURN_PLACE, ARGUMENT_PLACE) = range(12)
    ARGUMENT, RESULT, STEP, RETURN = 4, 5, 8, 2


class Kind:
    """What an argument must be: this object, an array like that one, an argument once more."""

    AN_OBJECT, AN_ARRAY, AN_ARGUMENT = range(3)


# Offsets in NumPy's PyArrayObject, and some flags.
_ARRAY = {
    "DATA": DATA, "TYPE": DATA - 8, "NDIM": DATA + 8, "SIZES": DATA + 16, "STRIDES": DATA + 24,
    "DTYPE": DATA + 40, "FLAGS": DATA + 48, "HANDLER_OF_ARRAY": DATA + 72,
    "ALIGNED": 0x0100, "OWNS": 0x0004,
    "IN_ORDER": 0x0501,  # in C order, aligned, writeable
    "OWN_MEMORY": 1 << 15,  # bytes of a result; NumPy has smaller ones at hand
}


def with_numbers(source: str) -> str:
    """The text of a module, in which `$NAME` stands for a number of this file."""
    numbers = {
        key: number for scope in (Environment, Table, Plan, Kind)
        for key, number in vars(scope).items() if key.isupper()
    }
    return Template(source).substitute(
        numbers, **_ARRAY, HASH=HASH, MOST_WORDS=MOST_WORDS, SLOT_SHIFT=SLOT_SHIFT
    )
