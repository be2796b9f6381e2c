"""--config.FIELD=VALUE: what texts mean, and what mistakes get (`test_launchers.py` runs whole programs)."""

import pytest

from rpd_jax.config import Config, ConfigError
from rpd_jax.launch.overrides import override
from teachers.octo.finetune.settings import FinetuneSettings


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--config.seeds=0..2"], "seeds", (0, 1, 2)),
        (["--config.seeds=0,1,2"], "seeds", (0, 1, 2)),
        (["--config.seeds=7,10..12"], "seeds", (7, 10, 11, 12)),
        (["--config.seeds=(3, 4)"], "seeds", (3, 4)),
        (["--config.seeds", "3"], "seeds", (3,)),
        (["--config.seeds=1", "--config.seeds=2"], "seeds", (1, 2)),
        (["--config.variants=ppo,rpd-mse:mse=5"], "variants", ("ppo", "rpd-mse:mse=5")),
        (["--config.variants=('ppo', 'rpd-mse')"], "variants", ("ppo", "rpd-mse")),
        (["--config.teacher.devices=('0','1')", "--config.teacher.name=openvla"], "teacher.devices", ("0", "1")),
        (["--config.teacher.name", "openvla", "--config.teacher.devices="], "teacher.devices", ()),
        (["--config.teacher.center_crop", "--config.teacher.name", "openvla"], "teacher.center_crop", True),
        (["--config.teacher.lag=2", "--config.teacher.name=octo", "--config.teacher.name=scripted"], "teacher.lag", 2),
        (["--config.env.camera_shift=(0.1,0,-1e-2)"], "env.camera_shift", (0.1, 0.0, -0.01)),
        (["--config.algorithm.total_steps=1e6"], "algorithm.total_steps", 1_000_000),
        (["--config.algorithm.learning_rate=1"], "algorithm.learning_rate", 1.0),
        (
            ["-config.algorithm.learning_rate=1", "--config.algorithm.learning_rate", "2"],
            "algorithm.learning_rate",
            2.0,
        ),
        (["--config.algorithm.target_kl=None"], "algorithm.target_kl", None),
        (["--config.algorithm.target_kl=inf"], "algorithm.target_kl", None),
        (["--config.env.max_episode_steps=none"], "env.max_episode_steps", None),
        (["--config.env.instruction=push, then a=b"], "env.instruction", "push, then a=b"),
        (["--config.network.normalize_observations"], "network.normalize_observations", True),
        (["--noconfig.run.tensorboard"], "run.tensorboard", False),
        (["--config.run.tensorboard=false"], "run.tensorboard", False),
    ],
)
def test_texts_become_values(arguments, field, value):
    config = Config()
    assert override(config, ["--x", *arguments, "stray"]) == ["--x", "stray"]
    *sections, name = field.split(".")
    found = config
    for section in sections:
        found = getattr(found, section)
    found = getattr(found, name)
    assert found == value and type(found) is type(value)
    config.validate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.seeds=1.5"], r"seeds\[0\]=1.5 cannot work: it must be a whole number"),
        (["--config.seeds=2..0"], "seeds='2..0' cannot work: it must be FIRST..LAST"),
        (["--config.seeds=0..99999999999"], "at most 10000 numbers"),
        (
            ["--config.algorithm.total_steps=1e6.5"],
            "total_steps='1e6.5' cannot work: it must be a whole number",
        ),
        (["--config.algorithm.total_steps=1.5"], "algorithm.total_steps=1.5 cannot work: it must be a whole number"),
        (["--config.algorithm.gamma=None"], "algorithm.gamma='None' cannot work: it must be a number in"),
        (
            ["--config.algorithm.learning_rate=nan"],
            "learning_rate=nan cannot work: it must be a positive number",
        ),
        (["--config.run.tensorboard=maybe"], "run.tensorboard='maybe' cannot work: it must be True or False"),
        (["--config.algorithm.lr=1"], "did you mean 'learning_rate'"),
        (["--config.teacher.rows=3"], "teacher.rows cannot work with teacher.name='scripted': only openvla have such"),
        (["--config.teacher.lagg=3"], "did you mean 'lag'"),
        (["--config.teacher.lag=3", "--config.teacher.name=octto"], "teacher.name='octto' is unknown: .*'octo'"),
        (["--config.algorithm=1"], r"set its fields, --config.algorithm.FIELD=VALUE"),
        (["--noconfig.algorithm.epochs"], "write --config.algorithm.epochs=VALUE"),
        (["--config.algorithm.epochs", "--resume"], "write --config.algorithm.epochs=VALUE"),
        (["--config.algorithm.epochs"], "write --config.algorithm.epochs=VALUE"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ConfigError, match=message) as error:
        override(Config(), arguments)
    assert "\n" not in str(error.value)


def test_what_follows_two_dashes_is_nobody_s_flag():
    config = Config()
    assert override(config, ["--", "--config.seeds=5"]) == ["--", "--config.seeds=5"]
    assert config.seeds == (0, 1, 2)


def test_other_settings_than_a_run_s():
    settings = FinetuneSettings()
    assert override(settings, ["--config.augment.crop_scale=0.5,1", "--config.data.mask=true,false"]) == []
    assert settings.augment.crop_scale == (0.5, 1.0) and settings.data.mask == (True, False)
    with pytest.raises(ConfigError, match="two numbers"):
        override(settings, ["--config.augment.crop_scale=0.5"])
