"""How every figure looks: one colour, line and marker per arm, axes in agent steps and frames, files in four
formats.

Colours: Okabe and Ito's palette, told apart by the colour-blind, ordered here so that they differ in grey
too; line styles and markers say the same without colour.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from analysis.figures import Drawn
from bench.files import write_atomically

FRAMES_PER_STEP = 4  # Atari frame skip: one agent step is four emulator frames
INK, PAPER, RULE = "#222222", "#777777", "#d8d8d8"
PANEL = (2.45, 1.75)  # inches


@dataclass(frozen=True)
class Look:
    """How an arm is drawn."""

    color: str
    line: Any
    marker: str


LOOKS = (
    Look("#000000", "-", "o"),
    Look("#0072B2", "-", "s"),
    Look("#D55E00", "--", "^"),
    Look("#56B4E9", "-.", "D"),
    Look("#E69F00", (0, (5, 1, 1, 1, 1, 1)), "v"),
    Look("#009E73", (0, (3, 1)), "P"),
    Look("#CC79A7", (0, (1, 1)), "X"),
    Look("#8C8C00", (0, (6, 2)), "h"),
)
# The arms of the whole suite keep their look in every figure, ...
ARMS = {"ppo": 0, "da_full": 1, "da_1step": 2, "da_3step": 3, "da_full_cd1": 4, "dpo_ppo": 1}
# ... also where a check names them by what it varies: what is PPO, the full or the 1-step divergence, or DPO there.
ALIASES = {
    "e0.5": "da_full",
    "kl": "da_full",
    "sampled": "da_full",
    "one_step": "da_1step",
    "without": "ppo",
    "without_da": "da_full",
    "without_da_1step": "da_1step",
    "f111": "dpo_ppo",
    "default": "dpo_ppo",
    "learned": "dpo_ppo",
    "a0.03": "dpo_ppo",
    "n30": "dpo_ppo",
}
FAMILY_LABELS = {
    "ppo": "PPO",
    "da_full": "PPO+DA",
    "da_1step": "PPO+DA (1-step)",
    "da_3step": "PPO+DA (3-step)",
    "da_full_cd1": "PPO+DA (c_D = 1)",
    "dpo_ppo": "DPO(PPO)",
}
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1, 1, 1)), (0, (2, 2)))  # members of a family

RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 7,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.4,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "figure.dpi": 100,
    "axes.titlelocation": "left",
    # equal data must give equal bytes
    "svg.hashsalt": "analysis",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


def family(arm: str) -> str | None:
    """The arm of the whole suite that this one is a variant of (`ppo_m10` of `ppo`); None for any other."""
    name = ALIASES.get(arm, arm)
    known = [key for key in ARMS if name == key or name.startswith(f"{key}_")]
    return max(known, key=len) if known else None


def _member(base: Look, index: int, count: int) -> Look:
    """The look of a variant: paler and dashed otherwise than the one before it; the first has the family's own."""
    pale = 0.6 * index / max(1, count - 1)
    red, green, blue = ((1 - pale) * part + pale for part in to_rgb(base.color))
    return base if index == 0 else Look(to_hex((red, green, blue)), DASHES[index % len(DASHES)], base.marker)


def look(arm: str, arms: list[str]) -> Look:
    """An arm's look: its own or its family's; the others take the free looks in the order of the check."""
    kin = family(arm)
    if kin is not None:
        members = [name for name in arms if family(name) == kin]
        if arm == kin or arm not in members:
            return LOOKS[ARMS[kin]]
        return _member(LOOKS[ARMS[kin]], members.index(arm), len(members))
    # The first three never, so that a scale without them draws the others as the next scale does.
    taken = {0, 1, 2} | {ARMS[kin] for kin in map(family, arms) if kin is not None}
    free = [i for i in range(len(LOOKS)) if i not in taken]
    strangers = [name for name in arms if family(name) is None]
    return LOOKS[free[strangers.index(arm) % len(free)]]


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure in the suite's style, without pyplot's global state. Args: inches; layout: None: by hand."""
    matplotlib.use("agg")
    matplotlib.rcParams.update(RC)
    return Figure(figsize=(width, height), layout=layout)


def columns(panels: int) -> int:
    """Columns of a grid of so many panels: three, unless two leave no gap where three would."""
    return panels if panels <= 3 else 2 if panels == 4 else 3


def place(axes: Axes) -> SubplotSpec:
    """Where a panel stands in its figure's grid."""
    spec = axes.get_subplotspec()
    if spec is None:
        raise ValueError("the axes stand in no grid")
    return spec


def step_axis(axes: Axes, end: float, *, frames: bool, label: bool = True) -> None:
    """The x axis from 0 to `end` agent steps; each tick says the steps and, below, the frames.

    Args: frames: the suite has frames; label: this panel is the lowest of its column.
    """
    steps = EngFormatter(sep="")

    def both(step: float, position: int | None = None) -> str:
        return f"{steps(step)}\n{steps(step * FRAMES_PER_STEP)}" if frames else str(steps(step))

    axes.set_xlim(0, end)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(both))
    axes.tick_params(labelbottom=label)
    if label:
        axes.set_xlabel(f"agent steps\nframes ({FRAMES_PER_STEP} per agent step)" if frames else "agent steps")


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis that are labelled and do not touch, whatever it spans. Args: its ends, above 0."""
    decades = math.log10(high / low)
    axis.set_minor_locator(NullLocator())
    if decades < 0.8:
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        return
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if decades < 2.5 else (1.0,), numticks=6))
    axis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(math.inf, math.inf)))


def save(figure: Figure, folder: Path, stem: str, caption: str, data: str) -> Drawn:
    """Write PNG, SVG, PDF and the CSV that was drawn. No dates inside: equal data, equal bytes."""
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # keep the layout: solving it anew for each format takes most of the time
    paths = {}
    for suffix, entries in metadata.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=entries)
        paths[suffix] = write_atomically(folder / f"{stem}.{suffix}", buffer.getvalue())
    paths["csv"] = write_atomically(folder / f"{stem}.csv", data)
    return Drawn(stem, caption, paths)
