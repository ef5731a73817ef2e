"""Prompts in, names of files out, as the command line takes and gives them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from motion import paths
from motion.export.formats import FORMATS, format_of


def read_prompts(given: Sequence[str]) -> list[str]:
    """Captions from the command line, standard input (`-`) and .txt files, in that order.

    Raises:
        ValueError: no caption is left, or a .txt file does not exist.
    """
    texts: list[str] = []
    for text in given:
        if text == "-":
            texts += sys.stdin.read().splitlines()
        elif text.endswith(".txt"):
            if not Path(text).is_file():
                raise ValueError(f"no such file of prompts: {text}")
            texts += Path(text).read_text(encoding="utf-8").splitlines()
        else:
            texts.append(text)
    texts = [text.strip() for text in texts if text.strip()]
    if not texts:
        raise ValueError('no prompt given: motion sample "a person waves"')
    return texts


def output_stems(output: Path | None, prompts: Sequence[str]) -> list[Path]:
    """One stem per sample: the given one, numbered where there are several samples.

    Raises:
        ValueError: the output asks for a kind of file that is not written.
    """
    if output is None:
        words = "".join(c if c.isalnum() else " " for c in prompts[0].lower()).split()
        output = paths.samples() / ("_".join(words)[:48] or "sample")
    stem = output.with_suffix("") if output_format(output) else output
    if len(prompts) == 1:
        return [stem]
    width = max(2, len(str(len(prompts) - 1)))
    return [stem.with_name(f"{stem.name}_{index:0{width}d}") for index in range(len(prompts))]


def output_format(output: Path | None) -> str:
    """The format that an output's suffix asks for; empty where it is a stem, such as run_v1.2.

    Raises:
        ValueError: the suffix is a word that names no format.
    """
    if output is None or not (output.suffix.lower() in FORMATS or output.suffix[1:2].isalpha()):
        return ""
    return format_of(output)
