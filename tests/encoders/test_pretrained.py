"""Pretrained encoders against tiny random models written here: no network."""

from pathlib import Path

import pytest
import torch

from motion.encoders import (
    TransformersText,
    TransformersTextConfig,
    WanAutoencoder,
    WanAutoencoderConfig,
    load_encoder,
)

WORDS = ["<pad>", "</s>", "<unk>", "a", "person", "walks", "jumps", "[CLS]"]


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def write_model(folder: Path, kind: str) -> None:
    import transformers as hf

    torch.manual_seed(0)
    if kind == "umt5":
        config = hf.UMT5Config(
            vocab_size=8,
            d_model=16,
            d_kv=8,
            d_ff=16,
            num_layers=1,
            num_decoder_layers=1,
            num_heads=2,
        )
        hf.UMT5EncoderModel(config).save_pretrained(folder)
    elif kind == "clip":
        config = hf.CLIPTextConfig(
            vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=10, eos_token_id=1, pad_token_id=0,
        )  # fmt: skip
        hf.CLIPTextModel(config).save_pretrained(folder)
    else:
        config = hf.BertConfig(
            vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=10,
        )  # fmt: skip
        hf.BertModel(config).save_pretrained(folder)


@pytest.mark.parametrize("kind", ["umt5", "clip", "bert"])
def test_text_features_do_not_depend_on_the_padding(kind: str, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer")
    write_model(tmp_path / "text_encoder", kind)
    encoder = TransformersText(
        TransformersTextConfig(
            source=str(tmp_path),
            subfolder="text_encoder",
            tokenizer_subfolder="tokenizer",
            max_tokens=6,
        )
    )
    tokens, mask = encoder.encode(["a person walks", "jumps", ""])
    assert tokens.shape == (3, 4, 16)
    assert mask.sum(1).tolist() == [4, 2, 1]
    assert tokens.dtype == torch.float32
    assert tokens[~mask].abs().sum() == 0
    alone, alone_mask = encoder.encode(["jumps"])
    assert alone_mask.shape == (1, 2)
    torch.testing.assert_close(alone[0], tokens[1, :2], atol=1e-5, rtol=1e-4)
    assert encoder.encode(["a " * 20])[0].shape == (1, 6, 16)

    encoder.save(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved")
    assert isinstance(loaded, TransformersText)
    assert (loaded.hash, loaded.dim) == (encoder.hash, 16)


def test_more_tokens_than_the_model_reads_are_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path, "clip")
    with pytest.raises(ValueError, match="reads at most 10 tokens"):
        TransformersText(TransformersTextConfig(source=str(tmp_path), max_tokens=77))


def write_vae(folder: Path, seed: int) -> None:
    from diffusers import AutoencoderKLWan

    torch.manual_seed(seed)
    AutoencoderKLWan(
        base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12,
        patch_size=2, latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[0.5, 1.0, 2.0, 0.7],
        scale_factor_spatial=16,
    ).save_pretrained(folder / "vae")  # fmt: skip


def test_wan_encodes_the_normalised_mode_and_inverts_it(tmp_path: Path) -> None:
    write_vae(tmp_path, 0)
    encoder = WanAutoencoder(WanAutoencoderConfig(source=str(tmp_path)))
    assert (encoder.channels, encoder.temporal_stride, encoder.spatial_stride) == (4, 4, 16)
    video = torch.rand(1, 3, 5, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = encoder.encode(video)
    assert latent.shape == (1, 4, 2, 2, 3)

    mean = torch.tensor([0.1, -0.2, 0.3, 0.0]).view(1, 4, 1, 1, 1)
    std = torch.tensor([0.5, 1.0, 2.0, 0.7]).view(1, 4, 1, 1, 1)
    with torch.no_grad():
        mode = encoder.model.encode(video).latent_dist.mean
        torch.testing.assert_close(latent * std + mean, mode, atol=1e-5, rtol=1e-5)
        decoded = encoder.model.decode(mode).sample
    torch.testing.assert_close(encoder.decode(latent), decoded, atol=1e-4, rtol=0)
    assert decoded.shape == video.shape


def test_one_frame_is_encoded_as_the_first_latent_of_its_clip(tmp_path: Path) -> None:
    """So a condition needs no encoding of its own: it is the clip's first latent frame."""
    write_vae(tmp_path, 2)
    encoder = WanAutoencoder(WanAutoencoderConfig(source=str(tmp_path)))
    video = torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    first, clip = encoder.encode(video[:, :, :1]), encoder.encode(video)
    assert first.shape[2] == 1
    # one rounding: a convolution over more frames may add up in another order
    torch.testing.assert_close(first, clip[:, :, :1], atol=1e-6, rtol=0)
    assert (clip[:, :, 1:2] - first).abs().max() > 1e-3


def test_wan_refuses_other_weights_and_sizes(tmp_path: Path) -> None:
    write_vae(tmp_path, 0)
    encoder = WanAutoencoder(WanAutoencoderConfig(source=str(tmp_path)))
    encoder.save(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved")
    assert isinstance(loaded, WanAutoencoder)
    assert loaded.hash == encoder.hash
    with pytest.raises(ValueError, match="does not fit Wan's VAE"):
        encoder.encode(torch.zeros(1, 3, 5, 40, 32))
    write_vae(tmp_path, 1)
    with pytest.raises(ValueError, match="content hash"):
        load_encoder(tmp_path / "saved")
