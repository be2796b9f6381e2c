"""Octo as a token student: what it sees, what it is told, how it learns, what it is as a teacher and when exported."""

import dataclasses
import json

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError, EnvConfig, NetworkConfig, SFTConfig, TeacherConfig
from rpd_jax.config.algorithm import OPDConfig
from rpd_jax.demonstrations.transitions import load
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.envs.registry import register_suite
from rpd_jax.envs.suite import FunctionalSuite, task_of
from rpd_jax.export.files import export_student
from rpd_jax.policies.base import make_policy, student_keys
from rpd_jax.training.student import env_spec
from teachers.octo.fresh import example_batch, init_octo, nano_config
from teachers.octo.text import WordTokenizer
from teachers.settings import teacher_factory

STATISTICS = {"action": {"mean": np.zeros(7, np.float32), "std": np.ones(7, np.float32)}}
BINS = 16
PUSH, PULL = "push the cube away from the robot base", "pull the cube towards the robot base"
ENTRIES = {
    "rgb": ArraySpec((64, 64, 3), "uint8"),
    "state": ArraySpec((4,), "float32"),
    "instruction": ArraySpec((), "int32"),
}
ONE = EnvSpec("toy:x", PUSH, 10, 7, (-1.0,) * 7, (1.0,) * 7, ENTRIES, {})
BOTH = dataclasses.replace(ONE, instructions=(PUSH, PULL))
FRAMES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


def build(spec=ONE, observation="rgb", head="tokens", **network):
    return make_policy(EnvConfig(observation=observation), NetworkConfig(name="octo", bins=BINS, **network), spec, head)


def logits(policy, params, **observation):
    return np.asarray(jax.jit(policy.apply)(params, observation)[0].logits)


def test_it_begins_as_a_trained_transformer_under_a_fresh_head():
    policy = build()
    params = policy.init(jax.random.key(0))
    tokens, value = jax.jit(policy.apply)(params, {"rgb": FRAMES})
    assert tokens.logits.shape == (4, 7, BINS) and value is None and policy.tokens.bins == BINS
    np.testing.assert_allclose(np.exp(tokens.entropy() / 7), BINS, rtol=0.01)  # all tokens are about as likely
    other = policy.init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, other["octo_transformer"], params["octo_transformer"])
    assert not np.array_equal(*(x["heads_action"]["vocab_proj"]["kernel"] for x in (params, other)))
    assert not any("task_tokenizers" in name for name in params["octo_transformer"])  # the text encoder stays as it is


def test_every_row_heeds_its_own_instruction(tiny):
    policy, push, pull = (build(spec, path=tiny) for spec in (BOTH, ONE, dataclasses.replace(ONE, instruction=PULL)))
    assert student_keys(EnvConfig(observation="rgb"), policy) == ("rgb", "instruction")
    assert student_keys(EnvConfig(observation="rgb"), push) == ("rgb",)
    params = policy.init(jax.random.key(0))  # the same for all three: what it is told is no parameter
    found = logits(policy, params, rgb=FRAMES, instruction=jnp.array([0, 1, 1, 0]))
    told = [logits(each, params, rgb=FRAMES) for each in (push, pull)]
    assert (
        np.abs(told[0] - told[1]).max() > 10 * np.abs(found - np.where([[[0]], [[1]], [[1]], [[0]]], *told[::-1])).max()
    )
    np.testing.assert_allclose(found[[0, 3]], told[0][[0, 3]], atol=1e-5)
    np.testing.assert_allclose(found[[1, 2]], told[1][[1, 2]], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": "gaussian"}, "network.name='octo' cannot work: it must be 'standard' in this family"),
        ({"observation": "state"}, "env.observation='state' cannot work: it must be 'rgb' with network.name='octo'"),
        ({"path": "nowhere"}, "'nowhere' is not a directory"),
    ],
)
def test_what_it_cannot_be_is_refused_in_one_line(change, message):
    with pytest.raises(ConfigError, match=message) as error:
        build(**change)
    assert "\n" not in str(error.value)


TASKS = ("PushCube-v1", "PullCube-v1")
STEPS = 4  # of an episode


class Painted:
    """An environment of grey pictures, quickly compiled: any action along x succeeds."""

    def __init__(self, task, instruction, rgb):
        entries = {name: each for name, each in PICTURES.items() if rgb or name != "rgb"}
        box = (-1.0,) * 7, (1.0,) * 7
        self.spec = EnvSpec(f"painted:{task}", instruction, STEPS, 7, *box, entries, {}, frame_shape=(48, 48, 3))

    def observe(self, grey):
        picture = jnp.broadcast_to((255 * grey).astype(jnp.uint8), (48, 48, 3))
        return {name: {"state": grey[None], "rgb": picture}[name] for name in self.spec.observation}

    def reset(self, key):
        grey = jax.random.uniform(key)
        return grey, self.observe(grey)

    def step(self, grey, action):
        no = jnp.zeros((), bool)
        return grey, self.observe(grey), jnp.zeros(()), no, no, action[0] > 0.0


PICTURES = {"state": ArraySpec((1,), "float32"), "rgb": ArraySpec((48, 48, 3), "uint8")}


class PaintedSuite(FunctionalSuite):
    def tasks(self):
        return TASKS

    def functional(self, config, *, rgb, end_on_success):
        task = task_of(config)
        return Painted(task, dict(zip(TASKS, (PUSH, PULL), strict=True))[task], rgb)


register_suite("painted", PaintedSuite())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint of an untrained Octo of one narrow layer, that knows the words of the two tasks."""
    text = WordTokenizer.build([PUSH, PULL], 12)
    config = nano_config(text)
    config["model"]["token_embedding_size"] = 32
    config["model"]["transformer_kwargs"] |= {"num_layers": 1, "mlp_dim": 32, "num_attention_heads": 2}
    octo = init_octo(config, example_batch(config, text, 48, instruction=PUSH), STATISTICS, text, jax.random.key(0))
    directory = tmp_path_factory.mktemp("octo") / "tiny"
    octo.save(directory, 0, {"vocabulary.json": text.to_json().encode()})
    return str(directory)


def configure(tiny, directory, tasks=TASKS):
    config = rpd_jax.get_preset("debug")
    config.env = EnvConfig(
        name="painted:" + ",".join(tasks),
        observation="rgb",
        image_size=48,
        reward="sparse",
        num_envs=4,
        end_on_success=False,
    )
    config.network = NetworkConfig(name="octo", path=tiny, bins=BINS)
    config.seeds = (0,)
    config.eval.every, config.eval.episodes, config.eval.num_envs, config.eval.videos = 0, 4, 4, 0
    config.run.directory, config.run.tensorboard = str(directory), False
    return config


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    """Files as ManiSkill's: two episodes of each task, the same frames all over, and actions that go with the task."""
    found = []
    for number, task in enumerate(TASKS):
        directory = tmp_path_factory.mktemp(task)
        with h5py.File(directory / "trajectory.h5", "w") as file:
            for episode in range(2):
                group = file.create_group(f"traj_{episode}")
                group["actions"] = np.full((STEPS, 7), number - 0.5, np.float32)
                group["terminated"] = group["truncated"] = np.zeros(STEPS, bool)
                group["obs/sensor_data/base_camera/rgb"] = np.full((STEPS + 1, 48, 48, 3), 100, np.uint8)
        episodes = [{"episode_id": episode} for episode in range(2)]
        (directory / "trajectory.json").write_text(json.dumps({"env_info": {"env_id": task}, "episodes": episodes}))
        found.append(str(directory))
    return tuple(found)


@pytest.fixture(scope="module")
def taught(tiny, demonstrations, tmp_path_factory):
    """A run of supervised fine-tuning on both tasks, and its rows of metrics."""
    config = configure(tiny, tmp_path_factory.mktemp("taught") / "run")
    config.variants = ("sft",)
    settings = dict(total_steps=4 * 25 * 8, batch_size=8, steps_per_iteration=25, learning_rate=3e-3)
    config.algorithm = SFTConfig(demonstrations=demonstrations, max_grad_norm=1.0, **settings)
    return config.run.directory, rpd_jax.train(config).history


def test_supervised_fine_tuning_tells_two_tasks_apart(taught):
    """By their instructions alone: frames are the same, and without words the loss could not go below log 2."""
    losses = [row["update/loss/sft/0"] for row in taught[1]]
    assert losses[0] > 1.0 > 0.1 > losses[-1]


def test_demonstrations_of_several_tasks_take_turns_and_keep_their_instructions(tiny, demonstrations):
    config = configure(tiny, "unused")
    config.algorithm = SFTConfig(demonstrations=demonstrations)
    spec = env_spec(config.env)
    found = load(config, spec, ("rgb", "instruction"))
    np.testing.assert_array_equal(found.transitions.observation["instruction"], np.repeat([0, 1, 0, 1], STEPS))
    np.testing.assert_array_equal(found.ends, STEPS * np.arange(1, 5))
    with pytest.raises(ConfigError, match=r"PullCube-v1.*cannot work in .*: 'pull the cube .* is none of \['push"):
        load(config, dataclasses.replace(spec, instructions=(PUSH,)), ("rgb", "instruction"))


@pytest.mark.parametrize(
    "tasks",
    [pytest.param(TASKS[:1], id="in one program"), pytest.param(TASKS, id="several tasks")],
)
@pytest.mark.slow
def test_on_policy_distillation_from_a_saved_student(tiny, taught, demonstrations, tmp_path, tasks):
    """Of a teacher that is the student it begins from: they differ in nothing, if both are told the same."""
    config = configure(tiny, tmp_path / "run", tasks)
    config.variants = ("reverse-kl:imitation=0.1:name=reverse-kl",)
    settings = dict(total_steps=4 * STEPS, rollout_length=STEPS, group_size=2, minibatches=1)
    shown = demonstrations[: len(tasks)]
    config.algorithm = OPDConfig(start=taught[0], demonstrations=shown, batch_size=4, **settings)
    config.teacher = TeacherConfig(name="policy", path=taught[0], probe=False)
    result = rpd_jax.train(config, teacher_factory(config.teacher))
    (row,) = result.history
    assert abs(row["update/reverse_kl/reverse-kl/0"]) < 1e-4 < row["update/entropy/reverse-kl/0"]
    if len(tasks) == 1:
        exported = export_student(result.student("reverse-kl", seed=0), tmp_path / "export")
        assert set(exported.files) == {"student.stablehlo"}  # compared with the student before it was written
