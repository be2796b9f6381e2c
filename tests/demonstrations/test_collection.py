"""Collections: whole or not at all, the same whether interrupted or not, and never over something else."""

import contextlib
import dataclasses
import json
from types import SimpleNamespace

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from arm_spec import arm_spec

from rpd_jax.config import Config, ConfigError, EnvConfig, TeacherConfig
from rpd_jax.demonstrations.collect import Settings, collect, describe
from rpd_jax.demonstrations.episode import DatasetInfo
from rpd_jax.demonstrations.reading import Demonstrations
from rpd_jax.envs.base import ArraySpec, Camera
from rpd_jax.envs.registry import make_env
from rpd_jax.runs.lock import DirectoryLock
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.settings import teacher_factory

TOY = Config(env=EnvConfig(name="toy:Reach-v0", max_episode_steps=8), teacher=TeacherConfig(name="toy", noise=0.6))
SETTINGS = Settings(episodes=10, num_envs=4, seed=5)
make_toy = teacher_factory(TOY.teacher)


class Interrupting:
    """A teacher that is cut off in the middle of an episode."""

    def __init__(self, teacher, calls):
        self._teacher, self._calls = teacher, calls
        self.spec = teacher.spec

    def label(self, observation, instruction, key):
        self._calls -= 1
        if self._calls < 0:
            raise KeyboardInterrupt
        return self._teacher.label(observation, instruction, key)


def contents(path):
    """Everything in an HDF5 file, as bytes."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype.str, item.shape, item[()].tobytes())

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_a_collection_has_what_was_asked_for(tmp_path):
    result = collect(TOY, make_toy, SETTINGS, tmp_path / "demos")
    assert result.kept == 10 and not result.interrupted and result.succeeded < result.attempted
    assert sorted(x.name for x in tmp_path.iterdir()) == ["demos"]
    names = ["collection.json", "dataset_statistics.json", "trajectory.h5", "trajectory.json"]
    assert sorted(x.name for x in (tmp_path / "demos").iterdir()) == names
    with Demonstrations(tmp_path / "demos") as demonstrations:
        assert len(demonstrations) == 10 and all(episode.succeeded for episode in demonstrations)
        info = demonstrations.info
        assert info.is_scripted and info.teacher == "toy:Reach-v0" and info.teacher_settings["noise"] == 0.6
        assert info.contract is not None and info.image_size is None and info.layout["state"]["goal_pos"] == [3, 6]
        stored = json.loads((tmp_path / "demos" / "dataset_statistics.json").read_text())
        assert stored == demonstrations.statistics and stored["num_trajectories"] == 10
    # nothing but the teacher's failures is left out
    everything = dataclasses.replace(SETTINGS, successful_only=False, episodes=result.attempted)
    collect(TOY, make_toy, everything, tmp_path / "all")
    with Demonstrations(tmp_path / "demos") as some, Demonstrations(tmp_path / "all") as every:
        successes = [episode for episode in every if episode.succeeded]
        assert len(every) == result.attempted and len(successes) == result.succeeded
        for one, other in zip(some, successes, strict=False):
            assert one.seed == other.seed
            np.testing.assert_array_equal(one.action, other.action)


def test_an_interrupted_collection_goes_on_to_the_same_files(tmp_path):
    collect(TOY, make_toy, SETTINGS, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):  # in the second round: rounds have at most 8 steps
        collect(TOY, lambda env: Interrupting(make_toy(env), 12), SETTINGS, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    shards = sorted((tmp_path / "cut.partial" / "rounds").iterdir())
    assert [shard.name for shard in shards] == ["000000.h5"]
    (tmp_path / "cut.partial" / "rounds" / ".000001.0123.h5").write_bytes(b"of a process that was killed")
    calls = []

    def make(env):
        teacher = make_toy(env)
        teacher = Interrupting(teacher, 10_000)
        label = teacher.label
        teacher.label = lambda *arguments: calls.append(1) or label(*arguments)
        return teacher

    collect(TOY, make, SETTINGS, tmp_path / "cut", resume=True)
    assert contents(tmp_path / "cut" / "trajectory.h5") == contents(tmp_path / "whole" / "trajectory.h5")
    for name in ("trajectory.json", "dataset_statistics.json", "collection.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "cut.partial").exists()
    # what is complete is left alone
    before = (tmp_path / "cut" / "trajectory.h5").stat().st_mtime_ns
    again = collect(TOY, make, SETTINGS, tmp_path / "cut", resume=True)
    assert again.kept == 10 and (tmp_path / "cut" / "trajectory.h5").stat().st_mtime_ns == before


def test_a_collection_killed_while_it_was_put_together_is_completed(tmp_path):
    collect(TOY, make_toy, SETTINGS, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        collect(TOY, lambda env: Interrupting(make_toy(env), 12), SETTINGS, tmp_path / "cut")
    (tmp_path / "cut.partial" / "whole").mkdir()
    (tmp_path / "cut.partial" / "whole" / "trajectory.h5").write_bytes(b"half")
    collect(TOY, make_toy, SETTINGS, tmp_path / "cut", resume=True)
    assert contents(tmp_path / "cut" / "trajectory.h5") == contents(tmp_path / "whole" / "trajectory.h5")


def test_a_damaged_round_is_recorded_again(tmp_path, caplog):
    collect(TOY, make_toy, SETTINGS, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        collect(TOY, lambda env: Interrupting(make_toy(env), 12), SETTINGS, tmp_path / "cut")
    rounds = tmp_path / "cut.partial" / "rounds"
    (rounds / "000000.h5").write_bytes((rounds / "000000.h5").read_bytes()[:100])
    (rounds / ".000009.0a1b2c3d.h5").write_bytes(b"half")  # of a kill
    collect(TOY, make_toy, SETTINGS, tmp_path / "cut", resume=True)
    assert contents(tmp_path / "cut" / "trajectory.h5") == contents(tmp_path / "whole" / "trajectory.h5")
    assert "000000.h5 is damaged" in caplog.text
    assert (tmp_path / "cut.partial" / "set_aside.1" / "rounds" / "000000.h5").is_file()


def test_a_collection_in_use_or_damaged_is_refused(tmp_path):
    other = tmp_path / "demos.partial"
    other.mkdir()
    with contextlib.closing(DirectoryLock(other, "output", "test")), pytest.raises(ConfigError, match="is in use by"):
        collect(TOY, make_toy, SETTINGS, tmp_path / "demos")
    (other / "collection.json").write_text('{"info": 3}')
    with pytest.raises(ConfigError, match=r"collection.json cannot be read: it describes no collection"):
        collect(TOY, make_toy, SETTINGS, tmp_path / "demos", resume=True)
    output = tmp_path / "other"
    collect(TOY, make_toy, SETTINGS, output)
    (output / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"will not be overwritten: it holds 'mine.txt'"):
        collect(TOY, make_toy, SETTINGS, output, overwrite=True)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    output = tmp_path / "demos"
    collect(TOY, make_toy, SETTINGS, output)
    with pytest.raises(ConfigError, match="use resume=True, overwrite=True or another path"):
        collect(TOY, make_toy, SETTINGS, output)
    with pytest.raises(ConfigError, match=r"episodes=11 cannot work.*with 10"):
        collect(TOY, make_toy, dataclasses.replace(SETTINGS, episodes=11), output, resume=True)
    worse = dataclasses.replace(TOY, teacher=TeacherConfig(name="toy", noise=0.7))
    with pytest.raises(ConfigError, match=r"noise=0.7 cannot work.*with 0.6"):
        collect(worse, make_toy, SETTINGS, output, resume=True)
    with pytest.raises(ConfigError, match="contradict each other"):
        collect(TOY, make_toy, SETTINGS, output, resume=True, overwrite=True)
    other = dataclasses.replace(SETTINGS, seed=6)
    before = contents(output / "trajectory.h5")
    # the old data stay until the new ones are there
    with pytest.raises(KeyboardInterrupt):
        collect(TOY, lambda env: Interrupting(make_toy(env), 12), other, output, overwrite=True)
    assert contents(output / "trajectory.h5") == before
    collect(TOY, make_toy, other, output, resume=True)  # goes on with what was to replace them
    assert contents(output / "trajectory.h5") != before
    collect(TOY, make_toy, SETTINGS, output, overwrite=True)
    assert contents(output / "trajectory.h5") == before
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="it is not a collection of demonstrations"):
        collect(TOY, make_toy, SETTINGS, tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "one.png").exists()


def test_a_collection_is_resumed_with_its_own_settings_only(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        collect(TOY, lambda env: Interrupting(make_toy(env), 12), SETTINGS, tmp_path / "demos")
    for settings, message in (
        (dataclasses.replace(SETTINGS, perturb=0.5), r"perturb=0.5 cannot work.* begun with 0.0"),
        (dataclasses.replace(SETTINGS, num_envs=2), r"num_envs=2 cannot work.* begun with 4"),
    ):
        with pytest.raises(ConfigError, match=message):
            collect(TOY, make_toy, settings, tmp_path / "demos", resume=True)
    more = dataclasses.replace(SETTINGS, episodes=12)  # more of the same is fine
    assert collect(TOY, make_toy, more, tmp_path / "demos", resume=True).kept == 12


def test_a_teacher_that_never_succeeds_is_given_up(tmp_path):
    class Still:
        spec = dataclasses.replace(make_toy_spec(), name="still")

        def label(self, observation, instruction, key):
            action = jnp.zeros((len(observation["state"]), 7))
            return TeacherLabels(action, jnp.ones(len(action), bool), jnp.ones_like(action))

    settings = dataclasses.replace(SETTINGS, episodes=2, attempts=3)
    with pytest.raises(ConfigError, match="still succeeded in 0 of 8 episodes, and 2 are wanted"):
        collect(TOY, lambda env: Still(), settings, tmp_path / "demos")
    assert not (tmp_path / "demos").exists()


def make_toy_spec():
    from rpd_jax.envs.functional import FunctionalVectorEnv
    from rpd_jax.envs.toy.reach import Reach

    return make_toy(FunctionalVectorEnv(Reach(), 1, [0])).spec


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", "hdf", "did you mean 'hdf5'"),
        ("episodes", 0, "episodes=0 cannot work: it must be at least 1"),
        ("perturb", float("nan"), "perturb=nan cannot work"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, field, value, message):
    with pytest.raises(ConfigError, match=message):
        collect(TOY, make_toy, dataclasses.replace(SETTINGS, **{field: value}), tmp_path / "demos")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_tabletop_with_frames(tmp_path):
    config = Config(env=EnvConfig(name="tabletop:PickCube-v1", image_size=64), teacher=TeacherConfig(probe=False))
    settings = Settings(episodes=3, num_envs=3, hold_steps=2)
    result = collect(config, teacher_factory(config.teacher), settings, tmp_path / "demos")
    assert result.succeeded >= 3
    with Demonstrations(tmp_path / "demos") as demonstrations:
        assert demonstrations.info.image_size == 64 and demonstrations.info.contract.rotation_sign == 1
        assert demonstrations.statistics["proprio"]["mask"] == [True] * 23
        for episode in demonstrations:
            frames = episode.observation["rgb"]
            assert frames.shape == (episode.length + 1, 64, 64, 3) and frames.dtype == np.uint8
            first = int(np.argmax(episode.success))
            assert episode.succeeded and episode.length == first + 3
            assert episode.action[0, 6] > 0 > episode.action[-1, 6]  # the gripper is open first and closed at last
            assert np.mean(frames[0] != frames[-1]) > 0.01
        # an episode's seed and actions give its observations again, frame for frame
        episodes = list(demonstrations)
        env = make_env(config.env, [0] * 3, rgb=True, end_on_success=False)
        env.reseed([episode.seed for episode in episodes])
        seen = env.reset()
        for t in range(max(episode.length for episode in episodes)):
            action = np.zeros((3, 7), np.float32)
            for i, episode in enumerate(episodes):
                if t < episode.length:
                    np.testing.assert_allclose(seen["state"][i], episode.observation["state"][t], atol=1e-6)
                    np.testing.assert_array_equal(seen["rgb"][i], episode.observation["rgb"][t])
                    action[i] = episode.action[t]
            seen = env.step(action).observation


def test_the_camera_of_recorded_frames_is_noted():
    camera = Camera((1.0, 0.0, 2.0))
    for observation, noted in (({"rgb": ArraySpec((8, 8, 3), "uint8")}, camera), ({}, None)):
        env = SimpleNamespace(spec=arm_spec(camera=camera, observation=observation))
        info = describe(Config(), env, SimpleNamespace(spec=TeacherSpec("x", (), None)), SETTINGS)
        assert info.camera == noted and DatasetInfo.from_dict(info.to_dict()) == info


def test_parts_of_deltas_are_not_recorded(tmp_path):
    config = dataclasses.replace(TOY, env=dataclasses.replace(TOY.env, name="tabletop:PushCube-v1", horizon_scale=10))
    with pytest.raises(ConfigError, match="horizon_scale=10"):
        collect(config, make_toy, SETTINGS, tmp_path / "demos")
    assert not (tmp_path / "demos").exists()


def test_episodes_with_numbers_that_are_not_finite_are_left_out(tmp_path, caplog):
    """Every other environment is given NaN; what is kept can be read."""

    class HalfMad:
        def __init__(self, env):
            self._teacher = make_toy(env)
            self.spec = self._teacher.spec

        def label(self, observation, instruction, key):
            labels = self._teacher.label(observation, instruction, key)
            mad = (jnp.arange(len(labels.action)) % 2 == 1)[:, None]
            return labels._replace(action=jnp.where(mad, jnp.nan, labels.action))

    settings = dataclasses.replace(SETTINGS, episodes=4, successful_only=False)
    result = collect(TOY, HalfMad, settings, tmp_path / "demos")
    assert result.attempted == 8
    with Demonstrations(tmp_path / "demos") as demonstrations:
        assert [bool(episode.not_finite) for episode in demonstrations] == [False] * 4
    left_out = [r.getMessage() for r in caplog.records if "is left out" in r.getMessage()]
    assert len(left_out) == 4 and "toy:Reach-v0, episode of seed" in left_out[0] and "actions[0]" in left_out[0]


@pytest.mark.parametrize("text", ["{", "[]", '{"info": 3}', '{"info": {"seed": 1}}', "[" * 200_000])
def test_a_damaged_description_is_named(tmp_path, text):
    with pytest.raises(KeyboardInterrupt):
        collect(TOY, lambda env: Interrupting(make_toy(env), 12), SETTINGS, tmp_path / "demos")
    (tmp_path / "demos.partial" / "collection.json").write_text(text)
    with pytest.raises(ConfigError, match=r"demos\.partial/collection\.json cannot be read") as error:
        collect(TOY, make_toy, SETTINGS, tmp_path / "demos", resume=True)
    assert "\n" not in str(error.value)
