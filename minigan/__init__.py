"""minigan: trains and explains spectrally normalized GANs on its own autograd, on NumPy or CuPy arrays."""

TYPE_CHECKING = False
if TYPE_CHECKING:  # as checkers of types and editors take it; typing itself takes time to load
    from minigan.engine.autograd import Tensor as Tensor
    from minigan.engine.autograd import grad as grad
    from minigan.engine.autograd import no_grad as no_grad

__version__ = "0.1.0"
__all__ = ["Tensor", "grad", "no_grad"]


def __getattr__(name: str) -> object:
    """Tensor, grad and no_grad, imported when they are asked for.

    The command line imports this file first, and has to say what Ctrl-C does before NumPy takes its time (__main__.py).
    """
    if name not in __all__:
        raise AttributeError(f"module 'minigan' has no attribute '{name}'")
    from minigan.engine import autograd
    return getattr(autograd, name)
