"""Short-time Fourier transforms: spectra of overlapping windows of a signal, and back."""

from __future__ import annotations

import warnings

import taper
from taper.core.dtype import FLOATING, legacy_type_name
from taper.core.tensor import Tensor
from taper.ops.argument_checks import values_known
from taper.ops.declare import composite
from taper.ops.fourier import complex_to_complex, complex_to_real, real_to_complex
from taper.ops.signature import Truth


def _padded_window(
    window: Tensor | None, win_length: int, n_fft: int, input: Tensor
) -> Tensor:
    """The window, ones if there is none, centred between zeros to n_fft points."""
    real = input.dtype.to_real()
    values = input.new_ones(win_length, dtype=real) if window is None else window
    if win_length == n_fft:
        return values
    left = (n_fft - win_length) // 2
    return taper.nn.functional.pad(values, (left, n_fft - win_length - left))


def _warn_of_no_window(text: str) -> None:
    warnings.warn(
        f"A window was not provided. A rectangular window will be applied,{text}",
        UserWarning, stacklevel=4,
    )


@composite(method=True)
def stft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: Truth = True, pad_mode: str = "reflect",
    normalized: bool = False, onesided: bool | None = None, return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    r"""Computes the spectra of windows of a signal, its short-time Fourier transform.

    :math:`X_{\omega m} = \sum_k w_k x_{mH + k} e^{-2\pi i \omega k / n}` for a window w.
    Args:
        n_fft: points of each transform.    hop_length: H, default n_fft // 4.
        win_length: points of the window, default n_fft.    center: pad so that window m is
            centred at mH.    onesided: only half of the spectrum, default for real signals.
    Shape:    (*, samples) → (*, frequencies, windows), with one batch dimension at most
    Example:
        >>> import taper as torch
        >>> torch.stft(torch.ones(8), 4, window=torch.ones(4), return_complex=True).shape
        torch.Size([3, 9])
    """
    hop_length = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    is_real = not input.is_complex()
    if return_complex is None:
        if is_real and (window is None or not window.is_complex()):
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will "
                "further require that return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if not return_complex:
        warnings.warn(
            "stft with return_complex=False is deprecated. In a future pytorch release, stft will "
            "return complex tensors for all inputs, and return_complex=False will raise an error."
            "\nNote: you can still call torch.view_as_real on the complex output to recover the "
            "old return format.",
            UserWarning, stacklevel=2,
        )
    if center:
        side = n_fft // 2
        lead = 3 - input.ndim
        shaped = input.reshape([1] * lead + list(input.shape))
        shaped = taper.nn.functional.pad(shaped, (side, side), pad_mode)
        input = shaped.reshape([*input.shape[:-1], shaped.shape[-1]])
    _check_stft(input, n_fft, hop_length, win_length, window, normalized, onesided, return_complex)
    if window is None:
        _warn_of_no_window(
            "which is known to cause spectral leakage. Other windows such as torch.hann_window or "
            "torch.hamming_window are recommended to reduce spectral leakage.To suppress this "
            "warning and use a rectangular window, explicitly set `window=torch.ones(n_fft, "
            "device=<device>)`."
        )
    weights = _padded_window(window, win_length, n_fft, input)
    frames = input.unfold(-1, n_fft, hop_length)
    if window is not None or win_length != n_fft:
        frames = frames * weights
    if onesided is None:
        onesided = is_real and not frames.is_complex()
    scale = "sqrt" if normalized else "none"
    dims = (frames.ndim - 1,)
    if onesided:
        spectra = real_to_complex(frames, dims, scale)
    else:
        if not frames.is_complex():
            frames = frames.to(frames.dtype.to_complex())
        spectra = complex_to_complex(frames, dims, scale, True)
    result = spectra.transpose(-2, -1)
    return result if return_complex else taper.view_as_real(result)


def _check_stft(
    input: Tensor, n_fft: int, hop_length: int, win_length: int, window: Tensor | None,
    normalized: bool, onesided: bool | None, return_complex: bool,
) -> None:
    kind = legacy_type_name(input.dtype)
    shown = "None"
    if window is not None:
        shown = f"{legacy_type_name(window.dtype)}{{{list(window.shape)}}}"
    side = "None" if onesided is None else int(onesided)
    prefix = (
        f"stft({kind}{list(input.shape)}, n_fft={n_fft}, hop_length={hop_length}, "
        f"win_length={win_length}, window={shown}, normalized={int(normalized)}, onesided={side}, "
        f"return_complex={int(return_complex)}, align_to_window=None) : "
    )
    if input.dtype.category < FLOATING:
        raise RuntimeError(prefix + "expected a tensor of floating point or complex values")
    if input.ndim not in (1, 2):
        raise RuntimeError(prefix + "expected a 1D or 2D tensor")
    length = input.shape[-1]
    if n_fft <= 0 or n_fft > length:
        raise RuntimeError(prefix + f"expected 0 < n_fft < {length}, but got n_fft={win_length}")
    if hop_length <= 0:
        raise RuntimeError(prefix + f"expected hop_length > 0, but got hop_length={hop_length}")
    if win_length <= 0 or win_length > n_fft:
        raise RuntimeError(
            prefix + f"expected 0 < win_length <= n_fft, but got win_length={win_length}"
        )
    if window is not None and tuple(window.shape) != (win_length,):
        raise RuntimeError(
            prefix + f"expected a 1D window tensor of size equal to win_length={win_length}, but "
            f"got window with size {list(window.shape)}"
        )
    if onesided and (input.is_complex() or (window is not None and window.is_complex())):
        raise RuntimeError("Cannot have onesided output if window or input is complex")


@composite(method=True)
def istft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, normalized: bool = False,
    onesided: bool | None = None, length: int | None = None, return_complex: bool = False,
) -> Tensor:
    """Computes the signal whose `stft` comes closest to `input` (least squares).

    Source: Griffin and Lim, Signal estimation from modified short-time Fourier transform (1984).
    Shape:    (*, frequencies, windows) → (*, samples), with one batch dimension at most
    Example:
        >>> import taper as torch
        >>> w = torch.ones(4)
        >>> torch.istft(torch.stft(torch.ones(8), 4, window=w, return_complex=True), 4, window=w)
        tensor([1., 1., 1., 1., 1., 1., 1., 1.])
    """
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."
        )
    hop_length = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    frequencies, windows = input.shape[-2], input.shape[-1]
    if onesided is None:
        onesided = frequencies != n_fft
    _check_istft(input, n_fft, hop_length, win_length, window, onesided, return_complex)
    if window is None:
        _warn_of_no_window(
            "Please provide the same window used by stft to make the inversion lossless.To "
            "suppress this warning and use a rectangular window, explicitly set "
            "`window=torch.ones(n_fft, device=<device>)`."
        )
    weights = _padded_window(window, win_length, n_fft, input)
    is_batch = input.ndim == 3
    spectra = (input if is_batch else input.unsqueeze(0)).transpose(1, 2)
    scale = "sqrt" if normalized else "full"
    if return_complex:
        frames = complex_to_complex(spectra, (2,), scale, False)
    else:
        half = spectra if onesided else spectra[..., : n_fft // 2 + 1]
        frames = complex_to_real(half, (2,), scale, n_fft)
    samples = n_fft + hop_length * (windows - 1)
    signal = _overlap_add(frames * weights, samples, hop_length)
    square = weights * weights
    envelope = _overlap_add(square.expand(1, windows, n_fft), samples, hop_length)
    start = n_fft // 2 if center else 0
    end = samples - (n_fft // 2 if center else 0)
    if length is not None:
        end = start + length
    stop = min(end, samples)
    signal, envelope = signal[:, start:stop], envelope[:, start:stop]
    if values_known(envelope) and float(envelope.abs().min()) < 1e-11:
        raise RuntimeError(
            f"istft(...) window overlap add min: {float(envelope.abs().min()):g}: the windows "
            "leave samples uncovered"
        )
    signal = signal / envelope
    if end > samples:
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded "
            "with zeros in the tail. Please check your center and hop_length settings.",
            UserWarning, stacklevel=2,
        )
        signal = taper.nn.functional.pad(signal, (0, end - samples))
    return signal if is_batch else signal.squeeze(0)


def _overlap_add(frames: Tensor, samples: int, hop_length: int) -> Tensor:
    """(batch, windows, n) → (batch, samples): each window added at its place."""
    batch, windows, n = frames.shape
    device = frames.device
    starts = taper.arange(windows, device=device).unsqueeze(-1) * hop_length
    places = starts + taper.arange(n, device=device)
    total = frames.new_zeros(batch, samples)
    return total.index_add(1, places.reshape(-1), frames.reshape(batch, windows * n))


def _check_istft(
    input: Tensor, n_fft: int, hop_length: int, win_length: int, window: Tensor | None,
    onesided: bool, return_complex: bool,
) -> None:
    if input.numel() == 0:
        raise RuntimeError("istft(...) : input tensor cannot be empty.")
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"istft(...) : expected a tensor with 3 or 4 dimensions, but got {input.ndim + 1}"
        )
    frequencies = input.shape[-2]
    wanted = n_fft // 2 + 1 if onesided else n_fft
    if frequencies != wanted:
        text = "n_fft / 2 + 1 when onsided=True" if onesided else "n_fft when onsided=False"
        raise RuntimeError(
            f"istft(...) : expected the frequency dimension (3rd to the last) of the input tensor "
            f"to match {text}, but got {frequencies}"
        )
    if not 0 < hop_length <= win_length:
        raise RuntimeError("istft(...) : expected 0 < hop_length <= win_length")
    if not 0 < win_length <= n_fft:
        raise RuntimeError("istft(...) : expected 0 < win_length <= n_fft")
    if window is not None and tuple(window.shape) != (win_length,):
        raise RuntimeError(
            "istft(...) : Invalid window shape. window has to be 1D and length of `win_length`"
        )
    if not return_complex and window is not None and window.is_complex():
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    if return_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
