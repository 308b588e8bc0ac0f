"""How every figure looks: one colour, line and marker per algorithm, axes in agent steps and frames, its files.

Colours: Okabe and Ito's palette for what is compared most, told apart by the colour-blind and in grey; line styles and
markers say the same without colour.
"""

import io
import math
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from analysis.figures import Drawn, summary
from bench.files import write_atomically

FRAMES_PER_STEP = 4  # Atari frame skip: one agent step is four emulator frames
INK, PAPER, RULE = "#222222", "#777777", "#d8d8d8"
PANEL = (2.36, 1.65)  # inches


@dataclass(frozen=True)
class Look:
    """How an arm is drawn."""

    color: str
    line: Any
    marker: str


# An algorithm has one look in every figure. Another colour is no algorithm's: see SERIES.
LOOKS = {
    "ppo": Look("#000000", "-", "o"),
    "da_full": Look("#0072B2", "-", "s"),
    "da_1step": Look("#D55E00", "--", "^"),
    "da_3step": Look("#56B4E9", "-.", "D"),
    "da_full_cd1": Look("#E69F00", (0, (5, 1, 1, 1, 1, 1)), "v"),
    "ppo_entropy": Look("#009E73", (0, (3, 1)), "P"),
    "dpo_ppo": Look("#AA3377", (0, (10, 1)), "d"),
    "dpo_a2c": Look("#E68FAC", (0, (4, 1.5)), "<"),
    "dpo_trpo": Look("#661100", (0, (1, 1)), ">"),
    "a2c": Look("#8C8C00", (0, (6, 2)), "h"),
    "trpo": Look("#3AA697", (0, (6, 1, 1, 1)), "H"),
    "sac": Look("#332288", (0, (2, 1)), "*"),
}
LABELS = {
    "ppo": "PPO",
    "da_full": "PPO+DA",
    "da_1step": "PPO+DA (1-step)",
    "da_3step": "PPO+DA (3-step)",
    "da_full_cd1": "PPO+DA (c_D = 1)",
    "ppo_entropy": "PPO+Entropy",
    "dpo_ppo": "DPO(PPO)",
    "dpo_a2c": "DPO(A2C)",
    "dpo_trpo": "DPO(TRPO)",
    "a2c": "A2C",
    "trpo": "TRPO",
    "sac": "SAC",
}
# Arms that a check names by what it varies: they are of the algorithm, with other settings or in another place.
ALIASES = {
    "ppo": ("without",),
    "da_full": ("kl", "sampled", "without_da", "e[0-9]*"),
    "da_1step": ("one_step", "without_da_1step"),
    "ppo_entropy": ("ent[0-9]*",),
    "dpo_ppo": (
        *("f111", "learned", "training", "default"),
        *("a[0-9]*", "n[0-9]*", "lam_*", "blr_*", "omega_*", "nu_*", "cross_*"),
    ),
}
# Of these arms, those that are the algorithm as it stands: they have its own look.
PLAIN = {"e0.5", "e0.5_c0.5", "kl", "sampled", "one_step", "without", "without_da", "without_da_1step"}
PLAIN |= {"f111", "default", "learned", "a0.03", "n30"}
# What is no algorithm of the suite: its parts, divergences, estimators, tasks, kinds of effects.
SERIES = (
    Look("#117733", (0, (7, 1.5)), "p"),
    Look("#C0504D", (0, (4.5, 2.5)), "<"),
    Look("#7B62A3", (0, (3, 1.5, 1, 1.5)), "X"),
    Look("#A08A00", (0, (5, 1, 2, 1)), "*"),
    Look("#3F8FA8", (0, (2, 2)), ">"),
    Look("#994F00", (0, (1, 2)), "8"),
    Look("#4A5D73", (0, (9, 2, 2, 2)), "D"),
)
AGAIN = ("o", "^", "v", "P", "d", "s", "p")  # markers of the second turn through SERIES
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1, 1, 1)), (0, (2, 2)))  # members of a family
PAGE = (7.1, 9.0)  # inches that a figure may take

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
    "figure.labelsize": 7.5,
    # equal data must give equal bytes
    "svg.hashsalt": "analysis",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


def family(arm: str) -> str | None:
    """The algorithm that an arm is or is a variant of (`ppo_m10` of `ppo`); None for any other."""
    named = [key for key in LOOKS if arm == key or arm.startswith(f"{key}_")]
    if named:
        return max(named, key=len)
    return next((key for key, names in ALIASES.items() if any(fnmatchcase(arm, name) for name in names)), None)


def shade(base: Look, index: int, count: int) -> Look:
    """The look of one of `count` settings: the first has the thing's own, the next are paler and dashed otherwise."""
    if index == 0:
        return base
    pale = 0.58 * index / max(1, count - 1)
    dark = 0.18 if base.color == "#000000" else 0.0  # black and its first shade must differ
    red, green, blue = ((1 - pale) * max(part, dark) + pale for part in to_rgb(base.color))
    return Look(to_hex((red, green, blue)), DASHES[index % len(DASHES)], base.marker)


def series(index: int) -> Look:
    """The look of the index-th of several things that are no algorithms; a second turn has other marks and lines."""
    turn, base = index // len(SERIES), SERIES[index % len(SERIES)]
    if turn == 0:
        return base
    marker = AGAIN[index % len(AGAIN)]
    return replace(shade(base, 2 * turn, 6), marker=marker, line=DASHES[(index + turn) % len(DASHES)])


def look(arm: str, arms: list[str]) -> Look:
    """An arm's look: its algorithm's, or a shade of it; what is no algorithm's takes SERIES in the order of the check.

    Args: arms: all of the check.
    """
    kin = family(arm)
    if kin is None:
        return series([name for name in arms if family(name) is None].index(arm))
    members = [name for name in arms if family(name) == kin]
    plain = [name for name in members if name == kin or name in PLAIN]
    ordered = plain[:1] + [name for name in members if name not in plain[:1]]
    return shade(LOOKS[kin], ordered.index(arm), len(ordered)) if arm in ordered else LOOKS[kin]


def full_ink(arm: str, arms: list[str]) -> Look:
    """The look of an arm whose row bears its name: its algorithm's own colour, however many settings there are.

    Args: arms: all of the check.
    """
    kin = family(arm)
    own = (
        SERIES[[name for name in arms if family(name) is None].index(arm) % len(SERIES)] if kin is None else LOOKS[kin]
    )
    return replace(look(arm, arms), color=own.color)


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure in the suite's style, without pyplot's global state. Args: inches; layout: None: by hand."""
    matplotlib.use("agg")
    matplotlib.rcParams.update(RC)
    return Figure(figsize=(width, height), layout=layout)


def panels(figure: Figure) -> SubFigure:
    """A part of the figure with panels and a common label of their axes, beside which a legend finds its own room."""
    part = figure.subfigures()
    assert isinstance(part, SubFigure)
    return part


def columns(panels: int) -> int:
    """Columns of a grid of so many panels: three, unless two leave no gap where three would."""
    return panels if panels <= 3 else 2 if panels == 4 else 3


def fitted(width: float, height: float) -> tuple[float, float]:
    """A size in inches, no larger than a page."""
    return min(width, PAGE[0]), min(height, PAGE[1])


def below(figure: Figure, entries: dict[str, Any], ncols: int, handlelength: float = 2.6) -> None:
    """The legend under the panels, in as many columns as are asked for and fit the figure's width."""
    longest = max((len(name) for name in entries), default=1)
    room = figure.get_size_inches()[0] / (0.053 * longest + 0.1 * handlelength + 0.3)
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower left",
        ncols=max(1, min(ncols, int(room), len(entries))),
        handlelength=handlelength,
    )


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


def save(figure: Figure, folder: Path, stem: str, caption: str, data: pd.DataFrame, table: pd.DataFrame) -> Drawn:
    """Write PNG, SVG, PDF, the CSV that was drawn, and its summary as Markdown and LaTeX.

    No dates inside: equal data, equal bytes. Args: data: tidy, all that is drawn; table: as a reader wants it.
    """
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
    texts = {
        "csv": data.to_csv(index=False, lineterminator="\n"),
        "md": summary.markdown(table, caption),
        "tex": summary.latex(table, caption, f"tab:{stem}"),
    }
    for suffix, text in texts.items():
        paths[suffix] = write_atomically(folder / f"{stem}.{suffix}", text)
    return Drawn(stem, caption, paths)
