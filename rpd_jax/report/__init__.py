"""What is shown of a run: intervals, tables, plots, videos and results.json."""
