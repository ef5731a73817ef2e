"""Prepare a dataset of clips, generated, from motion capture or from videos, as Parquet shards.

    ray job submit -- python rayjobs/prepare_data.py --root /data/procedural --num-train 2048
    ray job submit -- python rayjobs/prepare_data.py --root /data/cmu --source mocap \\
        --mocap.folder $MOTION_REAL_DATA/mocap/cmu_bvh_mb --num-train 4096
    ray job submit -- python rayjobs/prepare_data.py --root /data/films --source video \\
        --video.folder $MOTION_REAL_DATA/video

The generator needs no download: captioned actions of a licence-free body, rendered to video and
motion map. Motion capture (docs/importers.md) is put on the same body and rendered the same way.
Recorded videos give RGB and captions alone (docs/models/comovi.md); a `--video.folder` beside
another source adds them to it.
Results: shards, manifest and dataset.json in `--root`. An interrupted job continues where it
stopped; a finished one returns at once.
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
    """Prepare a raw dataset.

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
    tyro.cli(main, description=__doc__)
