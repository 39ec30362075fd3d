"""What a NumPy call does: classes that implement NumPy's protocols in place of `np.ndarray`."""
