"""Token ids of hand-made vocabularies, cut and filled up as T5's are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from rpd_jax.config import ConfigError
from rpd_jax.runs.checkpoint import CheckpointError
from teachers import hub
from teachers.octo.text import WordTokenizer, make_text_processor

OFFICIAL = {
    "module": "octo.data.utils.text_processing",
    "name": "HFTokenizer",
    "args": [],
    "kwargs": {
        "encode_with_model": False,
        "tokenizer_kwargs": {"max_length": 16, "padding": "max_length", "return_tensors": "np", "truncation": True},
        "tokenizer_name": "t5-base",
    },
}
PIECES = ["<pad>", "</s>", "<unk>", "▁pick", "▁up", "▁the", "▁cube", "s"]


def write_t5_like(path: Path, pieces: list[str] = PIECES) -> None:
    """A tokenizer of T5's kind: unigram pieces, a mark for the start of a word, an end token."""
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_padding(length=3)  # what a file says of this is not what counts
    tokenizer.enable_truncation(2)
    tokenizer.save(str(path))


def spec(**tokenizer_kwargs: object) -> dict:
    kwargs = {**OFFICIAL["kwargs"], "tokenizer_kwargs": {**OFFICIAL["kwargs"]["tokenizer_kwargs"], **tokenizer_kwargs}}
    return {**OFFICIAL, "kwargs": kwargs}


def test_t5_tokens_from_the_checkpoint_directory(tmp_path: Path) -> None:
    write_t5_like(tmp_path / "tokenizer.json")
    processor = make_text_processor(OFFICIAL, tmp_path)
    tokens = processor.encode(["pick up the cubes", "", "pick " * 40])
    assert tokens["input_ids"].dtype == tokens["attention_mask"].dtype == np.int32
    np.testing.assert_array_equal(tokens["input_ids"][0], [3, 4, 5, 6, 7, 1] + [0] * 10)
    np.testing.assert_array_equal(tokens["attention_mask"][0], [1] * 6 + [0] * 10)
    np.testing.assert_array_equal(tokens["input_ids"][1], [1] + [0] * 15)
    np.testing.assert_array_equal(tokens["attention_mask"][1], [1] + [0] * 15)
    np.testing.assert_array_equal(tokens["input_ids"][2], [3] * 15 + [1])  # the end stays last
    assert tokens["attention_mask"][2].all()
    assert make_text_processor(spec(max_length=4), tmp_path).encode(["pick up the cubes"])["input_ids"].tolist() == [
        [3, 4, 5, 1]
    ]


def test_t5_tokens_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_t5_like(tmp_path / "tokenizer.json")
    monkeypatch.setattr(hub, "file", lambda repository, name: tmp_path / {"google-t5/t5-base": name}[repository])
    processor = make_text_processor(OFFICIAL, tmp_path / "elsewhere")
    assert processor.encode(["the cube"])["input_ids"][0, :3].tolist() == [5, 6, 1]

    def missing(repository: str, name: str) -> Path:
        raise ConfigError(f"{repository}/{name} cannot be downloaded")

    monkeypatch.setattr(hub, "file", missing)
    with pytest.raises(CheckpointError, match=r"elsewhere/tokenizer.json is missing, and google-t5/t5-base"):
        make_text_processor(OFFICIAL, tmp_path / "elsewhere")


def test_files_that_are_no_tokenizer_of_t5(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        make_text_processor(OFFICIAL, tmp_path)
    write_t5_like(tmp_path / "tokenizer.json", ["▁pick", *PIECES[:3]])
    with pytest.raises(CheckpointError, match=r"have ids \[1, 2\], not \[0, 1\]"):
        make_text_processor(OFFICIAL, tmp_path)


def test_words_by_hand(tmp_path: Path) -> None:
    tokenizer = WordTokenizer.build(["Pick up the cube.", "push the ball"], max_length=6)
    assert tokenizer.vocabulary == ("<pad>", "</s>", "<unk>", ".", "ball", "cube", "pick", "push", "the", "up")
    (tmp_path / "vocabulary.json").write_text(tokenizer.to_json())
    processor = make_text_processor(tokenizer.spec(), tmp_path)
    assert processor == tokenizer
    tokens = processor.encode(["PUSH the red cube", "", "pick up the cube. pick"])
    assert tokens["input_ids"].tolist() == [[7, 8, 2, 5, 1, 0], [1, 0, 0, 0, 0, 0], [6, 9, 8, 5, 3, 1]]
    assert tokens["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0], [1] * 6]
    assert tokens["input_ids"].dtype == np.int32


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pick up the cube", None),
        ("", None),
        ("pick up the red cube", "has words that the model does not know: red"),
        ("grab it, grab it", "cannot be read at all: the model knows none of its words"),
        ("pick up the cube pick up", "has 6 tokens, of which the model reads 5: cut off from 'up' on"),
        ("pick a cube, a the cube", "not know: a, ,; it has 7 tokens, of which the model reads 5: cut off from 'the'"),
    ],
)
def test_what_cannot_be_read_is_said_once(text, said, caplog) -> None:
    tokenizer = WordTokenizer.build(["pick up the cube"], max_length=6)
    for _ in range(2):
        tokenizer.encode([text, text])
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(messages) == (said is not None)
    assert not messages or (repr(text) in messages[0] and said in messages[0])


def test_what_t5_cannot_read_is_said_once(tmp_path: Path, caplog) -> None:
    write_t5_like(tmp_path / "tokenizer.json")
    processor = make_text_processor(spec(max_length=4), tmp_path)
    for _ in range(2):
        processor.encode(["pick up the", "pick zz", "pick up the cube", ""])
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(messages) == 2
    assert "'pick zz' has words that the model does not know: zz" in messages[0]
    assert "'pick up the cube' has 4 tokens, of which the model reads 3: cut off from 'cube' on" in messages[1]


def test_words_of_other_scripts_survive_the_file(tmp_path: Path) -> None:
    tokenizer = WordTokenizer.build(["Würfel hoch!"])
    path = tmp_path / "vocabulary.json"
    path.write_text(tokenizer.to_json(), encoding="utf-8")
    assert WordTokenizer.from_file(path) == tokenizer


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {**OFFICIAL, "name": "MuseEmbedding"},
            "text_processing:MuseEmbedding is unknown",
        ),
        ({**OFFICIAL, "kwargs": {**OFFICIAL["kwargs"], "encode_with_model": True}}, "encode_with_model=true"),
        ({**OFFICIAL, "kwargs": {**OFFICIAL["kwargs"], "tokenizer_name": "bert"}}, "tokenizer_name='bert' is unknown"),
        (spec(padding="longest"), "padding must be 'max_length'"),
        (WordTokenizer.build([]).spec(), r"vocabulary\.json is not a vocabulary"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, wrong: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        make_text_processor(wrong, tmp_path)


def test_vocabularies_that_are_wrong(tmp_path: Path) -> None:
    for words in ('["a", "b"]', '["<pad>", "</s>", "<unk>", "a", "a"]', "3"):
        (tmp_path / "vocabulary.json").write_text(words)
        with pytest.raises(CheckpointError, match="is not a vocabulary"):
            WordTokenizer.from_file(tmp_path / "vocabulary.json")


def test_no_text_processor(tmp_path: Path) -> None:
    assert make_text_processor(None, tmp_path) is None
