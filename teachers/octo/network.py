"""Octo as one linen module, with official parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from rpd_jax.types import Array
from teachers.octo.attention import Layout, TokenGroup, assemble, attention_mask, attention_rules, split
from teachers.octo.config import ModelConfig
from teachers.octo.heads import make_head
from teachers.octo.tokenizers import ImageTokenizer, LanguageTokenizer
from teachers.octo.transformer import BlockTransformer

EMBEDDING_INIT = nn.initializers.normal(0.02)


class OctoTransformer(nn.Module):
    """Observations and a task to embeddings of every token group."""

    config: ModelConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        c = self.config
        self.observation_tokenizers = {name: ImageTokenizer(t, self.dtype) for name, t in c.observation_tokenizers}
        self.task_tokenizers = {name: LanguageTokenizer(t, self.dtype) for name, t in c.task_tokenizers}

    def encode_language(self, name: str, instruction: Mapping[str, Array]) -> Array:
        """The instruction's encoding [B, L, d_model], which may stand in a task in its place."""
        return self.task_tokenizers[name].encode(instruction)

    @nn.compact
    def __call__(
        self,
        observation: Mapping[str, Any],
        task: Mapping[str, Any],
        deterministic: bool = True,
        newest: str | None = None,
    ) -> Any:
        """See `OctoModule.transform`, and `OctoModule.embed_newest` for `newest`, the name of a readout."""
        c = self.config
        real = jnp.asarray(observation["timestep_pad_mask"]).astype(bool)
        window = real.shape[1]
        if window > c.max_horizon:
            raise ValueError(f"the window of {window} frames is longer than the model's max_horizon={c.max_horizon}")
        prefix, timestep = self._groups(observation, task, real)
        layout = Layout(
            prefix=tuple((name, group.tokens.shape[1]) for name, group in prefix.items()),
            timestep=tuple((name, group.tokens.shape[2]) for name, group in timestep.items()),
            window=window,
        )
        rules = attention_rules(layout, correct=c.use_correct_attention)
        transformer = BlockTransformer(c.transformer, self.dtype, name="BlockTransformer_0")
        size = sum(count for _, count in layout.prefix)
        if newest is not None and size > 0 and c.use_correct_attention and not rules[:size, size:].any():
            return _newest(transformer, prefix, timestep, layout, rules, newest)
        prefix = {name: _of_batch(group, real.shape[0]) for name, group in prefix.items()}
        sequence = assemble(list(prefix.values()), list(timestep.values()))
        mask = attention_mask(rules, sequence.mask)
        self.sow("intermediates", "input_tokens", sequence.tokens)
        self.sow("intermediates", "attention_mask", mask)
        output = transformer(sequence.tokens, mask, deterministic)
        masks = {name: group.mask for name, group in (prefix | timestep).items()}
        groups = {name: TokenGroup(tokens, masks[name]) for name, tokens in split(output, layout).items()}
        if newest is not None:
            return groups[newest].tokens[:, -1]
        return groups | _aggregates(groups)

    def _groups(
        self, observation: Mapping[str, Any], task: Mapping[str, Any], real: Array
    ) -> tuple[dict[str, TokenGroup], dict[str, TokenGroup]]:
        """The groups of the prefix and of a time step, in order, as the transformer takes them."""
        c, window = self.config, real.shape[1]
        prefix, timestep = {}, {}
        for name in self.task_tokenizers:
            group = self.task_tokenizers[name](task)
            if group is not None:
                prefix[f"task_{name}"] = self._embed(f"task_{name}", group)
        for name in self.observation_tokenizers:
            group = self.observation_tokenizers[name](observation, task)
            if group is not None:
                self.sow("intermediates", f"tokenizer_{name}", group)
                group = self._embed(f"obs_{name}", group)
                timestep[f"obs_{name}"] = group._replace(
                    mask=group.mask & jnp.broadcast_to(real[..., None], group.mask.shape)
                )
        if c.repeat_task_tokens:
            for name, group in prefix.items():
                timestep[f"obs_{name}"] = TokenGroup(*(_repeat(x, window) for x in _of_batch(group, real.shape[0])))
        for name, count in c.readouts:
            shape = (1, c.max_horizon, count, c.token_embedding_size)
            embedding = self.param(f"readout_{name}_pos_embedding", EMBEDDING_INIT, shape)[:, :window]
            tokens = jnp.broadcast_to(embedding, (real.shape[0], *embedding.shape[1:])).astype(self.dtype)
            timestep[f"readout_{name}"] = TokenGroup(tokens, jnp.ones(tokens.shape[:-1], bool))
        return prefix, timestep

    def _embed(self, name: str, group: TokenGroup) -> TokenGroup:
        """Projected to the transformer's width, position embedding added."""
        c = self.config
        projected = nn.Dense(c.token_embedding_size, dtype=self.dtype, name=f"{name}_projection")(group.tokens)
        count = group.tokens.shape[-2]
        is_prefix = group.tokens.ndim == 3
        shape = (1, count) if is_prefix else (1, c.max_horizon, count)
        embedding = self.param(f"{name}_pos_embedding", EMBEDDING_INIT, (*shape, c.token_embedding_size))
        if not is_prefix:
            embedding = embedding[:, : group.tokens.shape[1]]
        return group._replace(tokens=projected + jnp.broadcast_to(embedding.astype(self.dtype), projected.shape))


class OctoModule(nn.Module):
    """The transformer and its action heads."""

    config: ModelConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.octo_transformer = OctoTransformer(self.config, self.dtype)
        self.heads = {name: make_head(head) for name, head in self.config.heads}

    def __call__(self, observation: Mapping[str, Any], task: Mapping[str, Any], deterministic: bool = True) -> Any:
        """Everything there is, for initialisation: (groups, head name -> its output)."""
        groups = self.octo_transformer(observation, task, deterministic)
        return groups, {name: self.heads[name](self._readout(name, groups)) for name in self.heads}

    def transform(
        self, observation: Mapping[str, Any], task: Mapping[str, Any], deterministic: bool = True
    ) -> dict[str, TokenGroup]:
        """The embeddings of all groups.

        Args:
          observation: images uint8 [B, W, H, W', 3], `timestep_pad_mask` [B, W] (True: a real frame), and if there is
            one `pad_mask_dict` of masks [B, W]; other entries are ignored.
          task: `language_instruction` (ids and mask [B, L], or the encoding), goal images [B, H, W', 3],
            `pad_mask_dict` of masks [B]; each may be absent.
        Returns:
          Group name -> tokens [B, n, D] (prefix) or [B, W, n, D]; also "task" and "obs", all groups of that kind.
        Raises:
          ValueError: a window longer than max_horizon.
        """
        return self.octo_transformer(observation, task, deterministic)

    def embed(
        self, observation: Mapping[str, Any], task: Mapping[str, Any], head: str = "action", deterministic: bool = True
    ) -> Array:
        """What an action head reads, float32 [B, W, D]: the mean of its readout's tokens."""
        return self._readout(head, self.octo_transformer(observation, task, deterministic))

    def embed_newest(self, observation: Mapping[str, Any], task: Mapping[str, Any], head: str = "action") -> Array:
        """The last time step of `embed`, float32 [B, D], without computing what it does not need.

        A task may have a batch of 1, to be shared by all observations: then its tokens are computed once.
        """
        key = dict(self.config.heads)[head].readout_key
        tokens = self.octo_transformer(observation, task, True, key)
        return jnp.mean(tokens.astype(jnp.float32), axis=-2)

    def encode_language(self, instruction: Mapping[str, Array], name: str = "language") -> Array:
        """An instruction's encoding [B, L, d_model], which may stand in a task in the place of its ids."""
        return self.octo_transformer.encode_language(name, instruction)

    def apply_head(self, name: str, method: str, *arguments: Any, **named: Any) -> Any:
        """Calls a method of an action head."""
        return getattr(self.heads[name], method)(*arguments, **named)

    def head_loss(
        self,
        name: str,
        groups: Mapping[str, TokenGroup],
        action: Array,
        mask: Array,
        deterministic: bool,
        draws: Mapping[str, Array],
    ) -> Array:
        """An action head's loss on embedded groups; see `heads`."""
        embedding = self._readout(name, groups)
        return self.heads[name].loss(embedding, jnp.asarray(action), mask, deterministic=deterministic, **draws)

    def _readout(self, head: str, groups: Mapping[str, TokenGroup]) -> Array:
        key = dict(self.config.heads)[head].readout_key
        return jnp.mean(groups[key].tokens.astype(jnp.float32), axis=-2)


def _newest(
    transformer: BlockTransformer,
    prefix: Mapping[str, TokenGroup],
    timestep: Mapping[str, TokenGroup],
    layout: Layout,
    rules: np.ndarray,
    readout: str,
) -> Array:
    """The last time step's tokens [B, n, D] of a readout, of a prefix that looks at itself alone.

    The sequence may end with them: nothing looks at what is left out, which belongs to other readouts.
    """
    names = [name for name, _ in layout.timestep]
    later = sum(count for _, count in layout.timestep[names.index(readout) + 1 :])
    task = TokenGroup(*(jnp.concatenate(parts, axis=1) for parts in zip(*prefix.values(), strict=True)))
    own = assemble([], list(timestep.values()))
    batch, size = own.mask.shape[0], task.mask.shape[1]
    end = len(rules) - later
    keys = jnp.concatenate([jnp.broadcast_to(task.mask, (batch, size)), own.mask], axis=1)
    return transformer(
        own.tokens[:, : end - size],
        attention_mask(rules, keys)[:, :, size:end, :end],
        prefix=task.tokens,
        prefix_mask=attention_mask(rules[:size, :size], task.mask),
        newest=dict(layout.timestep)[readout],
    )


def _of_batch(group: TokenGroup, batch: int) -> TokenGroup:
    """A prefix that may be shared, for every example."""
    return TokenGroup(*(jnp.broadcast_to(x, (batch, *x.shape[1:])) for x in group))


def _repeat(x: Array, window: int) -> Array:
    """[B, ...] -> [B, window, ...]."""
    return jnp.broadcast_to(x[:, None], (x.shape[0], window, *x.shape[1:]))


def _aggregates(groups: Mapping[str, TokenGroup]) -> dict[str, TokenGroup]:
    """All groups of the task and all of the observation, concatenated on tokens."""
    found = {}
    for kind, axis in (("task", 1), ("obs", 2)):
        own = [group for name, group in groups.items() if name.startswith(f"{kind}_")]
        if own:
            found[kind] = TokenGroup(*(jnp.concatenate(parts, axis=axis) for parts in zip(*own, strict=True)))
    return found


def applied(module: nn.Module, params: Mapping[str, Any], *arguments: Any, **options: Any) -> Any:
    """What a method of the module returns, of which `options` name `method`; it changes none of the parameters."""
    return module.apply({"params": params}, *arguments, **options)
