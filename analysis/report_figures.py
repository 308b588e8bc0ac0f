"""Figures inside the report page, as data URIs: each in a document of its own, so that their identifiers stay apart.

Each with the runs that it was made of and the claims that it is evidence for.
"""

import base64
import re
from dataclasses import dataclass
from urllib.parse import quote

from analysis import provenance
from analysis.figures import Drawn
from analysis.report_claims import Behind, Card, anchor
from analysis.study import Study

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
    behind: Behind
    runs: int  # planned ones of its arms on its tasks
    claims: dict[str, str]  # that it is evidence for: id -> anchor


def slim(svg: str) -> str:
    """An SVG of half the size that looks the same: paths to a hundredth of a point, no comments, no metadata."""
    drawn = _PATH.sub(lambda path: _DIGITS.sub(r"\1", path[0]), _NOTHING.sub("", svg))
    return re.sub(r"\s*\n\s*", " ", drawn).strip()


def behind(study: Study, drawn: Drawn) -> Behind:
    """The arms and tasks of the figure, by the record beside it; without a record all of the check."""
    plan, path = study.plan, drawn.paths.get(provenance.SUFFIX)
    if path is None:
        return Behind(drawn.stem, list(plan.arms), list(plan.tasks))
    parts = provenance.read(path)["checks"]
    runs = [run for part in parts if part["check"] == plan.name for run in part["runs"]]
    arms, tasks = {run["arm"] for run in runs}, {run["task"] for run in runs}
    return Behind(drawn.stem, [arm for arm in plan.arms if arm in arms], [task for task in plan.tasks if task in tasks])


def image(study: Study, drawn: Drawn, of: Behind, cards: list[Card]) -> Image:
    """The figure as a data URI: the SVG, or the PNG (200 dpi) where the SVG is large and the PNG is smaller.

    Args: of: its runs; cards: claims of the check.
    """
    svg = drawn.paths["svg"].read_text()
    size = _SIZE.search(svg)
    width, height = (round(float(points) * 4 / 3) for points in size.groups()) if size else (0, 0)
    uri = "data:image/svg+xml," + quote(slim(svg), safe=_SAFE)
    if len(uri) > LARGE:
        png = "data:image/png;base64," + base64.b64encode(drawn.paths["png"].read_bytes()).decode()
        uri = min(uri, png, key=len)
    return Image(
        stem=drawn.stem,
        anchor=anchor("figure", study.plan.name, drawn.stem),
        caption=drawn.caption,
        uri=uri,
        width=width,
        height=height,
        behind=of,
        runs=int((study.scored["arm"].isin(of.arms) & study.scored["task"].isin(of.tasks)).sum()),
        claims={card.verdict.id: card.anchor for card in cards if drawn.stem in card.figures},
    )
