"""minigan: trains and explains spectrally normalized GANs on its own autograd, on NumPy or CuPy arrays."""

__version__ = "0.1.0"

from minigan.engine import ops as ops  # gives Tensor its operators
from minigan.engine.autograd import Tensor as Tensor
from minigan.engine.autograd import grad as grad
from minigan.engine.autograd import no_grad as no_grad
