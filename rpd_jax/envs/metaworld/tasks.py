"""What is known of Meta-World (arXiv 1910.10897; its version 3, of the Farama Foundation) without starting it."""

from __future__ import annotations

from collections.abc import Mapping

from rpd_jax.envs.venv import Venv

VENV = Venv("Meta-World", ".venv-metaworld", "metaworld-env")

_NAMES = """
assembly basketball bin-picking box-close button-press-topdown button-press-topdown-wall button-press button-press-wall
coffee-button coffee-pull coffee-push dial-turn disassemble door-close door-lock door-open door-unlock hand-insert
drawer-close drawer-open faucet-open faucet-close hammer handle-press-side handle-press handle-pull-side handle-pull
lever-pull pick-place-wall pick-out-of-hole pick-place plate-slide plate-slide-side plate-slide-back
plate-slide-back-side peg-insert-side peg-unplug-side soccer stick-push stick-pull push push-wall push-back reach
reach-wall shelf-place sweep-into sweep window-open window-close
"""
TASKS = tuple(f"{name}-v3" for name in _NAMES.split())

_MT10 = """
reach push pick-place door-open drawer-open drawer-close button-press-topdown peg-insert-side window-open window-close
"""
SETS: Mapping[str, tuple[str, ...]] = {"MT10": tuple(f"{name}-v3" for name in _MT10.split()), "MT50": TASKS}
"""Its benchmarks of several tasks."""

MAX_EPISODE_STEPS = 500
CONTROL_HZ = 80.0
CONTROL_MODE = "xyz_gripper"
"""Four numbers in [-1, 1]: centimetres by which the hand's target moves along the world's axes, and the fingers' force,
of which 1 closes. The hand does not turn, so there is no `ActionContract`."""

PARTS: Mapping[str, tuple[int, str]] = {
    "hand_pos": (3, "m"),
    "gripper_opening": (1, "1 (0 closed, 1 open)"),
    "object_pose": (7, "3 m, quaternion in the task's own order"),
    "second_object_pose": (7, "3 m, quaternion in the task's own order, zeros where there is none"),
}
"""Parts of the state, world axes, with length and unit; all but the hand's may be zeros."""

STATE: Mapping[str, int] = {
    **{name: size for name, (size, _) in PARTS.items()},
    **{f"previous_{name}": size for name, (size, _) in PARTS.items()},
    "goal_pos": 3,
}
"""Its observation of 39 numbers: now, one step before, and the goal, which is shown as in its multi-task benchmarks."""

UNITS = {**PARTS, **{f"previous_{name}": part for name, part in PARTS.items()}}
PROPRIO = ("hand_pos", "gripper_opening")

CAMERAS: Mapping[str, str] = {"rgb": "corner4", "rgb_wrist": "gripperPOV"}
"""Entry of an observation -> its camera. corner4 is where those who learn from frames put corner2: at the table. It
films upside down, so that its frames are turned by 180 degrees."""

SUCCESS = "Meta-World's own rule of the task (info['success'])"


def instruction(task: str) -> str:
    """The task's name as words: "pick-place-v3" is "pick place"; Meta-World has no others."""
    return task.removesuffix("-v3").replace("-", " ")
