"""What comes from a file of demonstrations is checked, and refused in one line that names file and place."""

import json

import h5py
import numpy as np
import pytest
from example_episodes import make_episode, make_info

from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations.hdf5 import metadata, write_episode
from rpd_jax.demonstrations.reading import Demonstrations


@pytest.fixture
def path(tmp_path):
    """Two episodes, and a file of somebody else beside them."""
    with h5py.File(tmp_path / "demos.h5", "w") as file:
        for number in range(2):
            write_episode(file, f"traj_{number}", make_episode(4, number))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(28, dtype=np.float32).reshape(4, 7)
    (tmp_path / "raw").write_bytes(bytes(112))
    episodes = [{"episode_id": n, "episode_seed": n, "control_mode": "pd_ee_delta_pose"} for n in range(2)]
    (tmp_path / "demos.json").write_text(json.dumps(metadata(make_info(), episodes, {})))
    return tmp_path / "demos.h5"


def replace(at, make):
    """Puts what `make(directory)` gives, or writes by itself, in the place of an object."""

    def spoil(path):
        with h5py.File(path, "a") as file:
            del file[at]
            made = make(file, path.parent)
            if made is not None:
                file[at] = made

    return spoil


def poke(at, index, value):
    def spoil(path):
        with h5py.File(path, "a") as file:
            file[at][index] = value

    return spoil


def virtual(file, directory):
    layout = h5py.VirtualLayout((4, 7), np.float32)
    layout[...] = h5py.VirtualSource(directory / "other.h5", "secret", shape=(4, 7))
    file.create_virtual_dataset("traj_1/actions", layout)


def external_storage(file, directory):
    file.create_dataset("traj_1/actions", (4, 7), np.float32, external=[(str(directory / "raw"), 0, 112)])


def describe(**changes):
    """Changes the .json: entries of the first episode that have these names, else of the whole."""

    def spoil(path):
        values = json.loads(path.with_suffix(".json").read_text())
        for name, value in changes.items():
            owner = values["episodes"][0] if name in values["episodes"][0] or name == "reset_kwargs" else values
            owner[name] = value
        path.with_suffix(".json").write_text(json.dumps(values))

    return spoil


def info(**changes):
    def spoil(path):
        values = json.loads(path.with_suffix(".json").read_text())
        values["rpd_jax"]["info"] |= changes
        path.with_suffix(".json").write_text(json.dumps(values))

    return spoil


def published_with_another_camera(path):
    with h5py.File(path, "a") as file:
        file.move("traj_1/obs/sensor_data/base_camera", "traj_1/obs/sensor_data/hand_camera")
    values = json.loads(path.with_suffix(".json").read_text())
    del values["rpd_jax"]
    path.with_suffix(".json").write_text(json.dumps(values))


REFUSED = {
    "external link": (
        replace("traj_1/actions", lambda file, directory: h5py.ExternalLink("other.h5", "secret")),
        r"demos\.h5: traj_1/actions is a link to secret in another file, 'other\.h5'",
    ),
    "group behind a link": (
        replace("traj_1", lambda file, directory: h5py.ExternalLink("other.h5", "/")),
        r"demos\.h5: traj_1 is a link",
    ),
    "soft link": (
        replace("traj_1/actions", lambda file, directory: h5py.SoftLink("/traj_0/actions")),
        r"demos\.h5: traj_1/actions is a soft link to /traj_0/actions",
    ),
    "virtual": (replace("traj_1/actions", virtual), r"traj_1/actions is a virtual dataset, made of .*other\.h5"),
    "storage": (replace("traj_1/actions", external_storage), r"traj_1/actions is stored in another file, .*raw"),
    "nan action": (poke("traj_1/actions", (2, 3), np.nan), r"demos\.h5: traj_1/actions\[2\] is no finite number"),
    "infinite reward": (poke("traj_0/rewards", 3, np.inf), r"demos\.h5: traj_0/rewards\[3\] is no finite"),
    "nan state": (poke("traj_1/obs/state", (4, 0), np.nan), r"demos\.h5: traj_1/obs/state\[4\] is no finite"),
    "too large for float32": (
        replace("traj_1/actions", lambda file, directory: np.full((4, 7), 1e300)),
        r"traj_1/actions\[0\] is no finite number",
    ),
    "words for numbers": (
        replace("traj_1/actions", lambda file, directory: np.full((4, 7), b"left")),
        r"demos\.h5: traj_1/actions holds \|S4 of shape \(4, 7\): it must be numbers with 2 axes",
    ),
    "no axis": (
        replace("traj_1/terminated", lambda file, directory: np.bool_(True)),
        r"traj_1/terminated holds bool of shape \(\): it must be numbers with 1 axes",
    ),
    "no group": (replace("traj_1", lambda file, directory: np.zeros(3)), r"traj_1 is missing, which demos\.json lists"),
    "another camera": (
        published_with_another_camera,
        r"traj_1 has frames at sensor_data/hand_camera/rgb, episodes before it at sensor_data/base_camera/rgb",
    ),
    "nested without end": (
        lambda path: path.with_suffix(".json").write_text("[" * 200_000),
        r"demos\.json cannot be read",
    ),
    "number for an id": (describe(env_info={"env_id": 3}), r"must have env_info\.env_id and episodes"),
    "no list": (describe(episodes={"a": 1}), r"must have env_info\.env_id and episodes"),
    "two modes": (
        describe(control_mode="pd_joint_pos"),
        r"demos\.json: control_mode is 'pd_joint_pos' in episodes\[0\] and 'pd_ee_delta_pose' in episodes\[1\]",
    ),
    "seed": (describe(episode_seed="one"), r"demos\.json: episodes\[0\]\.episode_seed='one' is of the wrong type"),
    "kwargs": (describe(reset_kwargs=[1]), r"episodes\[0\]\.reset_kwargs=\[1\] is of the wrong type"),
    "episode": (describe(episodes=["traj_0"]), r"episodes\[0\]\.episode_id='traj_0' is of the wrong type"),
    "own entry": (describe(rpd_jax=[1]), r"demos\.json: rpd_jax\.info cannot be read: info=\[1\]"),
    "instruction": (info(instruction=4), r"info cannot be read: info\.instruction=4 cannot work: it must be str"),
    "length": (info(max_episode_steps=2.5), r"info\.max_episode_steps=2\.5 cannot work: it must be int"),
    "flag": (info(is_scripted="no"), r"info\.is_scripted='no' cannot work: it must be bool"),
    "contract": (info(contract={"rotation_sign": 1}), r"info\.contract: fields .* are missing or unknown"),
    "camera": (info(camera={"eye": [1, 2], "target": [0, 0, 0], "fov": 1}), r"info\.camera\.eye=\[1, 2\] cannot work"),
    "std": (info(perturb=float("nan")), r"info\.perturb=nan cannot work: it must be float"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_believed_is_refused(path, case):
    spoil, message = REFUSED[case]
    with Demonstrations(path) as demonstrations:  # it is whole before
        assert [episode.length for episode in demonstrations] == [4, 4]
    spoil(path)
    with pytest.raises(ConfigError, match=message) as error, Demonstrations(path) as demonstrations:
        list(demonstrations)
    assert "\n" not in str(error.value)


def test_sensors_may_have_infinities(path):
    with h5py.File(path, "a") as file:
        file["traj_0/obs/sensor_data/base_camera/position"] = np.full((5, 2, 2, 3), np.inf, np.float32)
    with Demonstrations(path) as demonstrations:
        assert np.isinf(demonstrations[0].observation["sensor_data/base_camera/position"]).all()
