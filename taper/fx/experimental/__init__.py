"""Names of PyTorch's experimental tracers that packages ask for."""
