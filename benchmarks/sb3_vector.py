"""What stable-baselines3 wants of a vector environment besides resetting and stepping."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.vec_env import VecEnv


class PlainVecEnv(VecEnv):
    """A vector of environments that have neither attributes, methods nor wrappers of their own to reach."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError(f"{attr_name} belongs to no environment by itself")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError(f"{method_name} belongs to no environment by itself")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs
