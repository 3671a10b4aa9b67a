"""Maps of an embedding as files: pictures, pages, data; the way that points are placed other than by PCA."""

from detector.rendering.maps.files import FILES, map_file
from detector.rendering.maps.layouts import METHOD_NAMES, METHODS, Method, layout_of
from detector.rendering.maps.svg import read_before, svg
from detector.rendering.maps.words import said_of_map

__all__ = [
    "FILES",
    "METHODS",
    "METHOD_NAMES",
    "Method",
    "layout_of",
    "map_file",
    "read_before",
    "said_of_map",
    "svg",
]
