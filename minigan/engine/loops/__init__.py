"""The loops that have a CUDA kernel, a file for each kernels/*.cu: the definition in NumPy, its launcher below it."""
