"""Prints a script that completes the verbs, flags, fields and presets of `rpd-jax` in bash or zsh.

eval "$(rpd-jax completion bash)"     # in ~/.bashrc
eval "$(rpd-jax completion zsh)"      # in ~/.zshrc
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rpd_jax.config import choice
from rpd_jax.launch.flags import run
from rpd_jax.launch.main import VERBS
from rpd_jax.presets import PRESETS

# A verb's flags are what its --help lists, asked for once and kept until another verb is typed.
BASH = r"""
_rpd_jax() {
  local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} i=$((COMP_CWORD - 1)) words
  [ "$word" = = ] && word= || { [ "${COMP_WORDS[i]}" = = ] && i=$((i - 1)); }
  if [ "$COMP_CWORD" = 1 ]; then
    words="VERBS"
  elif [ "${COMP_WORDS[i]}" = --preset ] || [ "$verb" = presets ]; then
    words="PRESETS"
  elif [ "${word#-}" != "$word" ]; then
    if [ "$_rpd_jax_verb" != "$verb" ]; then
      _rpd_jax_verb=$verb
      _rpd_jax_flags=$(rpd-jax "$verb" --help 2>/dev/null | grep -oE '^ +--[A-Za-z0-9_.]+=?' | tr -d ' ')
    fi
    words=$_rpd_jax_flags
    [ -n "$BASH_VERSION" ] && compopt -o nospace
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _rpd_jax rpd-jax
"""
SHELLS = {"bash": BASH, "zsh": "autoload -U +X bashcompinit && bashcompinit\n" + BASH}


def script(shell: str) -> str:
    """What the shell is to evaluate; raises ConfigError for an unknown one."""
    choice("shell", shell, SHELLS)
    return SHELLS[shell].replace("VERBS", " ".join(VERBS)).replace("PRESETS", " ".join(PRESETS))


def main(argv: Sequence[str]) -> None:
    print(script(argv[1] if len(argv) == 2 else " ".join(argv[1:]) or "none"), file=sys.stdout)


if __name__ == "__main__":
    run(main, takes_words=True)
