"""The commands archive and confirm: results of a store packed, and judged again from the pack."""

from analysis.call import Call, refusal
from bench.files import write_atomically

NEEDED = ("check", "store", "results", "scale")


def run(call: Call) -> int:
    """Pack, or confirm; 1 where a claim is judged differently."""
    from analysis import evidence
    from analysis.judging import targets

    if absent := [name for name in NEEDED if not call.get(name)]:
        raise refusal(f"{call.command} needs {' and '.join(absent)}")
    store, results = call.path("store"), call.path("results")
    assert store is not None
    assert results is not None
    if call.command == "archive":
        for check, scale in targets(call, store):
            written = evidence.pack(store, check, scale, results, partial="--partial" in call.flags)
            print(f"{written[0].parent}: {sum(path.stat().st_size for path in written) / 1e6:.2f} MB")
        print(write_atomically(results / "README.md", evidence.overview(results)))
        return 0
    rows = [row for check, scale in targets(call, results) for row in evidence.confirm(store, check, scale, results)]
    for row in rows:
        print(row.line)
    return 0 if all(row.same for row in rows) else 1
