"""Configurations of the published models, Octo-small-1.5 and Octo-base-1.5, in the official form.

They hold what shapes the model and its text processor, and the window and the optimiser of the pretraining; what else
a checkpoint's config.json says (data sets, logging) matters to nothing here.
"""

from __future__ import annotations

from typing import Any

from teachers.octo.config import part

WINDOW = 2
ACTION_HORIZON = 4


def octo_small() -> dict[str, Any]:
    """27 million parameters and T5-base."""
    return _octo(width=384, heads=6)


def octo_base() -> dict[str, Any]:
    """93 million parameters and T5-base."""
    return _octo(width=768, heads=12)


def _octo(width: int, heads: int) -> dict[str, Any]:
    action = part(
        "octo.model.components.action_heads",
        "DiffusionActionHead",
        readout_key="readout_action",
        use_map=False,
        action_horizon=ACTION_HORIZON,
        action_dim=7,
        n_diffusion_samples=1,
        dropout_rate=0.0,
    )
    tokenizer_options = {"max_length": 16, "padding": "max_length", "truncation": True, "return_tensors": "np"}
    return {
        "model": {
            "observation_tokenizers": {name: camera(f"image_{name}") for name in ("primary", "wrist")},
            "task_tokenizers": {
                "language": part(
                    "octo.model.components.tokenizers", "LanguageTokenizer", encoder="t5-base", finetune_encoder=False
                )
            },
            "heads": {"action": action},
            "readouts": {"action": 1},
            "token_embedding_size": width,
            "transformer_kwargs": {
                "num_layers": 12,
                "num_attention_heads": heads,
                "mlp_dim": 4 * width,
                "dropout_rate": 0.0,
                "attention_dropout_rate": 0.0,
                "add_position_embedding": False,
            },
            "max_horizon": 10,
            "repeat_task_tokens": True,
            "use_correct_attention": True,
        },
        "text_processor": part(
            "octo.data.utils.text_processing",
            "HFTokenizer",
            tokenizer_name="t5-base",
            encode_with_model=False,
            tokenizer_kwargs=tokenizer_options,
        ),
        "window_size": WINDOW,
        "optimizer": {
            "frozen_keys": ["*hf_model*"],
            "clip_gradient": 1.0,
            "weight_decay": 0.1,
            "learning_rate": {
                "name": "rsqrt",
                "init_value": 0.0,
                "peak_value": 3e-4,
                "warmup_steps": 2000,
                "timescale": 10000,
            },
        },
        "dataset_kwargs": {"traj_transform_kwargs": {"action_horizon": ACTION_HORIZON, "window_size": WINDOW}},
    }


def camera(key: str, **stem: Any) -> dict[str, Any]:
    """A tokenizer of one camera's image, with the goal image of the same name stacked on channels.

    `stem`: what is not as the stem's class has it.
    """
    return part(
        "octo.model.components.tokenizers",
        "ImageTokenizer",
        obs_stack_keys=[key],
        task_stack_keys=[key],
        encoder=part("octo.model.components.vit_encoders", "SmallStem16", **stem),
    )
