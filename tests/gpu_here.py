"""Whether there is a GPU for the tests that need one."""

from minigan.engine import devices
from minigan.errors import WrongUse


def no_gpu() -> str:
    """Why no test can run on a real GPU here; empty if they can."""
    try:
        devices.cuda_facts()
    except WrongUse as error:
        return str(error).removeprefix("--device cuda").lstrip(": ").removesuffix(", or use --device cpu")
    return ""
