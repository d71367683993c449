"""Pictures of the gallery: letters that a telephone shows, and a note of their size.

Each picture keeps the size of its smallest text in its file, in pixels, where
``doc/check_pages.py`` looks for it.
"""

import warnings
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sphinx_gallery.scrapers import matplotlib_scraper

# With it a picture of six inches has letters of nine pixels on a telephone.
FONT_SIZE = 11
KEY = "smallest text"


class PageOrder:
    """Pages of a section in the order in which they are read, others behind them."""

    PAGES = (
        "first_model",
        "plot_sleepstudy",
        "plot_radon",
        "plot_radon_ko",
        "plot_insteval",
        "plot_mackay",
        "plot_regression",
        "plot_house_prices",
        "plot_ticks",
        "plot_exposure",
        "plot_overdispersed",
        "plot_ordered",
        "plot_new_groups",
        "plot_grid_search",
        "plot_dask",
        "plot_encoder",
        "plot_displays",
    )

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, filename):
        name = Path(filename).stem
        known = name in self.PAGES
        return (self.PAGES.index(name) if known else len(self.PAGES)), name


def reset(gallery_conf, name):
    """Style of every page of the gallery."""
    import matplotlib.pyplot as plt

    plt.rcParams["font.size"] = FONT_SIZE
    # a script shows its figures, and here there is no window
    warnings.filterwarnings("ignore", message=".*is non-interactive")


def smallest_text(figure):
    """Height of the smallest letters that are drawn, in pixels."""
    import matplotlib.text

    figure.canvas.draw()
    sizes = [
        text.get_fontsize()
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_visible() and text.get_text().strip()
    ]
    return min(sizes, default=FONT_SIZE) * figure.dpi / 72.0


def note(path, pixels):
    """Write the size of the smallest text into a picture."""
    info = PngInfo()
    info.add_text(KEY, f"{pixels:.2f}")
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, pnginfo=info, optimize=True)


def scraper(block, block_vars, gallery_conf, **options):
    """As sphinx-gallery's own, with a note in each picture."""
    import matplotlib.pyplot as plt

    sizes = [smallest_text(plt.figure(n)) for n in plt.get_fignums()]
    paths = block_vars["image_path_iterator"]
    before = len(paths.paths)
    text = matplotlib_scraper(block, block_vars, gallery_conf, **options)
    for path, pixels in zip(paths.paths[before:], sizes, strict=True):
        note(path, pixels)
    return text
