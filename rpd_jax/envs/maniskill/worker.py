"""The process that runs single ManiSkill environments; `process_worker` lists its requests. Never imports jax."""

from __future__ import annotations

import difflib
import gc
from typing import Any

import numpy as np

from rpd_jax.config.validation import ConfigError
from rpd_jax.envs import process_worker, rewards


class Worker(process_worker.Worker):
    """See there."""

    def _create(self, fields: dict[str, Any]) -> list[Any]:
        return make_envs(fields, fields["count"])

    def _describe(self, fields: dict[str, Any]) -> dict[str, Any]:
        return describe(self._envs[0], fields) | {"simulator": _slices(self._envs[0].get_state_dict())}

    def _reset(self, row: int, seed: int) -> np.ndarray:
        observation, _ = self._envs[row].reset(seed=seed)
        self._tell(row, "simulator")
        return observation.numpy()[0]

    def _step(self, row: int, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        observation, reward, ended, _, info = self._envs[row].step(action)
        success = "success" in info and info["success"].item()
        self._tell(row, "simulator", "final_simulator")
        return observation.numpy()[0], reward.item(), ended.item(), success

    def _picture(self, row: int, camera: str) -> np.ndarray:
        return self._envs[row].render()[0].numpy()

    def _tell(self, row: int, *names: str) -> None:
        """Writes the simulator's state into these arrays, if it is wanted."""
        if self._arrays["tells"][row]:
            state = np.concatenate(_values(self._envs[row].get_state_dict()))
            for name in names:
                self._arrays[name][row] = state


def make_envs(
    fields: dict[str, Any], count: int, num_envs: int = 1, sim_backend: str = "physx_cpu", render: str = "sapien_cpu"
) -> list[Any]:
    """Turns this process into a simulator permanently and gives `count` environments, each of a batch of `num_envs`.

    `fields` are those of a "make" request.
    """
    # Imported here, so that the process is guarded (see sidecar.serve) while this takes its seconds.
    import gymnasium
    import mani_skill.envs  # noqa: F401  (registers the tasks)
    import torch
    from mani_skill.utils.sapien_utils import look_at

    from rpd_jax.envs.maniskill import fast as maniskill_fast

    maniskill_fast.install()
    torch.set_num_threads(1)
    torch.inference_mode().__enter__()  # permanently: its tensors and others do not mix
    # The libraries' objects stay: the collector need not look at them again. Scenes do come and go.
    gc.collect()
    gc.freeze()
    gc.disable()
    camera: dict[str, Any] = {"width": fields["image_size"], "height": fields["image_size"]}
    if fields["camera"] is not None:
        eye, target, fov = (fields["camera"][name] for name in ("eye", "target", "fov"))
        camera |= {"pose": look_at(eye, target), "fov": fov}
    simplified = fields["reward_mode"] in rewards.KINDS
    reward_mode = "sparse" if simplified else fields["reward_mode"]
    _check_task(fields["task"], reward_mode)
    settings = {
        "num_envs": num_envs,
        "obs_mode": "state",
        "control_mode": fields["control_mode"],
        "reward_mode": reward_mode,
        "sim_backend": sim_backend,
        "render_backend": render,
        "render_mode": "rgb_array",
    }
    try:
        return [
            # Without the wrappers: time limits and resets are done here.
            gymnasium.make(fields["task"], human_render_camera_configs=dict(camera), **settings).unwrapped
            for _ in range(count)
        ]
    except AssertionError as error:
        if "not in supported modes" not in str(error):
            raise
        mode = fields["control_mode"]
        raise ConfigError(f"env.control_mode={mode!r} cannot work in {fields['task']}: {error}") from error
    except EOFError as error:  # it asks whether to download something, and nobody answers
        get = f"python -m mani_skill.utils.download_asset {fields['task']}"
        raise ConfigError(
            f"env.name='maniskill:{fields['task']}' cannot work: it needs files that are not there; {get}"
        ) from error


def describe(env: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The reply to a "make" request, which had these `fields`."""
    space = env.single_action_space
    if not hasattr(space, "low"):
        raise ConfigError(f"env.name='maniskill:{fields['task']}' cannot work: its actions are of several robots")
    return {
        "action_low": space.low.tolist(),
        "action_high": space.high.tolist(),
        "state": _slices(env.get_obs(unflattened=True)),
        "robot": env.agent.uid,
        "max_episode_steps": (fields["max_episode_steps"] or _own_limit(fields["task"])) * fields["horizon_scale"],
    }


def _own_limit(task: str) -> int:
    from mani_skill.utils.registration import REGISTERED_ENVS

    limit = REGISTERED_ENVS[task].max_episode_steps
    if limit is None:
        raise ConfigError(f"env.max_episode_steps=None cannot work in {task}: it has no limit of its own")
    return limit


def _check_task(task: str, reward_mode: str) -> None:
    """Raises ConfigError where ManiSkill has no such task, or the task no such reward."""
    from mani_skill.utils.registration import REGISTERED_ENVS

    if task not in REGISTERED_ENVS:
        close = difflib.get_close_matches(task, REGISTERED_ENVS, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"env.name='maniskill:{task}' is unknown: ManiSkill has no such task{hint}")
    known = REGISTERED_ENVS[task].cls.SUPPORTED_REWARD_MODES
    if reward_mode not in known:
        raise ConfigError(f"env.reward={reward_mode!r} cannot work in {task}: choose from {', '.join(known)}")


def _slices(tree: Any, path: tuple[str, ...] = ()) -> list[list[Any]]:
    """[path, length] of every leaf of a nested observation, in the order in which ManiSkill flattens it."""
    if isinstance(tree, dict):
        return [row for name, value in tree.items() for row in _slices(value, (*path, name))]
    return [["/".join(path), int(np.prod(tree.shape[1:], dtype=np.int64))]]


def _values(tree: Any) -> list[np.ndarray]:
    """The leaves of a nested state of one environment, flat, in the order of `_slices`."""
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in _values(value)]
    return [tree.numpy()[0].reshape(-1)]


if __name__ == "__main__":
    process_worker.main(Worker())
