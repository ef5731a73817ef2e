"""Word vectors fitted in closed form on the captions of a data set: no download, no training.

Words that occur in the captions of the same clips get near vectors. Counting by clip and not by
sentence window makes paraphrases near (several captions describe one clip) and keeps opposites
apart: "left" and "right" stand in the same sentences but not in the same clips.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from motion.encoders.storage import (
    content_hash,
    read_record,
    read_weights,
    require_hash,
    write_encoder,
)

START = "<s>"
_WORD = re.compile(r"\w+(?:'\w+)*")
_NGRAMS = (3, 4, 5)


class WordVectorsConfig(BaseModel):
    """Settings of `WordVectors`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    dim: int = Field(default=64, ge=16)
    """Width of a token: `dim - position_dims` for the word, the rest for its place."""
    max_tokens: int = Field(default=32, ge=2)
    """Longest token sequence, start token included; later words are cut."""
    position_dims: int = Field(default=8, ge=2, multiple_of=2)
    """Width of the sinusoidal part that tells a token's place in the sentence."""
    previous_word: float = Field(default=0.5, ge=0)
    """Weight of the preceding word (dimensions reversed) within a token, so that "left knee,
    right arm" and "right knee, left arm" differ even for a network that never mixes tokens."""
    max_words: int = Field(default=4096, ge=16)
    """Vocabulary: the most frequent words; all others are composed of character n-grams."""
    damping: float = Field(default=0.1, ge=0)
    """Fraction of the mean variance added to each dimension's own before it is scaled to one:
    dimensions that hold next to nothing stay small instead of becoming amplified noise."""


def split_words(text: str) -> list[str]:
    """Lower-cased words of a caption; punctuation is dropped."""
    return _WORD.findall(text.lower())


class WordVectors(nn.Module):
    """Token sequences of word vectors: PPMI and a truncated eigendecomposition.

    Levy and Goldberg 2014 (PPMI factorization), Bojanowski et al. 2017 (character n-grams).
    """

    table: Tensor

    def __init__(
        self,
        config: WordVectorsConfig,
        words: Sequence[str],
        table: Float[Tensor, "v w"],
    ) -> None:
        super().__init__()
        self.config = config
        self.words = tuple(words)
        self.register_buffer("table", table, persistent=False)
        self._index = {word: i for i, word in enumerate(self.words)}

    @property
    def id(self) -> str:
        return f"word-vectors-{self.config.dim}"

    @property
    def dim(self) -> int:
        return self.config.dim

    @property
    def max_tokens(self) -> int:
        return self.config.max_tokens

    @property
    def hash(self) -> str:
        """Content hash of configuration, vocabulary and vectors."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        description = {"config": self.config.model_dump(), "words": list(self.words)}
        return content_hash(description, {"table": self.table})

    @staticmethod
    def fit(captions: Sequence[Sequence[str]], config: WordVectorsConfig) -> "WordVectors":
        """Fit on the captions of clips, one inner sequence per clip.

        Raises:
            ValueError: no caption holds a word.
        """
        documents = [
            sorted({word for caption in clip for word in split_words(caption)}) for clip in captions
        ]
        frequency = Counter(word for document in documents for word in document)
        if not frequency:
            raise ValueError(
                f"none of the {len(captions)} clips has a caption with a word in it: "
                "word vectors need captions; use a pretrained text encoder instead"
            )
        ranked = sorted(frequency, key=lambda word: (-frequency[word], word))
        words = sorted(ranked[: config.max_words])
        ppmi = _ppmi(_cooccurrence(documents, words))
        width = config.dim - config.position_dims
        table = _scaled(_factors(ppmi, width), config.damping)
        return WordVectors(config, words, torch.from_numpy(table.astype(np.float32)))

    def encode(self, texts: Sequence[str]) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Tokens and mask (True where a token is), n = the longest of these texts.

        The first token is the start token, so that the empty prompt has one.
        """
        rows = [self._tokens(text) for text in texts]
        longest = max((len(row) for row in rows), default=1)
        tokens = torch.zeros(len(rows), longest, self.dim, device=self.table.device)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=self.table.device)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = row
            mask[i, : len(row)] = True
        return tokens, mask

    def _tokens(self, text: str) -> Float[Tensor, "n d"]:
        words = split_words(text)[: self.max_tokens - 1]
        start = torch.zeros_like(self.table[0])
        vectors = torch.stack([start, *(self.vector(word) for word in words)])
        before = torch.cat([torch.zeros_like(vectors[:1]), vectors[:-1]]).flip(-1)
        places = self._places[: len(vectors)].to(vectors)
        return torch.cat([vectors + self.config.previous_word * before, places], dim=-1)

    def vector(self, word: str) -> Float[Tensor, "w"]:
        """The vector of one lower-cased word; an unseen word is the mean of those that share its
        character n-grams, rare and long n-grams counting more; zero where there are none."""
        if word in self._index:
            return self.table[self._index[word]]
        total, weight = torch.zeros_like(self.table[0]), 0.0
        for gram in _ngrams(word):
            rows = self._grams.get(gram)
            if rows:
                share = len(gram) ** 2 / len(rows)
                total = total + share * self.table[rows].mean(0)
                weight += share
        return total / weight if weight else total

    @cached_property
    def _grams(self) -> dict[str, list[int]]:
        grams: dict[str, list[int]] = {}
        for i, word in enumerate(self.words):
            for gram in dict.fromkeys(_ngrams(word)):
                grams.setdefault(gram, []).append(i)
        return grams

    @cached_property
    def _places(self) -> Float[Tensor, "n p"]:
        """Sinusoids of unit variance, wavelengths from 4 tokens to twice the longest text."""
        waves = self.config.position_dims // 2
        wavelength = torch.logspace(
            np.log10(4.0), np.log10(2.0 * self.max_tokens), waves, dtype=torch.float64
        )
        phase = 2 * torch.pi * torch.arange(self.max_tokens)[:, None] / wavelength
        return (2**0.5 * torch.cat([phase.sin(), phase.cos()], dim=-1)).float()

    def save(self, folder: str | Path) -> None:
        """Write config.json and weights.safetensors."""
        record = {
            "kind": "word_vectors",
            "id": self.id,
            "hash": self.hash,
            "config": self.config.model_dump(),
            "words": list(self.words),
        }
        write_encoder(Path(folder), record, {"table": self.table})

    @staticmethod
    def load(folder: str | Path) -> "WordVectors":
        """Read what `save` wrote; its contents must have the hash that was saved."""
        record = read_record(Path(folder))
        config = WordVectorsConfig.model_validate(record["config"])
        encoder = WordVectors(config, record["words"], read_weights(Path(folder))["table"])
        require_hash(Path(folder), record["hash"], encoder.hash)
        return encoder


def _ngrams(word: str) -> Iterator[str]:
    marked = f"<{word}>"
    for length in _NGRAMS:
        for start in range(len(marked) - length + 1):
            yield marked[start : start + length]


def _cooccurrence(documents: Sequence[Sequence[str]], words: Sequence[str]) -> NDArray[np.float64]:
    """Number of clips that hold both words; the diagonal is each word's own number."""
    index = {word: i for i, word in enumerate(words)}
    counts = np.zeros((len(words), len(words)))
    for document in documents:
        rows = np.array([index[word] for word in document if word in index], dtype=np.int64)
        counts[np.ix_(rows, rows)] += 1
    return counts


def _ppmi(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positive pointwise mutual information of a symmetric table of counts, in nats."""
    marginal = counts.sum(1)
    expected = np.outer(marginal, marginal) / counts.sum()
    ratio = np.divide(counts, expected, out=np.ones_like(counts), where=expected > 0)
    return np.log(np.maximum(ratio, 1.0))


def _factors(matrix: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Leading singular directions times the root of their singular value, signs fixed.

    The matrix is symmetric, so its singular values are the moduli of its eigenvalues.
    """
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-np.abs(values), kind="stable")[:width]
    factors = vectors[:, order] * np.sqrt(np.abs(values[order]))
    peak = np.take_along_axis(factors, np.abs(factors).argmax(0)[None], axis=0)
    factors *= np.where(peak < 0, -1.0, 1.0)
    return np.pad(factors, ((0, 0), (0, width - len(order))))


def _scaled(table: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    """Zero mean and (damped) unit variance per dimension over the vocabulary."""
    centred = table - table.mean(0)
    variance = centred.var(0)
    floor = damping * variance.mean() + np.finfo(np.float64).tiny
    return centred / np.sqrt(variance + floor)
