"""minigan: trains and explains spectrally normalized GANs on its own autograd, on NumPy or CuPy arrays."""

TYPE_CHECKING = False
if TYPE_CHECKING:  # as checkers of types and editors take it; typing itself takes time to load
    from minigan.engine.autograd import Tensor as Tensor
    from minigan.engine.autograd import grad as grad
    from minigan.engine.autograd import no_grad as no_grad
    from minigan.errors import FailedWork as FailedWork
    from minigan.errors import WrongUse as WrongUse
    from minigan.library.runs import Run as Run
    from minigan.library.runs import load as load
    from minigan.library.scores import fid as fid
    from minigan.library.scores import inception_score as inception_score
    from minigan.library.scores import kid as kid
    from minigan.library.scores import precision_recall as precision_recall
    from minigan.library.scores import score as score
    from minigan.library.train import train as train
    from minigan.nn.spectral_norms import spectral_norm as spectral_norm

__version__ = "0.2.0"
__all__ = ["FailedWork", "Run", "Tensor", "WrongUse", "fid", "grad", "inception_score", "kid", "load", "no_grad",
           "precision_recall", "score", "spectral_norm", "train"]

if not TYPE_CHECKING:  # or every name would be taken for one that is there
    def __getattr__(name: str) -> object:
        """A name of __all__, imported when it is asked for.

        The command line imports this file first, and has to say what Ctrl-C does before NumPy takes its time
        (__main__.py).
        """
        if name in ("Tensor", "grad", "no_grad"):
            from minigan.engine import autograd as home
        elif name in ("FailedWork", "WrongUse"):
            from minigan import errors as home
        elif name in ("Run", "load"):
            from minigan.library import runs as home
        elif name in ("fid", "inception_score", "kid", "precision_recall", "score"):
            from minigan.library import scores as home
        elif name == "train":
            from minigan.library import train as home
        elif name == "spectral_norm":
            from minigan.nn import spectral_norms as home
        else:
            raise AttributeError(f"module 'minigan' has no attribute '{name}'")
        return getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
