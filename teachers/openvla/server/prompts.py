"""Prompts and their token ids."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

BOS, EOS, SPACE = 1, 2, 29871
"""Ids of Llama's tokenizer. SPACE is the lone word boundary that stood before the first action token in training."""
TEMPLATES = {
    "openvla": "In: What action should the robot take to {instruction}?\nOut:",
    "v01": (  # Vicuna's, which version 0.1 was trained on
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: What action should the robot take to "
        "{instruction}? ASSISTANT:"
    ),
}


def choose_template(template: str | None, language_model: str) -> tuple[str, str]:
    """The key of a checkpoint's template, and a sentence that says why, for the log.

    Args:
      template: what was asked for, if anything was.
      language_model: what the checkpoint's configuration calls the model that it was made of; empty: nothing.
    """
    if template:
        why = "as it was told to"
    elif language_model:
        template = "v01" if "vicuna" in language_model.lower() else "openvla"
        why = f"as its config.json names the language model {language_model!r}"
    else:
        template, why = "openvla", "as its config.json does not name its language model"
    return template, f"prompts are of the style {template!r}, {why} (teacher.prompt chooses another)"


class Prompter:
    """Instructions -> token ids, as in training.

    Args:
      directory: a checkpoint with tokenizer.json.
      template: a key of TEMPLATES.
    Raises:
      ValueError: the file is missing, is not Llama-2's tokenizer, or the template is unknown.
    """

    def __init__(self, directory: Path, template: str = "openvla") -> None:
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise ValueError(f"{directory} has no tokenizer.json")
        self._tokenizer = Tokenizer.from_file(str(path))
        found = {name: self._tokenizer.token_to_id(name) for name in ("<s>", "</s>", "\u2581")}
        if found != {"<s>": BOS, "</s>": EOS, "\u2581": SPACE}:
            raise ValueError(f"{path}: ids {found} are not those of Llama-2's tokenizer ({BOS}, {EOS}, {SPACE})")
        if template not in TEMPLATES:
            raise ValueError(f"template={template!r} is unknown: choose from {sorted(TEMPLATES)}")
        self._template = TEMPLATES[template]
        self._known: dict[str, tuple[int, ...]] = {}

    def text(self, instruction: str) -> str:
        """The prompt; the instruction is lower-cased and otherwise taken as it is."""
        return self._template.format(instruction=instruction.lower())

    def tokenize(self, text: str) -> list[int]:
        """Ids with BOS, without SPACE."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids if ids[:1] == [BOS] else [BOS, *ids]

    def __call__(self, instruction: str) -> tuple[int, ...]:
        """BOS, the prompt, SPACE. Raises ValueError if the instruction is empty."""
        if not instruction.strip():
            raise ValueError("the instruction is empty")
        if instruction not in self._known:
            ids = self.tokenize(self.text(instruction))
            self._known[instruction] = (*ids, *(() if ids[-1] == SPACE else (SPACE,)))
        return self._known[instruction]
