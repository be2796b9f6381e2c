"""What a run keeps on disk: its directory, checkpoints and metrics; and how it is interrupted."""
