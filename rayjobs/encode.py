"""Run the frozen encoders over a raw data set, once: latents and text features for training.

    ray job submit -- python rayjobs/encode.py --raw-root /data/procedural --root /data/encoded

Without options the encoders are fitted on the data itself and need no download. With Wan's VAE and
UMT5, on four GPUs:

    ... rayjobs/encode.py --actors 4 --actor-gpus 1
        text:transformers-text-config --text.source Wan-AI/Wan2.2-TI2V-5B-Diffusers
        --text.subfolder text_encoder --text.tokenizer-subfolder tokenizer
        video:wan-autoencoder-config --video.source Wan-AI/Wan2.2-TI2V-5B-Diffusers

Results: a data set in `--root`, with its encoders beside it. An interrupted job continues with the
files that are missing; a finished one returns at once.
"""

from typing import Annotated

import tyro

from motion import paths
from motion.data.encode import EncodeConfig, describe, encode
from motion.data.manifest import Manifest

DEFAULT = EncodeConfig(
    raw_root=paths.data() / "procedural",
    root=paths.data() / "procedural-encoded",
)


def main(
    config: Annotated[EncodeConfig, tyro.conf.arg(name="")] = DEFAULT,
    *,
    dry_run: bool = False,
) -> None:
    """Encode a data set.

    Args:
        config: what to encode, and how.
        dry_run: say what would be done, and stop.
    """
    if dry_run:
        print(describe(config))
        return
    manifest = Manifest.load(encode(config))
    print(f"dataset {manifest.hash[:12]}: {len(manifest.rows)} clips in {manifest.root}")
    print("  ".join(f"{name} {value:.4g}" for name, value in manifest.facts.items()))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
