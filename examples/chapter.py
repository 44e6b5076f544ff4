"""What the chapters share: one look for their images, and where these go."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from minigan.engine.machine import blas
from minigan.formats.whole import write_whole

try:
    import matplotlib
    import matplotlib.pyplot as plt
except ImportError:
    raise SystemExit('The chapters draw with matplotlib: pip install "minigan[plot]"') from None

FOLDER = Path(os.environ.get("MINIGAN_PICTURES") or Path(__file__).resolve().parent / "pictures")

# Okabe and Ito's palette, which colour-blind readers can tell apart
BLUE, RED, GREEN, PINK, ORANGE, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#7f7f7f"
plt.rcParams.update({
    "figure.dpi": 100, "figure.constrained_layout.use": True, "font.size": 11, "axes.titlesize": 12,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "image.cmap": "RdBu_r",
})


def save(name: str) -> None:
    """Write the figure that was drawn last as FOLDER/name.png, in all its colours, and in it what it was drawn with.

    With the same of each the pixels are the same.
    """
    data, small = io.BytesIO(), io.BytesIO()
    plt.gcf().savefig(data, format="png")
    drawn_with = PngInfo()
    drawn_with.add_text("Software", f"matplotlib {matplotlib.__version__}, NumPy {np.__version__}, {', '.join(blas())}")
    Image.open(data).convert("RGB").save(small, "PNG", optimize=True, pnginfo=drawn_with)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_whole(FOLDER / f"{name}.png", small.getbuffer())
    print(f"drew {name}.png")
