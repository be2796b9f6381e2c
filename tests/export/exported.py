"""Runs whose students are exported."""

from pathlib import Path

import jax
import numpy as np

import rpd_jax
from rpd_jax.algorithms.base import learned
from rpd_jax.policies import normalization
from rpd_jax.runs.checkpoint import CONFIG_FILE, Checkpoint, CheckpointStore, to_paths
from rpd_jax.training.population import Population
from rpd_jax.training.student import env_spec

OBSERVATIONS = ("state", "rgb+proprio")
STEPS = 12


def configure(preset, directory):
    config = rpd_jax.get_preset(preset)
    config.variants, config.seeds = ("ppo", "ppo:gamma=0.9:name=far"), (0, 1)
    config.env.num_envs, config.env.max_episode_steps = 2, STEPS
    config.network.hidden, config.network.normalize_observations = (32, 16), True
    config.algorithm.total_steps, config.algorithm.rollout_length = 2 * 2 * 6, 6
    config.algorithm.epochs, config.algorithm.minibatches, config.algorithm.learning_rate = 4, 2, 1e-2
    config.eval.every, config.eval.videos, config.eval.episodes, config.eval.num_envs = 0, 0, 1, 1
    config.run.directory, config.run.tensorboard = str(directory), False
    return config


def save_made_up(config):
    """A run directory as training leaves it, with random parameters: to compile training with frames takes long."""
    population, rng = Population(config.validate(), env_spec(config.env)), np.random.default_rng(0)
    shapes = jax.eval_shape(population.init)
    params = jax.tree.map(lambda leaf: rng.normal(0.0, 0.07, leaf.shape).astype(np.float32), shapes.params)
    normalizer = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes.normalizer)
    seen = {
        name: rng.normal(1.0, 2.0, (len(population), 50, *moments.mean.shape[1:])).astype(np.float32)
        for name, moments in normalizer.items()
    }
    normalizer = jax.vmap(normalization.update)(normalizer, seen)
    members = shapes._replace(params=params, normalizer=normalizer)
    Path(config.run.directory).mkdir(parents=True)
    (Path(config.run.directory) / CONFIG_FILE).write_text(config.to_json())
    store = CheckpointStore(config.run.directory)
    store.save(2, Checkpoint(to_paths(learned(members)), {"nothing": np.zeros(1)}, {"iteration": 2}))
    store.close()
