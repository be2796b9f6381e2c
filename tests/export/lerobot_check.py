"""Run by LeRobot's own interpreter, with the plugin installed: an exported policy through LeRobot's own functions.

python lerobot_check.py POLICY OBSERVATIONS.npz OUTPUT.npz

The observations are entries as LeRobot names them, with a batch axis. The output is the policy's actions for all at
once, for one after the other through its pipelines, and of a policy that LeRobot saved and loaded again. Of a state
alone it is also what an environment and a robot that show these observations were told to do by `lerobot-eval` and
`lerobot-rollout --policy.path=POLICY`.
"""

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium
import numpy as np
import torch
from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig
from lerobot.envs.configs import EnvConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.robots import Robot, RobotConfig
from lerobot.scripts import lerobot_eval, lerobot_rollout
from lerobot.utils.import_utils import register_third_party_plugins

POLICY, OBSERVATIONS, OUTPUT = sys.argv[1:]
STEPS = 5
with np.load(OBSERVATIONS) as found:
    observation = {name: torch.from_numpy(x) for name, x in found.items()}
told: list[np.ndarray] = []
sent: list[list[float]] = []
shown: list[int] = []  # the observation before each of `sent`


class Shown(gymnasium.Env):
    """Shows the first observations one after the other, and keeps the actions that it is told."""

    metadata = {"render_fps": 20}  # noqa: RUF012
    task_description, _max_episode_steps = "", STEPS
    action_space = gymnasium.spaces.Box(-1, 1, (7,))

    def __init__(self, **_):
        self.observation_space = gymnasium.spaces.Dict(
            {"agent_pos": gymnasium.spaces.Box(-np.inf, np.inf, observation["observation.state"].shape[1:])}
        )

    def reset(self, *, seed=None, options=None):
        self.step_index = 0
        return self._seen(), {}

    def step(self, action):
        told.append(np.asarray(action)[None])
        self.step_index += 1
        end = self.step_index == STEPS
        return self._seen(), 0.0, end, False, {"is_success": end}

    def render(self):
        return np.zeros((64, 64, 3), np.uint8)

    def _seen(self):
        return {"agent_pos": observation["observation.state"][self.step_index].numpy()}


@EnvConfig.register_subclass("shown")
@dataclass
class ShownConfig(EnvConfig):
    task: str = "Shown-v0"
    features_map: dict = field(default_factory=lambda: {"action": "action", "agent_pos": "observation.state"})
    features: dict = field(
        default_factory=lambda: {
            "action": PolicyFeature(FeatureType.ACTION, (7,)),
            "agent_pos": PolicyFeature(FeatureType.STATE, tuple(observation["observation.state"].shape[1:])),
        }
    )

    @property
    def gym_id(self):
        return "Shown-v0"

    @property
    def gym_kwargs(self):
        return {}


@RobotConfig.register_subclass("shown")
@dataclass
class ShownRobotConfig(RobotConfig):
    pass


class ShownRobot(Robot):
    """The same as a robot. LeRobot tells numbers by their places: the features must be in the policy's order."""

    config_class, name = ShownRobotConfig, "shown"
    is_connected = is_calibrated = True
    index = 0

    @property
    def observation_features(self):
        return dict.fromkeys(config.state_names, float)

    @property
    def action_features(self):
        return dict.fromkeys(config.action_feature_names, float)

    def get_observation(self):
        self.index = (self.index + 1) % len(observation["observation.state"])
        return dict(zip(config.state_names, observation["observation.state"][self.index].tolist(), strict=True))

    def send_action(self, action):
        shown.append(self.index)
        sent.append([action[name] for name in config.action_feature_names])
        return action

    def connect(self, calibrate=True):
        pass

    calibrate = configure = disconnect = lambda self: None


register_third_party_plugins()
config = PreTrainedConfig.from_pretrained(POLICY)
policy = get_policy_class(config.type).from_pretrained(POLICY)
actions = {"at_once": policy.select_action(observation), "chunk": policy.predict_action_chunk(observation)[:, 0]}

before, after = make_pre_post_processors(config, pretrained_path=POLICY)
for name, (pre, post) in {"loaded": (before, after), "made": make_pre_post_processors(config)}.items():
    rows = [{key: x[i] for key, x in observation.items()} for i in range(len(actions["at_once"]))]
    actions[name] = torch.cat([post(policy.select_action(pre(row))) for row in rows])

with tempfile.TemporaryDirectory() as directory:
    policy.save_pretrained(directory)
    actions["saved"] = type(policy).from_pretrained(directory).select_action(observation)
    weights = Path(directory) / "model.safetensors"
    from safetensors.torch import load_file, save_file

    save_file({name: x for name, x in load_file(weights).items() if not name.endswith("clip")}, weights)
    try:
        type(policy).from_pretrained(directory)
    except RuntimeError as error:
        assert "clip" in str(error), error
    else:
        raise AssertionError("weights were missing, and LeRobot loaded the policy")

    if set(observation) == {"observation.state"}:
        gymnasium.register("Shown-v0", Shown)
        arguments = f"--env.type=shown --eval.n_episodes=1 --eval.batch_size=1 --output_dir={directory}/eval"
        sys.argv = ["lerobot-eval", f"--policy.path={POLICY}", *arguments.split()]
        lerobot_eval.main()
        actions["eval"] = torch.from_numpy(np.concatenate(told))
        arguments = f"--robot.type=shown --robot.id=shown --robot.calibration_dir={directory} --fps=20 --duration=1"
        sys.argv = ["lerobot-rollout", f"--policy.path={POLICY}", *arguments.split(), "--return_to_initial_position=no"]
        lerobot_rollout.main()
        actions["rollout"], actions["rollout_index"] = torch.tensor(sent), torch.tensor(shown)

np.savez(OUTPUT, **{name: x.numpy() for name, x in actions.items()})
