"""`torch.ao`: of quantization, what models need to run unquantized."""
