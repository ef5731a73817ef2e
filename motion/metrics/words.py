"""Text tokens of the published text-to-motion evaluator: GloVe vectors with parts of speech.

A caption is `word/POS` tokens, as HumanML3D's and KIT's text files hold them; where only the
sentence is known, a tagger makes them. Classes and word lists are part of the published weights
(Guo et al. 2022): a listed word takes its list's class whatever its part of speech.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body.unpickle import read_arrays
from motion.encoders.storage import content_hash

CLASSES: Final = (
    "VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV",
    "Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER",
)  # fmt: skip
LISTED: Final = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down "
    "straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop "
    "sit lift lower raise wash stand kneel stroll rub bend balance flap jog shuffle lean rotate "
    "spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
"""Words of each special class."""
MAX_WORDS: Final = 20
"""Words that are read; the start and the end are tokens of their own."""
VOCABULARY: Final = "our_vab"
"""Begin of the names of the vocabulary's files."""
TAGGER: Final = "en_core_web_sm"
"""spaCy's model that the published tokens were made with."""
_CLASS_OF: Final = {word: name for name, words in LISTED.items() for word in words.split()}


@dataclass(frozen=True)
class PublishedWords:
    """The published vocabulary (4,199 words)."""

    vectors: Float[np.ndarray, "v 300"]
    rows: dict[str, int]
    """Row of each word."""

    @staticmethod
    def load(folder: Path | str, prefix: str = VOCABULARY) -> "PublishedWords":
        """Read `our_vab_data.npy` and `our_vab_idx.pkl`; the pickle may hold nothing but words and
        numbers.

        Raises:
            ValueError: a file is missing, or they do not fit together.
        """
        data, index = (Path(folder) / f"{prefix}_{end}" for end in ("data.npy", "idx.pkl"))
        for file in (data, index):
            if not file.is_file():
                raise ValueError(f"{file} is missing: give the folder of the published vocabulary")
        vectors = np.load(data).astype(np.float32)
        rows = {word: int(row) for word, row in read_arrays(index).items()}
        if "unk" not in rows or max(rows.values()) >= len(vectors):
            raise ValueError(
                f"{folder} holds {len(vectors)} vectors for {len(rows)} words: the files belong to "
                "different vocabularies, or the word 'unk' is missing"
            )
        return PublishedWords(vectors, rows)

    def encode(
        self, captions: Sequence[Sequence[str]]
    ) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Tokens (word vector, then class as one-hot) of captions given as `word/POS`.

        Each is cut to 20 words between `sos` and `eos`. A word outside of the vocabulary reads as
        "unk" of class OTHER.

        Raises:
            ValueError: a token without its part of speech.
        """
        rows = [self._tokens(caption) for caption in captions]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        sizes = torch.tensor([len(row) for row in rows])
        return tokens, torch.arange(tokens.shape[1]) < sizes[:, None]

    def _tokens(self, caption: Sequence[str]) -> Float[Tensor, "n d"]:
        bounded = ["sos/OTHER", *caption[:MAX_WORDS], "eos/OTHER"]
        return torch.stack([self._token(token) for token in bounded])

    def _token(self, token: str) -> Float[Tensor, "d"]:
        word, separator, speech = token.rpartition("/")
        if not separator:
            raise ValueError(
                f"token {token!r} has no part of speech: write it as word/POS, such as walk/VERB"
            )
        known = word in self.rows
        name = _CLASS_OF.get(word, speech) if known else "OTHER"
        one_hot = torch.zeros(len(CLASSES))
        one_hot[CLASSES.index(name if name in CLASSES else "OTHER")] = 1
        vector = self.vectors[self.rows[word if known else "unk"]]
        return torch.cat([torch.from_numpy(vector), one_hot])


def spacy_tokens(caption: str) -> list[str]:
    """`word/POS` tokens of a sentence as the published data's: words of letters alone, hyphens left
    out, nouns and verbs as lemmas but for "left".

    Raises:
        RuntimeError: spaCy or its English model is not installed.
    """
    tokens = [token for token in _tagger()(caption.replace("-", "")) if token.text.isalpha()]
    return [
        f"{token.lemma_ if token.pos_ in ('NOUN', 'VERB') and token.text != 'left' else token.text}"
        f"/{token.pos_}"
        for token in tokens
    ]


@functools.lru_cache(maxsize=1)
def _tagger() -> Any:
    missing = [n for n in ("spacy", TAGGER) if importlib.util.find_spec(n) is None]
    if missing:
        raise RuntimeError(
            f"the published evaluator reads words with parts of speech, which {missing} finds: "
            f"`pip install spacy`, then `python -m spacy download {TAGGER}`"
        )
    return importlib.import_module("spacy").load(TAGGER, disable=["parser", "ner"])


@dataclass(frozen=True)
class PublishedCaptions:
    """Sentences to tokens of the published evaluator: its text encoder, so to speak."""

    words: PublishedWords
    tagger: Callable[[str], list[str]] = spacy_tokens
    """Sentence to `word/POS` tokens."""

    @property
    def hash(self) -> str:
        """SHA-256 of the vocabulary and the tagger's name."""
        description = {"tagger": TAGGER, "rows": self.words.rows}
        return content_hash(description, {"vectors": torch.from_numpy(self.words.vectors)})

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.words.vectors.shape[1] + len(CLASSES)

    def encode(self, texts: Sequence[str]) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
        """Token features and mask.

        Raises:
            RuntimeError: the tagger is not installed.
        """
        return self.words.encode([self.tagger(text) for text in texts])
