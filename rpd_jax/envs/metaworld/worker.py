"""The process that runs Meta-World; `process_worker` lists its requests. Imports neither jax nor torch."""

from __future__ import annotations

import importlib.metadata
import warnings
from typing import Any

import numpy as np

from rpd_jax.envs import process_worker
from rpd_jax.envs.metaworld import tasks


class Worker(process_worker.Worker):
    """See there. An episode is a function of its seed: nothing of an earlier one is left."""

    def _create(self, fields: dict[str, Any]) -> list[Any]:
        self._cameras, self._size, self._reward = fields["cameras"], fields["image_size"], fields["reward_mode"]
        self._renderers: dict[int, Any] = {}
        self._expert = self._make_expert(fields["task"])
        return [self._make_env(fields["task"], fields["max_episode_steps"]) for _ in range(fields["count"])]

    def _make_expert(self, task: str) -> Any:
        from metaworld.policies import ENV_POLICY_MAP

        warnings.filterwarnings(
            "ignore", message="Constant"
        )  # of scripts whose actions leave the box: they are clipped
        return ENV_POLICY_MAP[task]()

    def _make_env(self, task: str, max_episode_steps: int) -> Any:
        """A task without a fixed goal: each reset draws where things are, by a generator that `_reset` seeds."""
        import mujoco
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        env = ALL_V3_ENVIRONMENTS[task]()
        env._partially_observable = False  # the goal is in the observation; as Meta-World's own "goal-observable" does
        del env.sawyer_observation_space
        env._set_task_called, env._freeze_rand_vec, env.seeded_rand_vec = True, False, True
        env.max_path_length = max_episode_steps
        env.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # it would restart inside an episode
        return env

    def _describe(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "instruction": tasks.instruction(fields["task"]),
            "state": [[name, size] for name, size in tasks.STATE.items()],
            "entries": {"expert": 4},
            "versions": self._versions(),
            "action_low": [-1.0] * 4,
            "action_high": [1.0] * 4,
            "max_episode_steps": fields["max_episode_steps"],
        }

    def _versions(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("metaworld", "mujoco")}

    def _reset(self, row: int, seed: int) -> np.ndarray:
        env = self._envs[row]
        env.seed(seed)
        observation, _ = env.reset()
        self._ask(row, observation, "expert")
        return observation

    def _step(self, row: int, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        observation, reward, _, _, info = self._envs[row].step(action)
        self._ask(row, observation, "expert", "final_expert")
        success = bool(info["success"])
        paid = {"sparse": float(success), "dense": float(reward), "normalized_dense": float(reward) / 10.0}
        return observation, paid[self._reward], success, success

    def _ask(self, row: int, observation: np.ndarray, *names: str) -> None:
        """Writes what the script does here into these arrays."""
        answer = np.clip(self._expert.get_action(observation), -1.0, 1.0)
        for name in names:
            self._arrays[name][row] = np.nan_to_num(answer)  # of an observation that is not finite: it does not count

    def _picture(self, row: int, camera: str) -> np.ndarray:
        import mujoco

        env = self._envs[row]
        if row not in self._renderers:
            for side in ("offwidth", "offheight"):
                setattr(env.model.vis.global_, side, self._size)
            self._renderers[row] = mujoco.Renderer(env.model, self._size, self._size)
        mujoco.mj_kinematics(env.model, env.data)  # a reset moves the goal's mark last; the physics do not notice
        mujoco.mj_camlight(env.model, env.data)
        self._renderers[row].update_scene(env.data, camera=self._cameras[camera])
        frame = self._renderers[row].render()
        return frame[::-1, ::-1] if camera == "rgb" else frame


if __name__ == "__main__":
    process_worker.main(Worker())
