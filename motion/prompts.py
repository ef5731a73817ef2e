"""Prompts in, names of files out, as the command line takes and gives them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from motion import paths

FILE_SUFFIXES: Final = (".mp4", ".png", ".npz", ".gif")
"""Files of one sample: [RGB | motion map | SMPL] video, strip, AMASS-keyed motion, and where it is
asked for the video as a gif."""
OTHER_SUFFIXES: Final = (".glb", ".bvh", ".npy")


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
    if output.suffix in OTHER_SUFFIXES:
        raise ValueError(f"{output}: a sample is written as {', '.join(FILE_SUFFIXES)}")
    stem = output.with_suffix("") if output.suffix in FILE_SUFFIXES else output
    if len(prompts) == 1:
        return [stem]
    width = max(2, len(str(len(prompts) - 1)))
    return [stem.with_name(f"{stem.name}_{index:0{width}d}") for index in range(len(prompts))]
