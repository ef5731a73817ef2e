"""Recipe: generate the procedural dataset.

    ray job submit -- python rayjobs/prepare_data.py --root /data/procedural --num-train 2048

It needs no download: captioned actions of a licence-free body, rendered to video and motion map.
An interrupted job continues where it stopped; a finished one returns at once.
"""

from typing import Annotated

import tyro

from motion import paths
from motion.data.manifest import Manifest
from motion.data.prepare import PrepareConfig, describe, prepare

DEFAULT = PrepareConfig(
    root=paths.data() / "procedural",
    num_train=320,
    num_validation=64,
    num_test=32,
)


def main(
    config: Annotated[PrepareConfig, tyro.conf.arg(name="")] = DEFAULT,
    *,
    dry_run: bool = False,
) -> None:
    """Generate a raw procedural dataset.

    Args:
        config: the dataset.
        dry_run: say what would be made, and stop.
    """
    print(describe(config))
    if dry_run:
        return
    manifest = Manifest.load(prepare(config))
    print(f"dataset {manifest.hash[:12]}: {len(manifest.rows)} clips in {manifest.root}")


if __name__ == "__main__":
    tyro.cli(main)
