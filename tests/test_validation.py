"""One rule for every way in: whatever is written into a setting is converted, or refused in one line that names it."""

import collections
import copy
import dataclasses
import functools
import itertools
import json
import math
import typing
from pathlib import Path

import numpy as np
import pytest

from rpd_jax.algorithms import variants
from rpd_jax.algorithms.variants import parse_variant, resolve_variants, resolved
from rpd_jax.config import Config, ConfigError, EnvConfig, PPOConfig, TeacherConfig
from rpd_jax.config.algorithm import variant_floats
from rpd_jax.config.validation import alternatives, field_types
from rpd_jax.config.variant import GuidanceSpec, VariantSpec
from rpd_jax.demonstrations.collect import Settings as CollectionSettings
from rpd_jax.presets import PRESETS, get_preset
from teachers.octo.finetune.settings import FinetuneSettings as OctoSettings
from teachers.openvla.finetune.settings import FinetuneSettings as OpenVLASettings

ODD = [None, "x", "", "1", "\0", "\ud800", b"x", -1, 0, True, 1.5, 1e400, -math.inf, math.nan, 10**30, 10**400, 1e-60]
ODD += [[], ["a"], [None], [[1]], (1.5,), {}, {"a": 1}, object(), np.float32(math.nan), np.zeros((2, 2)), len]


def set_field(settings, path, value):
    *sections, name = path.split(".")
    for section in sections:
        settings = getattr(settings, section)
    setattr(settings, name, value)


def get_field(settings, path):
    for section in path.split("."):
        settings = getattr(settings, section)
    return settings


def leaves(settings, prefix=""):
    """Paths of all settings, also of those that hold others."""
    for name in field_types(type(settings)):
        yield f"{prefix}{name}"
        if dataclasses.is_dataclass(getattr(settings, name)):
            yield from leaves(getattr(settings, name), f"{prefix}{name}.")


def well_typed(value, annotation):
    kinds, none_allowed = alternatives(annotation)
    if typing.get_origin(kinds[0]) is tuple:
        return type(value) is tuple and all(well_typed(each, typing.get_args(kinds[0])[0]) for each in value)
    if type(value) is float and not abs(value) <= 1e38:
        return False
    if dataclasses.is_dataclass(value):
        return isinstance(value, kinds)  # one of several kinds is a subclass
    return type(value) in kinds or (value is None and none_allowed)


TEACHERS = [(Config(teacher=TeacherConfig(name=kind)), "teacher.") for kind in TeacherConfig.kinds]


@pytest.mark.parametrize(
    ("settings", "part"), [(Config(), ""), (OctoSettings(), ""), (OpenVLASettings(), ""), *TEACHERS]
)
def test_odd_values_never_get_past_their_type(settings, part):
    """In Python and in JSON alike: refused in one line, or converted to the field's type."""
    counts = collections.Counter()
    paths = [path for path in leaves(settings) if path.startswith(part)]
    for path, value in itertools.product(paths, ODD):
        changed, table = copy.deepcopy(settings), settings.to_dict()
        *sections, name = path.split(".")
        functools.reduce(dict.get, sections, table)[name] = value
        set_field(changed, path, value)
        annotation = field_types(type(functools.reduce(getattr, sections, changed)))[name]
        outcomes = []
        for check in (changed.validate, lambda table=table: type(settings).from_dict(table).validate()):
            try:
                found = get_field(check(), path)
                assert well_typed(found, annotation), (path, value, found)
                outcomes.append("accepted")
            except ConfigError as error:
                outcomes.append(str(error))
                assert "\n" not in outcomes[-1] and len(outcomes[-1]) < 600, outcomes
        assert outcomes[0] == outcomes[1], (path, value)
        counts[outcomes[0] == "accepted"] += 1
    assert counts[False] > 2 * counts[True] > 0


CONVERTED = [
    ("algorithm.total_steps", 1e6, 1_000_000),
    ("algorithm.learning_rate", 1, 1.0),
    ("algorithm.learning_rate", np.float32(0.5), 0.5),
    ("algorithm.epochs", np.int64(3), 3),
    ("algorithm.target_kl", math.inf, None),
    ("run.tensorboard", np.bool_(False), False),
    ("run.directory", Path("runs") / "x", "runs/x"),
    ("seeds", range(3), (0, 1, 2)),
    ("seeds", np.arange(2), (0, 1)),
    ("seeds", [1.0, np.int32(5)], (1, 5)),
    ("variants", "ppo,rpd-mse", ("ppo", "rpd-mse")),
    ("variants", ("ppo,rpd-mse", "ppd"), ("ppo", "rpd-mse", "ppd")),
    ("variants", {"name": "mine"}, None),
    ("teacher.devices", "0,1", ("0", "1")),
    ("algorithm", {"minibatches": 4}, PPOConfig(minibatches=4)),
    ("env.num_envs", True, None),
    ("seeds", 3, None),
    ("seeds", "0..2", None),
    ("seeds", (1.5,), None),
    ("algorithm", EnvConfig(), None),
    ("algorithm.value_coef", math.inf, None),
    ("algorithm.adam_eps", 1e-60, None),
    ("network.log_std_init", math.nan, None),
    ("network.log_std_init", 100.0, None),
    ("env.camera_eye", (1, 2, math.nan), None),
    ("env.camera_eye", (1, 2), None),
    ("run.directory", "a\0b", None),
]


@pytest.mark.parametrize(("field", "given", "meant"), CONVERTED)
def test_what_values_mean(field, given, meant):
    config = Config(teacher=TeacherConfig(name="openvla"))
    set_field(config, field, given)
    if meant is None and field != "algorithm.target_kl":
        with pytest.raises(ConfigError, match=field.replace(".", r"\.")):
            config.validate()
    else:
        found = get_field(config.validate(), field)
        assert found == meant and type(found) is type(meant)


def test_a_misspelt_field_is_refused_where_it_is_set():
    config = Config()
    for owner, name, meant in (
        (config.algorithm, "lr", "learning_rate"),
        (config.algorithm, "learning_rat", "learning_rate"),
        (config, "num_envs", "env.num_envs"),
        (config.run, "dir", "directory"),
        (OctoSettings().data, "batchsize", "batch_size"),
    ):
        with pytest.raises(ConfigError, match=f"'{name}' is unknown: .*did you mean '{meant}'"):
            setattr(owner, name, 1)
        assert not hasattr(owner, name)


def test_a_minibatch_of_one_transition_is_refused_where_advantages_are_normalised():
    config = get_preset("debug")
    config.algorithm.minibatches = 81  # of 160 transitions
    with pytest.raises(ConfigError, match="at most half the batch of 160"):
        config.validate()
    config.algorithm.normalize_advantage = False
    config.validate()
    config.algorithm.normalize_advantage, config.algorithm.minibatches = True, 80
    config.validate()


@pytest.mark.parametrize("text", ["rpd-mse:mse=None", "rpd-mse:mse=None:queries=even"])
def test_a_coefficient_cannot_be_none(text):
    with pytest.raises(ConfigError, match="mse='None' cannot work: it must be a number"):
        parse_variant(text)


@pytest.mark.parametrize("field", variant_floats(PPOConfig))
@pytest.mark.parametrize("value", [-21.0, math.nan, -math.inf, 1e39])
def test_a_variant_s_overrides_have_the_bounds_of_the_settings(field, value):
    for make in (
        lambda: parse_variant(f"ppo:{field}={value}"),
        lambda: VariantSpec("mine", overrides={field: value}),
        lambda: Config.from_dict({"variants": [{"name": "mine", "overrides": {field: value}}]}),
        lambda: Config(algorithm=PPOConfig(**{field: value})).validate(),
    ):
        with pytest.raises(ConfigError, match=f"{field}={value}".replace("+", r"\+")):
            make()


@pytest.mark.parametrize(
    "settings",
    [
        {"terms": {"mse": "x"}},
        {"terms": {"mse": math.inf}},
        {"terms": ["mse"]},
        {"overrides": {"epochs": 1}},
        {"overrides": {"gamma": None}},
        {"anneal": 1},
        {"anneal_end": math.inf},
        {"anneal_until": math.nan},
        {"reduction": "max"},
        {"guidance": {"queries": "evn"}},
        {"guidance": {"average": "al"}},
        {"guidance": {"queries": "even", "window": 1.5}},
        {"guidance": []},
        {"name": ""},
        {"name": 3},
        {"nmae": "x"},
    ],
    ids=str,
)
def test_specs_that_cannot_work(settings):
    with pytest.raises(ConfigError) as error:
        Config.from_dict({"variants": [{"name": "mine", **settings}]})
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"variants\[0\]\.name=None cannot work: it must be given"):
        Config.from_dict({"variants": [{}]})


@pytest.mark.parametrize("name", PRESETS)
def test_resolved_configs_survive_strict_json(name):
    config = get_preset(name)
    specs = resolve_variants(config)
    again = Config.from_dict(json.loads(resolved(config).to_json(), parse_constant=pytest.fail)).validate()
    assert again == resolved(config) and all(isinstance(spec, VariantSpec) for spec in again.variants)
    assert resolve_variants(again) == specs
    assert config == get_preset(name)  # the one that was resolved is as it was


def test_a_stored_run_needs_no_definition(monkeypatch):
    mine = VariantSpec("mine", {"mse": 0.5}, overrides={"target_kl": None}, guidance=GuidanceSpec("even", kappa=1.0))
    monkeypatch.setattr(variants, "VARIANTS", {**variants.VARIANTS, "mine": mine})
    text = resolved(Config(variants=("ppo", "mine"))).to_json()
    monkeypatch.setitem(variants.VARIANTS, "mine", VariantSpec("mine", {"l1": 1.0}))  # it has been changed since
    assert resolve_variants(Config.from_dict(json.loads(text)))[1] == mine
    assert resolve_variants(Config(variants=("ppo", mine)).validate())[1] == mine
    with pytest.raises(ConfigError, match="no name twice"):
        Config(variants=("mine", mine)).validate()


def test_vlajs_averages_over_all_steps_and_any_variant_may():
    family = {"vlajs", "vlajs-gripper", "vlajs-persistent", "vlajs-rpd", "sparse-rpd"}
    over_all = {name for name, spec in variants.VARIANTS.items() if spec.guidance.average == "all"}
    assert over_all == family
    for text, weight in (("vlajs", 1.0), ("vlajs:average=valid", 0.0), ("rpd-mse", 0.0), ("rpd-mse:average=all", 1.0)):
        spec = parse_variant(text)
        guidance = variants.to_variant(spec, PPOConfig(), ("mse", "direction"), 7).guidance
        assert guidance.over_all.dtype == np.float32 and guidance.over_all == weight


def test_frozen_settings_are_converted_too():
    assert CollectionSettings(episodes=5.0).validate() == CollectionSettings(episodes=5)
    assert type(GuidanceSpec("even", window=3.0).window) is int
