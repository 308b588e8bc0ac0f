"""The result of a campaign."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One kind of fault: how often it was tried, and how often the result was that of an unbroken run, or not."""

    fault: str
    tried: int
    survived: int
    lost: int
    note: str = ""

    @classmethod
    def of(cls, fault: str, survived: list[bool], note: str = "") -> "Row":
        """From one truth per try."""
        return cls(fault, len(survived), sum(survived), len(survived) - sum(survived), note)


def markdown(rows: list[Row]) -> str:
    """As a table, with the sums."""
    total = [sum(getattr(row, name) for row in rows) for name in ("tried", "survived", "lost")]
    lines = ["| fault | tried | survived | lost | |", "|---|---|---|---|---|"]
    lines += [f"| {row.fault} | {row.tried} | {row.survived} | {row.lost} | {row.note} |" for row in rows]
    return "\n".join([*lines, f"| all | {total[0]} | {total[1]} | {total[2]} | |"]) + "\n"
