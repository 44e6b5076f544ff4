"""From arrays to gradients: devices, threads, products, kernels, the autograd and its operations. Needs NumPy alone."""

from minigan.engine import ops as ops  # gives Tensor its operators
