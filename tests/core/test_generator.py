"""The generator's stream, state bytes and errors, without PyTorch."""

import copy
import pickle

import numpy as np
import pytest

from taper.core.generator import DEFAULT_SEED, STATE_BYTES, Generator


def reference(seed, count):
    """MT19937's output as NumPy gives it."""
    bits = np.random.MT19937(0)
    bits._legacy_seeding(seed)
    return bits.random_raw(count).astype(np.uint32)


def test_first_outputs_of_the_published_generator():
    # The reference implementation's first output for its default seed.
    assert Generator().manual_seed(5489).draw(1).tolist() == [3499211612]


def test_any_split_gives_one_stream():
    g, expected, at = Generator().manual_seed(7), reference(7, 200000), 0
    for count in (1, 0, 622, 1, 3, 620, 624, 625, 5000, 100, 50000, 624, 9984, 17, 70000):
        assert np.array_equal(g.draw(count), expected[at : at + count])
        at += count


def test_draw64_puts_the_first_draw_high():
    first, second = (int(x) for x in reference(1, 2))
    assert Generator().manual_seed(1).draw64(1).tolist() == [first << 32 | second]


@pytest.mark.parametrize("count", [0, 1, 5, 623, 624, 625, 1248, 20000, 100003])
def test_state_round_trip(count):
    g = Generator().manual_seed(3)
    g.draw(count)
    g.next_normal = 0.25 if count % 2 else None
    state = g.state_bytes()
    assert state.dtype == np.uint8 and state.shape == (STATE_BYTES,)
    other = Generator().set_state(state)
    assert np.array_equal(other.state_bytes(), state)
    assert other.next_normal == g.next_normal and other.initial_seed() == 3
    assert np.array_equal(other.draw(5000), g.draw(5000))
    assert np.array_equal(g.state_bytes(), other.state_bytes())


def test_layout_of_the_state():
    state = Generator().manual_seed(5).state_bytes()
    assert state[:8].view("u8") == 5
    assert state[8:16].view("i4").tolist() == [1, 1]  # one left until the next block; seeded
    assert state[16:24].view("u8") == 0
    assert state[24:32].view("u8") == 5  # the first word of a seeded state is the seed
    g = Generator().manual_seed(5)
    g.draw(10)
    state = g.state_bytes()
    assert state[8:12].view("i4") == 615 and state[16:24].view("u8") == 10


def test_seeds():
    g = Generator()
    assert g.initial_seed() == DEFAULT_SEED == 67280421310721
    assert g.manual_seed(-1) is g and g.initial_seed() == 2**64 - 1
    assert g.manual_seed(-(2**63)).initial_seed() == 2**63
    assert g.manual_seed(np.int64(4)).initial_seed() == 4
    for seed in (2**64, -(2**63) - 1):
        with pytest.raises(ValueError, match="Overflow when unpacking long long"):
            g.manual_seed(seed)
    for seed in ("a", 1.5, None, True):
        with pytest.raises(RuntimeError, match="manual_seed expected a long, but got"):
            g.manual_seed(seed)
    assert g.seed() == g.initial_seed()


def test_seeding_forgets_the_kept_normal():
    g = Generator()
    g.next_normal = 1.0
    assert g.manual_seed(0).next_normal is None


def test_copies_are_independent():
    g = Generator().manual_seed(9)
    g.draw(1000)
    for other in (g.clone_state(), copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        assert np.array_equal(other.state_bytes(), g.state_bytes())
    expected = g.clone_state().draw(10).tolist()
    assert g.draw(10).tolist() == expected


def test_errors():
    g = Generator()
    with pytest.raises(RuntimeError, match="Expected a CPUGeneratorImplState of size 5056 but fou"):
        g.set_state(np.zeros(4, np.uint8))
    with pytest.raises(TypeError, match=r"RNG state must be a torch\.ByteTensor"):
        g.set_state(np.zeros(5056))
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        g.set_state(np.zeros(5056, np.uint8))
    with pytest.raises(RuntimeError, match="CPU Generator does not use offset"):
        g.get_offset()
    with pytest.raises(NotImplementedError, match="graphsafe_get_state is not supported"):
        g.graphsafe_get_state()
    with pytest.raises(RuntimeError, match="Cannot get CUDA generator without ATen_cuda library"):
        Generator("cuda")
    with pytest.raises(RuntimeError, match="META device type not an accelerator"):
        Generator(device="meta")


def test_presents_itself_as_pytorch_does():
    assert repr(Generator()).startswith("<torch._C.Generator object at 0x")
    assert Generator("cpu").device.type == "cpu"
