"""One run of each kind, and its export, for all tests of this folder; none of them changes these directories.

Fixtures import what imports JAX: where this folder is named, pytest reads this file before it makes JAX's settings.
"""

import pytest


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A run for each kind of observation, and one that sees "ee"."""
    from exported import OBSERVATIONS, configure, save_made_up

    import rpd_jax

    directories = {kind: tmp_path_factory.mktemp("runs") / "run" for kind in (*OBSERVATIONS, "ee")}
    rpd_jax.train(configure("debug", directories["state"]))
    for kind in ("rgb+proprio", "ee"):
        config = configure("quickstart", directories[kind])
        config.env.observation, config.env.image_size = kind, 48
        save_made_up(config)
    return directories


@pytest.fixture(scope="session")
def exports(runs, tmp_path_factory):
    """The students and the directories of their exports."""
    from rpd_jax.export import files
    from rpd_jax.training.student import load_student

    found = {}
    for observation, run in runs.items():
        student, directory = load_student(run, "far", 1), tmp_path_factory.mktemp("exports") / "export"
        files.export_student(student, directory)
        found[observation] = (student, directory)
    return found
