"""minigan: trains and explains spectrally normalized GANs on its own autograd, on NumPy or CuPy arrays."""

__version__ = "0.1.0"
