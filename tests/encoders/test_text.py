"""Word vectors: what near, far, unseen and empty text must look like."""

import numpy as np
import pytest
import torch

from motion.encoders import WordVectors, WordVectorsConfig, load_encoder

ACTIONS = {
    "walk": ["walks", "strolls", "is walking"],
    "wave": ["waves", "greets", "is waving"],
    "jump": ["jumps", "hops", "leaps"],
    "kick": ["kicks", "strikes with the foot"],
}


def corpus() -> list[list[str]]:
    clips: list[list[str]] = []
    for verbs in ACTIONS.values():
        for side in ("left", "right"):
            for place in ("slowly", "quickly"):
                clips.append([f"a person {verb} {place} on the {side}" for verb in verbs])
    return clips


@pytest.fixture(scope="module")
def encoder() -> WordVectors:
    return WordVectors.fit(corpus(), WordVectorsConfig(dim=32, max_tokens=12))


def sentence(encoder: WordVectors, text: str) -> torch.Tensor:
    """Mean of the word part over the tokens."""
    tokens, mask = encoder.encode([text])
    return tokens[0, mask[0], : encoder.dim - encoder.config.position_dims].mean(0)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.cosine_similarity(a, b, dim=0))


def test_words_of_one_action_are_near_and_opposites_are_far(encoder: WordVectors) -> None:
    near = cosine(encoder.vector("walks"), encoder.vector("strolls"))
    far = cosine(encoder.vector("walks"), encoder.vector("jumps"))
    sides = cosine(encoder.vector("left"), encoder.vector("right"))
    assert near > 0.9
    assert far < 0.3
    assert sides < 0.3


def test_texts_of_one_action_are_near(encoder: WordVectors) -> None:
    base = sentence(encoder, "a person walks slowly")
    near = (base - sentence(encoder, "a person strolls slowly")).norm()
    far = (base - sentence(encoder, "a person kicks slowly")).norm()
    assert near < 0.5 * far


def test_unseen_word_takes_after_words_with_the_same_letters(encoder: WordVectors) -> None:
    unseen = encoder.vector("walked")
    assert cosine(unseen, encoder.vector("walks")) > 0.7
    assert cosine(unseen, encoder.vector("jumps")) < 0.3
    assert encoder.vector("xyzzy").abs().sum() == 0


def test_empty_prompt_has_one_token_and_case_and_punctuation_do_not_count(
    encoder: WordVectors,
) -> None:
    tokens, mask = encoder.encode([""])
    assert tokens.shape == (1, 1, 32)
    assert mask.tolist() == [[True]]
    assert tokens.abs().sum() > 0
    torch.testing.assert_close(
        encoder.encode(["A person, WALKS."])[0], encoder.encode(["a person walks"])[0]
    )


def test_a_token_knows_its_place_and_the_word_before_it(encoder: WordVectors) -> None:
    """So that even a network that never mixes tokens can bind a side to an action."""
    word = encoder.dim - encoder.config.position_dims
    one = encoder.encode(["left walks right jumps"])[0][0]
    two = encoder.encode(["right walks left jumps"])[0][0]
    assert (one[2, :word] - two[2, :word]).norm() > 0.5
    torch.testing.assert_close(one[:, word:], two[:, word:])
    repeated = encoder.encode(["walks walks walks"])[0][0]
    assert (repeated[2, word:] - repeated[3, word:]).norm() > 0.5


def test_long_text_is_cut_and_short_text_is_masked(encoder: WordVectors) -> None:
    tokens, mask = encoder.encode(["walks " * 40, "jumps"])
    assert tokens.shape == (2, 12, 32)
    assert mask.sum(1).tolist() == [12, 2]
    assert tokens[1, 2:].abs().sum() == 0


def test_scale_is_about_one(encoder: WordVectors) -> None:
    variance = encoder.table.var(0, correction=0)
    assert variance.max() <= 1.0
    assert float(variance[:8].mean()) > 0.5
    assert torch.allclose(encoder.table.mean(0), torch.zeros(24), atol=1e-5)


def test_fit_is_deterministic_and_independent_of_the_order_of_clips() -> None:
    config = WordVectorsConfig(dim=32)
    one, two = (WordVectors.fit(clips, config) for clips in (corpus(), corpus()[::-1]))
    assert one.hash == two.hash


def test_save_and_load_keep_everything(encoder: WordVectors, tmp_path) -> None:
    encoder.save(tmp_path / "text")
    loaded = load_encoder(tmp_path / "text")
    assert isinstance(loaded, WordVectors)
    assert (loaded.id, loaded.hash, loaded.dim) == (encoder.id, encoder.hash, 32)
    texts = ["a person walked on the left", ""]
    torch.testing.assert_close(loaded.encode(texts), encoder.encode(texts), rtol=0, atol=0)


def test_changed_weights_are_refused(encoder: WordVectors, tmp_path) -> None:
    from safetensors.numpy import load_file, save_file

    encoder.save(tmp_path)
    tensors = load_file(tmp_path / "weights.safetensors")
    save_file({"table": tensors["table"] + np.float32(1e-3)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="content hash"):
        load_encoder(tmp_path)


def test_no_words_and_no_encoder_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="none of the 2 clips has a caption"):
        WordVectors.fit([["..."], []], WordVectorsConfig())
    with pytest.raises(ValueError, match="holds no config"):
        load_encoder(tmp_path)
