"""Convert weights of Wan 2.2 or CoMoVi to an export that trainings start from, or back.

    python rayjobs/convert_weights.py                     # the hub's Wan 2.2 5B, for `wan5b`
    python rayjobs/convert_weights.py --source FILE.safetensors --output DIR --fresh fusion smpl
    python rayjobs/convert_weights.py --source EXPORT --output DIR --layout diffusers

Reads diffusers folders and hub ids, the original Wan's files and the public CoMoVi's single file;
writes our exports and all three of those. Tensor by tensor: it takes the disk of the weights, not
their memory, and neither cluster nor GPU. Adapters of an export are merged.
Results: the weights in `--output`; the report says where each tensor came from.
"""

import tyro

from motion import paths
from motion.training.convert import ConvertConfig, convert
from rayjobs.train_comovi import WAN, WAN_EXPORT

DEFAULT = ConvertConfig(source=WAN, output=paths.exports() / WAN_EXPORT)


def main(config: ConvertConfig) -> None:
    """Convert and say what came from where."""
    written, report = convert(config)
    print(f"{report}\n{written}")


if __name__ == "__main__":
    main(
        tyro.cli(
            ConvertConfig,
            default=DEFAULT,
            description=__doc__,
            config=(tyro.conf.AvoidSubcommands,),
        )
    )
