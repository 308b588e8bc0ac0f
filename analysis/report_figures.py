"""Figures inside the report page, as data URIs: each in a document of its own, so that their identifiers stay apart."""

import base64
import re
from dataclasses import dataclass
from urllib.parse import quote

from analysis.figures import Drawn
from analysis.report_claims import anchor

LARGE = 250_000  # bytes of an encoded SVG above which the PNG is taken, if it is smaller
_SAFE = " !$'()*+,-./:;=?@[]^_`{|}~"  # all that may stand in a data URI between double quotes
_PATH = re.compile(r' d="[^"]*"')
_DIGITS = re.compile(r"(\.\d\d)\d+")
_SIZE = re.compile(r'<svg[^>]*? width="([\d.]+)pt" height="([\d.]+)pt"')
_NOTHING = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<\?xml.*?\?>|<!DOCTYPE.*?>", re.DOTALL)


@dataclass(frozen=True)
class Image:
    """A figure of the page."""

    stem: str
    anchor: str
    caption: str
    uri: str
    width: int  # in CSS pixels, as drawn
    height: int


def slim(svg: str) -> str:
    """An SVG of half the size that looks the same: paths to a hundredth of a point, no comments, no metadata."""
    drawn = _PATH.sub(lambda path: _DIGITS.sub(r"\1", path[0]), _NOTHING.sub("", svg))
    return re.sub(r"\s*\n\s*", " ", drawn).strip()


def image(check: str, drawn: Drawn) -> Image:
    """The figure as a data URI: the SVG, or the PNG (200 dpi) where the SVG is large and the PNG is smaller."""
    svg = drawn.paths["svg"].read_text()
    size = _SIZE.search(svg)
    width, height = (round(float(points) * 4 / 3) for points in size.groups()) if size else (0, 0)
    uri = "data:image/svg+xml," + quote(slim(svg), safe=_SAFE)
    if len(uri) > LARGE:
        png = "data:image/png;base64," + base64.b64encode(drawn.paths["png"].read_bytes()).decode()
        uri = min(uri, png, key=len)
    return Image(drawn.stem, anchor("figure", check, drawn.stem), drawn.caption, uri, width, height)
