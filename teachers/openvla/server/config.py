"""config.json of an OpenVLA checkpoint: which towers, which Llama, how images are prepared."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class TowerConfig:
    """A vision transformer without its last block and what follows it."""

    image_size: int
    patch_size: int
    embed_dim: int
    depth: int  # blocks on disk; the last one is not used
    num_heads: int
    mlp_ratio: float
    registers: int = 0  # register tokens; with them there is a class token too
    layer_scale: bool = False
    attention_pool: bool = False  # on disk; not used

    @property
    def mlp_dim(self) -> int:
        return int(self.embed_dim * self.mlp_ratio)

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2

    @property
    def prefix(self) -> int:
        """Tokens before the patches: the class token and the registers."""
        return self.registers + 1 if self.registers else 0


_TOWERS: Mapping[str, TowerConfig] = {
    "vit_large_patch14_reg4_dinov2.lvd142m": TowerConfig(224, 14, 1024, 24, 16, 4.0, registers=4, layer_scale=True),
    "vit_so400m_patch14_siglip_224": TowerConfig(224, 14, 1152, 27, 16, 3.7362, attention_pool=True),
}
"""Names of timm's models -> their shapes: DINOv2 ViT-L/14 with registers, SigLIP SO400M/14."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What config.json says about the network."""

    towers: tuple[TowerConfig, ...]  # DINOv2 then SigLIP, or SigLIP alone
    text: Mapping[str, Any]  # arguments of LlamaConfig that differ from its defaults
    vocabulary: int  # tokens of the tokenizer: columns of the logits beyond them are padding
    bins: int  # edges of the action discretisation
    norm_stats: Mapping[str, Any]
    language_model: str = ""  # what was trained further, as far as it is named; its prompts have their own style

    @property
    def patches(self) -> int:
        """Patch tokens of one image."""
        return self.towers[0].patches

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> ModelConfig:
        """From the content of config.json.

        Raises:
          ValueError: it is not OpenVLA's, or names towers or text models that are not supported here.
        """
        if config.get("model_type") != "openvla":
            raise ValueError(f"config.json: model_type={config.get('model_type')!r}, need 'openvla'")
        text = dict(config["text_config"])
        if text.pop("model_type", "llama") != "llama":
            raise ValueError(
                f"config.json: text_config.model_type={config['text_config']['model_type']!r}: need 'llama'"
            )
        for name in ("torch_dtype", "dtype", "architectures", "_name_or_path", "transformers_version"):
            text.pop(name, None)
        names = list(config["timm_model_ids"])
        fused = bool(config.get("use_fused_vision_backbone", len(names) == 2))
        if len(names) != (2 if fused else 1):
            raise ValueError(f"config.json: timm_model_ids={names} does not fit use_fused_vision_backbone={fused}")
        overrides = config.get("timm_model_kwargs") or [{}] * len(names)
        sizes = config["image_sizes"]
        towers = tuple(_tower(*each) for each in zip(names, sizes, overrides, strict=True))
        if len({tower.patches for tower in towers}) > 1:
            raise ValueError(f"config.json: image_sizes={sizes} give the towers different numbers of patches")
        bins, padding = int(config.get("n_action_bins", 256)), int(config.get("pad_to_multiple_of", 64))
        named = str(config.get("llm_backbone_id") or config.get("hf_llm_id") or "")
        return cls(towers, text, int(text["vocab_size"]) - padding, bins, config.get("norm_stats") or {}, named)


def _tower(name: str, image_size: int, overrides: Mapping[str, Any]) -> TowerConfig:
    if name not in _TOWERS:
        raise ValueError(
            f"config.json: timm_model_ids has {name!r}, which is not supported: need one of {sorted(_TOWERS)}"
        )
    return dataclasses.replace(_TOWERS[name], image_size=int(image_size), **overrides)


def read_json(path: Path) -> Any:
    """Raises ValueError that names the file if it is missing or no JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path.parent} is no checkpoint: it has no {path.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}: it must be a JSON object")
    return value
