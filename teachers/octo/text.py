"""From instructions to token ids: T5's tokenizer for the published checkpoints, a word list for our own.

A configuration's "text_processor" names the class: {"module": ..., "name": ..., "args": [], "kwargs": {...}}, or null.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from absl import logging

from rpd_jax.config import ConfigError
from rpd_jax.runs.checkpoint import CheckpointError
from teachers import hub

PAD, END, UNKNOWN = 0, 1, 2
SPECIAL = ("<pad>", "</s>", "<unk>")
"""The words of ids 0, 1 and 2, in T5's vocabulary and in ours."""
MAX_LENGTH = 16
TOKENIZER_FILE = "tokenizer.json"
VOCABULARY_FILE = "vocabulary.json"
_WORD = re.compile(r"\w+|[^\w\s]")


class TextProcessor(Protocol):
    """Turns instructions into what the language tokenizer reads."""

    def encode(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """B texts as "input_ids" and "attention_mask", int32 [B, L]; pad id 0, the last token is the end's, 1.

        Warns, once of each text, of words that are unknown and of what is cut off.
        """
        ...


@dataclasses.dataclass(frozen=True)
class T5Tokenizer:
    """T5's tokenizer as the `tokenizers` package reads it from a tokenizer.json."""

    tokenizer: Any  # tokenizers.Tokenizer
    max_length: int = MAX_LENGTH
    _warned: set[str] = dataclasses.field(default_factory=set, init=False, repr=False, compare=False)

    @classmethod
    def from_file(cls, path: Path, max_length: int = MAX_LENGTH) -> T5Tokenizer:
        """Raises CheckpointError if the file is no tokenizer or has other ids for padding and end than T5's."""
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises nothing more special
            raise CheckpointError(f"{path} is not a tokenizer ({error})") from error
        found = [tokenizer.token_to_id(word) for word in SPECIAL[:2]]
        if found != [PAD, END]:
            raise CheckpointError(f"{path} is not T5's tokenizer: {SPECIAL[:2]} have ids {found}, not {[PAD, END]}")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(tokenizer, max_length)

    def encode(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        for text, each in zip(texts, encoded, strict=True):
            _warn(text, each.ids, [text[slice(*place)] for place in each.offsets], self.max_length, self._warned)
        return _padded([each.ids for each in encoded], self.max_length)


@dataclasses.dataclass(frozen=True)
class WordTokenizer:
    """Lower-case words and punctuation marks, numbered by a list; for models that are trained here."""

    vocabulary: tuple[str, ...]  # position = id; begins with SPECIAL
    max_length: int = MAX_LENGTH
    _warned: set[str] = dataclasses.field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.vocabulary[: len(SPECIAL)] != SPECIAL or len(set(self.vocabulary)) != len(self.vocabulary):
            raise ValueError(f"vocabulary must begin with {SPECIAL} and hold no word twice: {self.vocabulary[:8]}...")
        if self.max_length < 1:
            raise ValueError(f"max_length={self.max_length} must be 1 or more")

    @classmethod
    def build(cls, texts: Sequence[str], max_length: int = MAX_LENGTH) -> WordTokenizer:
        """The vocabulary of some texts, in alphabetical order."""
        return cls((*SPECIAL, *sorted({word for text in texts for word in _words(text)})), max_length)

    @classmethod
    def from_file(cls, path: Path, max_length: int = MAX_LENGTH) -> WordTokenizer:
        """Raises CheckpointError if the file is missing or is not what `to_json` writes."""
        try:
            return cls(tuple(json.loads(path.read_text())), max_length)
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} is not a vocabulary, a JSON list of words ({error})") from error

    def to_json(self) -> str:
        """The content of the vocabulary's file."""
        return json.dumps(list(self.vocabulary), indent=0, ensure_ascii=False) + "\n"

    def spec(self) -> dict[str, Any]:
        """What a configuration says of this class; the vocabulary belongs beside it in VOCABULARY_FILE."""
        kwargs = {"vocabulary": VOCABULARY_FILE, "max_length": self.max_length}
        return {"module": __name__, "name": type(self).__name__, "args": [], "kwargs": kwargs}

    def encode(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        known = {word: position for position, word in enumerate(self.vocabulary)}
        encoded = []
        for text in texts:
            words = _words(text)
            encoded.append([known.get(word, UNKNOWN) for word in words])
            _warn(text, encoded[-1], words, self.max_length, self._warned)
        return _padded(encoded, self.max_length)


def make_text_processor(spec: Mapping[str, Any] | None, directory: Path) -> TextProcessor | None:
    """The text processor that a configuration describes, or None if it describes none.

    Args:
      spec: the configuration's "text_processor". The official `HFTokenizer` becomes a T5Tokenizer.
      directory: of the checkpoint. Its tokenizer.json is preferred; without one the hub's is taken.
    Raises:
      CheckpointError: another class or option, or a file that is missing or wrong.
    """
    if spec is None:
        return None
    kwargs = dict(spec["kwargs"])
    if spec["name"] == "WordTokenizer" and spec["module"] == __name__:
        return WordTokenizer.from_file(directory / kwargs["vocabulary"], kwargs.get("max_length", MAX_LENGTH))
    if spec["name"] == "HFTokenizer":
        return _official(kwargs, directory)
    raise CheckpointError(
        f"text_processor {spec['module']}:{spec['name']} is unknown: HFTokenizer and WordTokenizer can be read"
    )


def _official(kwargs: dict[str, Any], directory: Path) -> T5Tokenizer:
    name = kwargs.get("tokenizer_name")
    options = {"max_length": MAX_LENGTH, "padding": "max_length", "truncation": True, **kwargs["tokenizer_kwargs"]}
    if kwargs.get("encode_with_model"):
        raise CheckpointError("text_processor.encode_with_model=true cannot be used: only tokens are made here")
    if options["padding"] != "max_length" or not options["truncation"]:
        raise CheckpointError(
            f"text_processor.tokenizer_kwargs={kwargs['tokenizer_kwargs']} cannot be used: "
            "padding must be 'max_length' and truncation true"
        )
    path = directory / TOKENIZER_FILE
    if not path.is_file():
        if not isinstance(name, str) or not name.rpartition("/")[2].startswith("t5-"):
            raise CheckpointError(
                f"text_processor.tokenizer_name={name!r} is unknown: T5's are read, such as 't5-base'"
            )
        try:
            path = hub.file(name if "/" in name else f"google-t5/{name}", TOKENIZER_FILE)
        except ConfigError as error:
            raise CheckpointError(f"{path} is missing, and {error}") from error
    return T5Tokenizer.from_file(path, options["max_length"])


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _warn(text: str, ids: Sequence[int], words: Sequence[str], length: int, warned: set[str]) -> None:
    """Says, unless `warned` has the text, what of it the model cannot read; `words` are those of `ids`."""
    unknown = [word.strip() for word, number in zip(words, ids, strict=True) if number == UNKNOWN and word.strip()]
    cut = words[length - 1 :]
    if text in warned or not (unknown or cut):
        return
    warned.add(text)
    said = []
    if all(number == UNKNOWN for number in ids):
        said.append("cannot be read at all: the model knows none of its words")
    elif unknown:
        said.append(f"has words that the model does not know: {', '.join(dict.fromkeys(unknown))}")
    if cut:
        said.append(f"has {len(ids)} tokens, of which the model reads {length - 1}: cut off from {cut[0].strip()!r} on")
    logging.warning("the instruction %r %s", text, "; it ".join(said))


def _padded(ids: Sequence[Sequence[int]], length: int) -> dict[str, np.ndarray]:
    """Ends each text with END, which stays when the text is cut, and fills up with PAD."""
    tokens = np.full((len(ids), length), PAD, np.int32)
    mask = np.zeros((len(ids), length), np.int32)
    for row, each in enumerate(ids):
        kept = [*each[: length - 1], END]
        tokens[row, : len(kept)] = kept
        mask[row, : len(kept)] = 1
    return {"input_ids": tokens, "attention_mask": mask}
