"""Evaluators with a text encoder of their own read the words that the clips show."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from motion.data.manifest import Manifest, write_dataset
from motion.data.procedural import ProceduralConfig, clip_row, generate_motion
from motion.data.schema import encode_tensor, seal
from motion.data.statistics import Statistics
from motion.data.storage import write_shard
from motion.encoders import WordVectors, WordVectorsConfig
from motion.evaluation.clips import Clips
from motion.evaluation.embedding import caption_embeddings, reads_tokens_of, require_texts
from motion.metrics import words
from motion.metrics.evaluator import Evaluator
from motion.metrics.words import CLASSES, PublishedCaptions, PublishedWords, spacy_tokens
from motion.models.evaluator.features import FeatureConfig
from motion.models.evaluator.system import EvaluatorConfig
from motion.models.evaluator.t2m import T2MConfig

VOCABULARY = PublishedWords(
    np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32),
    {"unk": 0, "sos": 1, "eos": 2, "walk": 3, "person": 4},
)


def tagged(caption: str) -> list[str]:
    return [f"{word}/NOUN" for word in caption.split()]


def evaluator(text_encoder: Any, token_dim: int) -> Evaluator:
    fitted = FeatureConfig().fitted(Statistics(torch.zeros(263), torch.ones(263)))
    small = T2MConfig(
        movement_hidden=8, movement_dim=8, motion_hidden=8, word_dim=token_dim, pos_dim=0,
        text_hidden=8, embedding_dim=6,
    )  # fmt: skip
    torch.manual_seed(0)
    built = EvaluatorConfig(network=small, features=fitted).build()
    return Evaluator(built.eval().requires_grad_(False), text_encoder)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WordVectors]:
    root = tmp_path_factory.mktemp("clips")
    config = ProceduralConfig(render=False, num_frames=9)
    rows = [clip_row(generate_motion(seed, config), "test") for seed in range(5)]
    text = WordVectors.fit([row["captions"] for row in rows], WordVectorsConfig(dim=16))
    text.save(root / "encoders" / "text")
    encoders = {"text": {"id": text.id, "hash": text.hash, "path": "encoders/text"}}
    sealed = []
    for row in rows:
        tokens, mask = text.encode(row["captions"])
        arrays = {
            "text_embedding": tokens.numpy().astype(np.float16),
            "text_mask": mask.numpy().astype(np.uint8),
        }
        sealed.append(seal({**row, **{name: encode_tensor(x) for name, x in arrays.items()}}))
    file = root / "shards" / "all.parquet"
    write_shard(file, sealed, row_group_size=2, encoders=encoders)
    write_dataset(root, [file], config={"kind": "test"}, encoders=encoders)
    return root, text


@dataclasses.dataclass(frozen=True)
class Renamed:
    """A text encoder that the dataset does not know."""

    inner: WordVectors
    hash: str = "another"
    seen: list[str] = dataclasses.field(default_factory=list)

    @property
    def dim(self) -> int:
        return self.inner.dim

    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen.extend(texts)
        return self.inner.encode(texts)


def test_captions_are_those_whose_tokens_the_clips_show(dataset: tuple[Path, WordVectors]) -> None:
    root, text = dataset
    clips = Clips.select(Manifest.load(root), "test", num_clips=None, batch_size=2, seed=3)
    own, other = evaluator(text, text.dim), evaluator(Renamed(text), text.dim)
    manifest = Manifest.load(root)
    assert reads_tokens_of(own, manifest)
    assert not reads_tokens_of(other, manifest)
    draws = [caption_embeddings(clips, own, draw) for draw in range(4)]
    for draw, stored in enumerate(draws):
        anew = caption_embeddings(clips, other, draw)
        torch.testing.assert_close(anew, stored, rtol=2e-3, atol=2e-3)
    assert not all(torch.equal(draws[0], later) for later in draws[1:]), "captions vary by draw"
    assert isinstance(other.text_encoder, Renamed)
    shown = [caption for chunk in clips.chunks() for caption in clips.captions(chunk, 3)]
    assert other.text_encoder.seen[-len(shown) :] == shown


def test_published_captions_become_tokens() -> None:
    captions = PublishedCaptions(VOCABULARY, tagger=tagged)
    tokens, mask = captions.encode(["person walk quickly", "walk"])
    assert tokens.shape == (2, 5, captions.dim) == (2, 5, 315)
    assert mask.sum(1).tolist() == [5, 3]
    assert torch.equal(tokens[0, 2, :300], torch.from_numpy(VOCABULARY.vectors[3]))
    assert CLASSES[int(tokens[0, 2, 300:].argmax())] == "Act_VIP"
    assert CLASSES[int(tokens[0, 3, 300:].argmax())] == "OTHER", "an unknown word"
    more = PublishedWords(VOCABULARY.vectors + 1, VOCABULARY.rows)
    assert PublishedCaptions(more).hash != PublishedCaptions(VOCABULARY).hash


def test_words_are_tagged_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    def sentence(caption: str) -> list[SimpleNamespace]:
        lemmas = {"walks": ("walk", "VERB"), "steps": ("step", "NOUN"), "left": ("leave", "VERB")}
        return [
            SimpleNamespace(text=w, lemma_=lemma, pos_=speech)
            for w in caption.split()
            for lemma, speech in [lemmas.get(w, (w + "!", "ADV"))]
        ]

    monkeypatch.setattr(words, "_tagger", lambda: sentence)
    assert spacy_tokens("walks side-ways left 2 steps .") == [
        "walk/VERB", "sideways/ADV", "left/VERB", "step/NOUN",
    ]  # fmt: skip


def test_an_evaluator_that_cannot_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="our_vab_data"):
        require_texts(evaluator(None, 315))
    words._tagger.cache_clear()
    monkeypatch.setattr(words.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install spacy"):
        require_texts(evaluator(PublishedCaptions(VOCABULARY), 315))
    require_texts(evaluator(PublishedCaptions(VOCABULARY, tagger=tagged), 315))
