"""What is shown of a run: intervals, tables, plots, videos and results.json.

    from rpd_jax.report import Table, read_results

    table = Table(read_results("runs/quickstart/results.json").rows)
    print(table)                                    # a notebook shows it as HTML
    best = max(table, key=lambda row: row.success_once)
    frame = table.to_pandas()

`intervals` has the statistics (`success_rates`: of seeds and episodes), `plots` the learning curves.
"""

from rpd_jax.report.results import ResultRow, Results, read_results
from rpd_jax.report.table import Table

__all__ = ["ResultRow", "Results", "Table", "read_results"]
