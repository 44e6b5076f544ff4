"""minigan: trains and explains spectrally normalized GANs on its own autograd, on NumPy or CuPy arrays."""

__version__ = "0.1.0"

from minigan import ops as ops  # gives Tensor its operators
from minigan.autograd import Tensor as Tensor
from minigan.autograd import grad as grad
from minigan.autograd import no_grad as no_grad
