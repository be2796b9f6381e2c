"""Official configurations: what is read, and what is refused by name."""

import copy

import pytest

from teachers.octo.config import ModelConfig
from teachers.octo.fresh import nano_config
from teachers.octo.text import WordTokenizer

MODEL = nano_config(WordTokenizer.build(["pick"], 8))["model"]


def changed(path, value):
    """MODEL with another value at a path of keys."""
    model = copy.deepcopy(MODEL)
    *parents, last = path
    place = model
    for key in parents:
        place = place[key]
    place[last] = value
    return model


def test_defaults_are_supplied():
    """The class's own, for what a configuration leaves out."""
    config = ModelConfig.from_dict(MODEL)
    head = dict(config.heads)["action"]
    assert (head.max_action, head.time_dim, head.num_blocks, head.hidden_dim, head.diffusion_steps) == (
        5,
        32,
        3,
        256,
        20,
    )
    assert dict(config.observation_tokenizers)["primary"].stem.patch_size == 16
    bare = {key: value for key, value in MODEL.items() if key not in ("use_correct_attention", "repeat_task_tokens")}
    assert not ModelConfig.from_dict(bare).use_correct_attention


def test_the_old_name_of_the_horizon_is_understood():
    kwargs = {"readout_key": "readout_action", "pred_horizon": 3}
    config = ModelConfig.from_dict(changed(("heads", "action", "kwargs"), kwargs))
    assert dict(config.heads)["action"].action_horizon == 3


TOKENIZER = ("observation_tokenizers", "primary")
REFUSED = [
    (("heads", "action", "name"), "FlowHead", r"heads.action.name='FlowHead' is not supported: choose from \['Cont"),
    (("heads", "action", "kwargs", "use_map"), True, "use_map=True is not supported"),
    (("heads", "action", "kwargs", "depth"), 3, "heads.action.depth is unknown"),
    (("heads", "action", "args"), [1], "only kwargs are understood"),
    (("heads", "action"), {"name": "x"}, "must have exactly the keys"),
    ((*TOKENIZER, "name"), "PatchTokenizer", "PatchTokenizer"),
    ((*TOKENIZER, "kwargs", "use_token_learner"), True, "use_token_learner=True is not supported"),
    ((*TOKENIZER, "kwargs", "task_film_keys"), ["language"], r"task_film_keys=\['language'\] is not supported"),
    ((*TOKENIZER, "kwargs", "encoder", "name"), "ResNet26", "encoder.name='ResNet26' is not supported"),
    ((*TOKENIZER, "kwargs", "encoder", "kwargs", "img_norm_type"), "none", "img_norm_type='none'"),
    (("task_tokenizers", "language", "kwargs", "encoder"), "bert", r"encoder='bert' is unknown: choose from \['t5"),
    (("transformer_kwargs", "add_position_embedding"), True, "add_position_embedding=True is not supported"),
    (("transformer_kwargs", "depth"), 3, "transformer_kwargs.depth is unknown"),
    (("colour",), "red", "model.colour is unknown"),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_what_the_network_does_not_have_is_refused_by_name(path, value, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(changed(path, value))
