"""Generated and real motions of a batch, with the root path that a protocol asks for."""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from motion.batch import Batch
from motion.body.model import BodyModel
from motion.camera import project, to_camera
from motion.evaluation.protocols import RootPath
from motion.models.system import Sample
from motion.sequence import Motion


def real_motion(batch: Batch) -> Motion:
    """The motion of the clips themselves.

    Raises:
        ValueError: the batch carries no motion with a path.
    """
    if batch.R_parent_child is None or batch.translation is None or batch.betas is None:
        raise ValueError(
            "the clips carry no SMPL motion with translation and betas: prepare a dataset that does"
        )
    return Motion(
        R_parent_child=batch.R_parent_child,
        translation=batch.translation,
        betas=batch.betas,
        body_id=batch.body_id,
        fps=_one_rate(batch),
    )


def _one_rate(batch: Batch) -> float:
    rates = sorted({float(rate) for rate in batch.fps})
    if len(rates) != 1:
        raise ValueError(f"a chunk mixes the frame rates {rates}: prepare clips at one rate")
    return rates[0]


def generated_motion(sample: Sample, batch: Batch, root_path: RootPath) -> Motion:
    """The motion of a sample, with its root path.

    Args:
        sample: what a system made for the batch.
        batch: the clips, for `held` and `true` paths.
        root_path: see `RootPath`.

    Raises:
        ValueError: the sample carries no motion, one in another frame, or lacks the path.
    """
    motion = sample.motion
    if motion is None:
        raise ValueError(
            "the export's samples carry no motion (CoMoVi's first stage makes video alone): this "
            "protocol needs one; evaluate an export that predicts motion, or use comovi-video"
        )
    if motion.frame != "world":
        raise ValueError(f"the export's motions are in the {motion.frame} frame; expected world")
    if root_path == "sample":
        if motion.translation is None:
            raise ValueError(
                "the export's samples carry poses without a root translation, and this protocol "
                "measures one: say where it comes from with root_path 'held' (the first frame's) "
                "or 'true' (the real clip's, an upper bound)"
            )
        return motion
    path = real_motion(batch).require_translation()
    if root_path == "held":
        path = path[:, :1].expand_as(path)
    return replace(motion, translation=path.to(motion.R_parent_child))


def projected_keypoints(motion: Motion, batch: Batch, body: BodyModel) -> Float[Tensor, "b t 17 2"]:
    """COCO-17 keypoints in the pixels of each clip's camera.

    Raises:
        ValueError: the clips carry no camera.
    """
    if batch.intrinsics is None or batch.T_camera_world is None:
        raise ValueError("the clips carry no camera: keypoints need one to be projected")
    points = body.keypoints(motion.R_parent_child, motion.betas, motion.translation)
    return project(to_camera(points, batch.T_camera_world), batch.intrinsics)
