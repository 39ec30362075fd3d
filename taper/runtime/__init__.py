"""What runs machine code: the worker pool, argument blocks, BLAS by pointer."""
