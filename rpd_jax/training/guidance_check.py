"""Whether guidance fits a run: its environment, its rollouts, its rewards, its teacher."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from rpd_jax.algorithms.variants import VariantSpec
from rpd_jax.config import Config, ConfigError, require
from rpd_jax.config.teacher import Acting
from rpd_jax.envs.base import EnvSpec
from rpd_jax.envs.registry import random_ages, task_info, unsettled_iterations
from rpd_jax.envs.suite import Suite
from rpd_jax.types import Teacher, TeacherSpec, TokenContract


def check_guidance(spec: VariantSpec, config: Config, suite: Suite | None = None) -> None:
    """Raises ConfigError for a variant whose guidance the run cannot give, or could never end."""
    guidance, env, where = spec.guidance, config.env, f"variant {spec.name!r}"
    info = task_info(env, suite)
    try:
        guidance.max_calls(config.algorithm.rollout_length)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    divides = guidance.sparse and guidance.actions == 1
    if (divides or {"direction", "gripper"} & set(spec.terms)) and info.contract is None:
        raise ConfigError(
            f"{where} cannot work in {env.name} with {info.control_mode or 'its actions'}: "
            "windows and directions are of end-effector deltas"
        )
    if guidance.sparse and guidance.window < info.horizon_scale:
        raise ConfigError(
            f"{where}: window={guidance.window} cannot work with env.horizon_scale={info.horizon_scale}: a delta takes "
            f"at least {info.horizon_scale} of the environment's steps"
        )
    if guidance.is_transient or guidance.kappa > 0:
        _check_progress(where, config, info.max_episode_steps)


def _check_progress(where: str, config: Config, steps: int | None) -> None:
    """Raises ConfigError where a run's rewards do not say how far a student has come in episodes of `steps`."""
    settings, env = config.guidance, config.env
    remembered = settings.windows * settings.window_iterations
    if remembered > config.iterations:
        raise ConfigError(
            f"guidance.windows={settings.windows} of guidance.window_iterations={settings.window_iterations} cannot "
            f"work for {where}: the run has {config.iterations} iterations, fewer than {remembered}"
        )
    if settings.attainable_reward is None and env.reward == "dense":
        raise ConfigError(
            f"guidance.attainable_reward=None cannot work for {where} with env.reward='dense': "
            "say what a step pays at most, or use normalized_dense"
        )
    if settings.attainable_reward is None and env.end_on_success:
        raise ConfigError(
            f"guidance.attainable_reward=None cannot work for {where} with env.end_on_success=True: no mean reward "
            "comes near 1 where success ends episodes; set env.end_on_success=False, or say what can be attained"
        )
    if steps is None:
        raise ConfigError(
            f"env.max_episode_steps=None cannot work for {where}: how long the episodes of {env.name} are is not known "
            "before it runs; say it"
        )
    length = config.algorithm.rollout_length
    window = settings.window_iterations * length
    if window % steps and not random_ages(env, length, steps):
        raise ConfigError(
            f"guidance.window_iterations={settings.window_iterations} cannot work for {where}: {window} steps are no "
            f"whole number of episodes of {steps}, and environments that begin together say then which part of an "
            f"episode it is, not how well the student does; set env.random_ages=True, or a multiple of "
            f"{math.lcm(length, steps) // length}"
        )
    unsettled = unsettled_iterations(env, length, steps)
    if unsettled + remembered > config.iterations:
        raise ConfigError(
            f"algorithm.total_steps={config.algorithm.total_steps} cannot work for {where}: these are "
            f"{config.iterations} iterations, fewer than {unsettled} in which episodes begun at random ages end and "
            f"{remembered} that guidance.windows x guidance.window_iterations remember"
        )


def check_answers(teacher: Teacher, specs: Sequence[VariantSpec], env_spec: EnvSpec) -> None:
    """Raises ConfigError for a variant whose windows are longer than the teacher's chunks."""
    for spec in specs:
        if spec.guidance.actions > 1:
            field = f"variant {spec.name!r}: window (with targets=chunk)"
            check_chunk(teacher, env_spec, spec.guidance.actions, field, spec.guidance.window)


def check_teacher(teacher: Teacher, spec: EnvSpec) -> None:
    """Raises ConfigError where the environment lacks something that the teacher reads."""
    known = {*spec.observation, *spec.cameras}
    missing = [key for key in teacher.spec.observation_keys if key not in known]
    if missing:
        raise ConfigError(f"teacher {teacher.spec.name} reads {missing}: {spec.name} has {sorted(known)}")


def check_tokens(teacher: TeacherSpec, student: TokenContract | None) -> None:
    """Raises ConfigError where a teacher's tokens are not the student's: the same token would be another motion."""
    assert student is not None, "families that ask for scores have token policies"
    if teacher.tokens is None:
        raise ConfigError(
            f"teacher {teacher.name} cannot work for students of tokens: it gives no probabilities of action tokens "
            "that are in the environment's units"
        )
    for field in dataclasses.fields(TokenContract):
        theirs, own = getattr(teacher.tokens, field.name), getattr(student, field.name)
        same = theirs == own if field.name == "bins" else len(theirs) == len(own) and np.allclose(theirs, own)
        if not same:
            raise ConfigError(
                f"teacher {teacher.name}: its tokens have {field.name}={theirs}, the student's {own}: the same token "
                "would be another motion"
            )


def check_acting(teacher: Teacher, acting: Acting, env_spec: EnvSpec) -> None:
    """Raises ConfigError where a teacher cannot act so."""
    replan_every, ensemble = acting.replan_every, acting.ensemble
    check_chunk(teacher, env_spec, replan_every, "teacher.replan_every", replan_every)
    if ensemble is not None:
        asks_always = f"1 with teacher.ensemble={ensemble:g}, which asks at every step"
        require(replan_every == 1, "teacher.replan_every", replan_every, asks_always)
        one = f"None: teacher {teacher.spec.name} answers with one action, of which there is no mean"
        require(teacher.spec.chunk > 1, "teacher.ensemble", ensemble, one)
        check_chunk(teacher, env_spec, teacher.spec.chunk, "teacher.ensemble", ensemble, off="None")


def check_chunk(
    teacher: Teacher, env_spec: EnvSpec, actions: int, field: str, value: float | str, off: str = "1"
) -> None:
    """Raises ConfigError where a teacher does not answer with so many actions at once, or they take more steps.

    `value` of `field` is what asks for them, `off` the value that asks for one.
    """
    spec, scale = teacher.spec, env_spec.horizon_scale
    right = f"at least 1 and at most {spec.chunk}, the actions in a chunk of teacher {spec.name}"
    require(1 <= actions <= spec.chunk, field, value, right)
    if actions > 1:
        lacking = f"{off}: teacher {spec.name} has no label_chunk (rpd_jax.types.ChunkTeacher)"
        require(hasattr(teacher, "label_chunk"), field, value, lacking)
        slow = f"{off} with env.horizon_scale={scale}: an action of a chunk is meant for {scale} of its steps"
        require(scale == 1, field, value, slow)
