"""Everything that turns runs into answers: store -> tidy frames -> one number per run -> verdicts, figures,
report.

Reads files only, never `bench.algos`. Flow, one way: plan -> load (or archive) -> scores -> measure, verdicts, compare
-> tables, figures, report. `analysis.study.analyse` is the whole of it in one function.
"""
