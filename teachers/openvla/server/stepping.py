"""Decoding after the prompt, one token at a time: with keys and values that grow, or in fixed memory as a CUDA graph.

Of a 7 B model a step of few rows is launches of small kernels more than arithmetic; a graph launches them all at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from teachers.openvla.server.language import Language, additive

_log = logging.getLogger(__name__)
_WARM_UP = 2  # runs before a capture: libraries set themselves up at the first
_LENGTHS = 32  # tokens of which lengths are multiples


Step = Callable[[Tensor], Tensor]
"""Tokens [B] -> the last hidden states [B, D] after them."""


class Stepping(Protocol):
    """A way to go on after a prompt."""

    def begin(self, language: Language, cache: DynamicCache, valid: Tensor | None, lengths: Tensor, steps: int) -> Step:
        """Goes on after a prompt.

        Args:
          language: the model.
          cache: the prompt's keys and values, of B rows; it is not needed any more.
          valid: [B, N] bool, the prompt's tokens that are no padding (on the left); None: all.
          lengths: [B], how many they are.
          steps: at most so many calls will follow.
        """
        ...


class Growing:
    """Keys and values are extended by every step."""

    def begin(self, language: Language, cache: DynamicCache, valid: Tensor | None, lengths: Tensor, steps: int) -> Step:
        taken = 0

        def step(tokens: Tensor) -> Tensor:
            nonlocal valid, taken
            mask = positions = None
            if valid is not None:
                valid = torch.cat([valid, valid.new_ones(len(valid), 1)], dim=1)
                mask = additive(valid[:, None, None, :], language.model.norm.weight.dtype)
                positions = (lengths + taken)[:, None]
            taken += 1
            return language.hidden(language.embed(tokens)[:, None], mask, positions, cache)[:, -1]

        return step


class Fixed:
    """Keys and values lie in memory that later batches use again; use it from one thread.

    There is memory for a few numbers of rows and lengths. A batch takes the smallest that it fits into, so that its
    result does not depend on what came before it, and leaves the rest unused.

    Args:
      graph: replay each step as a CUDA graph. It is compared with a step without one when it is captured; where it
        cannot be captured or differs, steps go on without it, and a warning says so.
    """

    def __init__(self, *, graph: bool) -> None:
        self._wants_graph = graph
        self._memories: dict[tuple[int, int], _Memory] = {}  # by rows and length, the latest last

    @property
    def has_graphs(self) -> bool:
        """Whether graphs are replayed, as far as anything was decoded."""
        return bool(self._memories) and all(memory.graph is not None for memory in self._memories.values())

    def begin(self, language: Language, cache: DynamicCache, valid: Tensor | None, lengths: Tensor, steps: int) -> Step:
        keys = cache.layers[0].keys
        size = _rows(len(keys)), _multiple(keys.shape[2] + steps, _LENGTHS)
        memory = self._memories.pop(size, None)
        if memory is None:
            largest = max(size[0], *(rows for rows, _ in self._memories), 0)
            while self._memories and size[0] + sum(rows for rows, _ in self._memories) > rows_reserved(largest):
                del self._memories[next(iter(self._memories))]
            memory = _Memory(language, cache, *size)
            if self._wants_graph:
                self._capture(memory, cache, valid, lengths)
        self._memories[size] = memory
        memory.fill(cache, valid, lengths)
        return memory.step

    def _capture(self, memory: _Memory, cache: DynamicCache, valid: Tensor | None, lengths: Tensor) -> None:
        try:
            memory.capture(cache, valid, lengths)
        except RuntimeError as error:
            _log.warning("decoding goes on without a CUDA graph: %s", error)
            memory.graph, self._wants_graph = None, False


def rows_reserved(batch: int) -> int:
    """Rows of all memories together where batches have at most so many: whole ones, a rollout's rest, single frames."""
    return _rows(batch) + 8 + 1


def _rows(batch: int) -> int:
    """1, 8, 32 and its multiples: a step costs hardly less for a few rows than for 8."""
    return next((rows for rows in (1, 8) if batch <= rows), _multiple(batch, 32))


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of


class _Memory:
    """The state of a batch that is being decoded: what a graph reads and writes."""

    def __init__(self, language: Language, cache: DynamicCache, rows: int, length: int) -> None:
        like = cache.layers[0].keys
        self.language, self.graph = language, None
        self.cache = _FixedCache(language.config, cache, rows, length)
        self.tokens = torch.zeros(rows, dtype=torch.long, device=like.device)
        self.positions = torch.zeros(rows, 1, dtype=torch.long, device=like.device)
        self.mask = torch.zeros(rows, 1, 1, length, dtype=like.dtype, device=like.device)
        self.hidden = torch.zeros(rows, language.config.hidden_size, dtype=like.dtype, device=like.device)

    def fill(self, cache: DynamicCache, valid: Tensor | None, lengths: Tensor) -> None:
        """The state after the prompt; rows that are too many get any numbers."""
        batch, prompt = len(lengths), self.cache.take(cache)
        self.mask.fill_(torch.finfo(self.mask.dtype).min)
        allowed = 0 if valid is None else additive(valid[:, None, None, :], self.mask.dtype)
        self.mask[:batch, ..., :prompt] = allowed
        self.positions.zero_()
        self.positions[:batch] = lengths[:, None]

    def step(self, tokens: Tensor) -> Tensor:
        """See `Step`; the result holds until the next step."""
        self.tokens[: len(tokens)] = tokens
        self._work() if self.graph is None else self.graph.replay()
        return self.hidden[: len(tokens)]

    def capture(self, cache: DynamicCache, valid: Tensor | None, lengths: Tensor) -> None:
        """Raises RuntimeError where no graph can be made, or one that computes something else."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self.fill(cache, valid, lengths)
                self._work()
        torch.cuda.current_stream().wait_stream(stream)
        expected = self.hidden.clone()
        self.fill(cache, valid, lengths)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._work()
        self.hidden.zero_()
        graph.replay()
        if not torch.allclose(self.hidden.float(), expected.float(), rtol=1e-2, atol=1e-2):
            difference = (self.hidden.float() - expected.float()).abs().max().item()
            raise RuntimeError(f"its hidden states differ by {difference:.3g}")
        self.graph = graph

    def _work(self) -> None:
        self.mask.index_fill_(-1, self.cache.where, 0.0)
        embeddings = self.language.embed(self.tokens)[:, None]
        self.hidden.copy_(self.language.hidden(embeddings, self.mask, self.positions, self.cache)[:, -1])
        self.cache.where.add_(1)
        self.positions.add_(1)


class _FixedCache(DynamicCache):
    """Keys and values of a fixed number of tokens, the next of which is written at `where` [1]."""

    def __init__(self, config: Any, like: DynamicCache, rows: int, length: int) -> None:
        super().__init__(config=config)
        self.where = torch.zeros(1, dtype=torch.long, device=like.layers[0].keys.device)
        self._pairs = []
        for layer in like.layers:
            _, heads, _, width = layer.keys.shape
            self._pairs.append(tuple(layer.keys.new_zeros(rows, heads, length, width) for _ in range(2)))

    def take(self, cache: DynamicCache) -> int:
        """Copies those of a prompt, and returns its length."""
        batch, _, prompt, _ = cache.layers[0].keys.shape
        for (keys, values), layer in zip(self._pairs, cache.layers, strict=True):
            keys[:batch, :, :prompt], values[:batch, :, :prompt] = layer.keys, layer.values
        self.where.fill_(prompt)
        return prompt

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *unused: Any, **also_unused: Any
    ) -> tuple[Tensor, Tensor]:
        """transformers' name for: takes a layer's keys and values of one token, gives those of all."""
        keys, values = self._pairs[layer_idx]
        keys.index_copy_(2, self.where, key_states)
        values.index_copy_(2, self.where, value_states)
        return keys, values
