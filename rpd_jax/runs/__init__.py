"""What a run keeps on disk: its directory, checkpoints and metrics; and how it is interrupted.

Reading needs no lock and changes nothing, also while the run is under way:

    from rpd_jax.runs.checkpoint import load_checkpoint
    from rpd_jax.runs.metrics import METRICS_FILE, read_metrics

    config, checkpoint = load_checkpoint("runs/quickstart")     # arrays of all members by path, leaves [P, ...]
    history = read_metrics(f"runs/quickstart/{METRICS_FILE}")   # a row for each iteration
"""
