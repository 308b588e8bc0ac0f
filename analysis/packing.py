"""The commands archive and confirm: results of a store packed, packs judged anew, and confirmed against a store."""

from analysis.call import Call, refusal
from bench.files import write_atomically

NEEDED = {"archive": ("check", "results", "scale"), "confirm": ("check", "store", "results", "scale")}


def run(call: Call) -> int:
    """Pack, judge packs anew (archive without store), or confirm: 1 where a claim is judged differently."""
    from analysis import evidence
    from analysis.judging import targets

    if absent := [name for name in NEEDED[call.command] if not call.get(name)]:
        raise refusal(f"{call.command} needs {' and '.join(absent)}")
    store, results = call.path("store"), call.path("results")
    assert results is not None
    if store is None:
        if call.flags:
            raise refusal("--partial is of packing runs, which needs store")
        anew = [evidence.judged_anew(results, check, scale) for check, scale in targets(call, results)]
        for files, others in anew:  # after all of them were judged: one that is refused leaves every file as it was
            written = [write_atomically(path, text) for path, text in files.items()]
            print(f"{written[0].parent}: judged anew, {others} verdicts are others than before")
        print(write_atomically(results / "README.md", evidence.overview(results)))
        return 0
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
