import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

fft = torch.fft
X = torch.tensor([1.0, 2.0, 3.0, 4.0])


def test_values_and_norms():
    spectrum = [10, -2 + 2j, -2, -2 - 2j]
    assert fft.fft(X).tolist() == spectrum
    assert fft.rfft(X).tolist() == spectrum[:3]
    assert fft.fft(X, norm="ortho").tolist() == [v / 2 for v in spectrum]
    assert fft.fft(X, norm="forward").tolist() == [v / 4 for v in spectrum]
    assert torch.allclose(fft.ifft(fft.fft(X)).real, X)
    assert torch.allclose(fft.irfft(fft.rfft(X)), X)
    assert torch.allclose(fft.hfft(fft.ihfft(X), n=4), X)
    assert fft.fft(X, n=2).tolist() == [3, -1]
    assert fft.fft(X, n=6).shape == (6,)
    assert fft.fft(torch.arange(4)).dtype is torch.complex64


def test_several_dimensions():
    x = torch.arange(12.0).reshape(3, 4)
    assert torch.allclose(fft.fft2(x), fft.fft(fft.fft(x, dim=0), dim=1))
    assert torch.allclose(fft.irfftn(fft.rfftn(x)), x, atol=1e-5)
    assert fft.fftn(x, s=(2, 2)).shape == (2, 2)
    assert fft.rfft2(x).shape == (3, 3)


def test_frequencies_and_shifts():
    assert fft.fftfreq(4, 0.5).tolist() == [0, 0.5, -1, -0.5]
    assert fft.rfftfreq(4).tolist() == [0, 0.25, 0.5]
    assert fft.fftshift(X).tolist() == [3, 4, 1, 2]
    assert torch.equal(fft.ifftshift(fft.fftshift(X[:3])), X[:3])


def test_errors():
    with pytest.raises(IndexError, match="Dimension specified as 0 but tensor has no dimensions"):
        fft.fftn(torch.tensor(1.0), dim=(0,))
    with pytest.raises(RuntimeError, match="Invalid normalization mode"):
        fft.fft(X, norm="x")
    with pytest.raises(RuntimeError, match=r"Invalid number of data points \(0\) specified"):
        fft.fft(X, n=0)
    with pytest.raises(RuntimeError, match="rfft expects a real input tensor, but got Com"):
        fft.rfft(X + 0j)


@pytest.mark.parametrize("n", [4, 5])
def test_derivatives(n):
    torch.manual_seed(0)
    real = torch.randn(n, dtype=torch.float64).requires_grad_()
    complex = torch.randn(n, dtype=torch.complex128).requires_grad_()
    for function, x in (
        (fft.fft, complex), (fft.ifft, real), (fft.rfft, real), (fft.irfft, complex),
        (lambda x: fft.irfft(x, n=2 * n - 1), complex), (fft.hfft, complex), (fft.ihfft, real),
        (lambda x: fft.fft(x, n=3, norm="ortho"), complex),
    ):
        assert gradcheck(function, (x,))
        assert gradgradcheck(function, (x,))
