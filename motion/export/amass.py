"""Motion as an .npz with AMASS's keys: what Blender add-ons and the field's tools read.

| key | shape | meaning |
|---|---|---|
| trans | (t, 3) | added to the posed body, metres, **z up** as in AMASS |
| root_orient | (t, 3) | axis-angle of the root in the z-up world, radians |
| pose_body | (t, 63) | axis-angle of joints 1 to 21 of SMPL's tree |
| smpl_hands | (t, 6) | axis-angle of SMPL's joints 22 and 23, which AMASS does not have |
| betas | (10,) | shape, in the space of `body_id` |
| mocap_frame_rate, gender, surface_model_type | () | frames per second, "neutral", "smpl" |
| body_id, motion_provenance | () | this library's: the betas' body, and JSON of the origin |
| camera_intrinsics, camera_size | (3, 3), (2,) | of the video, if there is one: px; rows, columns |
| T_camera_world | (4, 4) | of that camera (OpenCV axes), from this file's z-up world, metres |

Everything loads without pickle.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.export.provenance import KEY, Provenance
from motion.rotations import matrix_from_rotvec, rotvec_from_matrix
from motion.sequence import Motion
from motion.view.render_motion import Camera

R_ZUP_YUP: Final = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""Our world (y up, +z forward) in AMASS's (z up): the person faces -y there."""

_SHAPES: Final = {"trans": 3, "root_orient": 3, "pose_body": 63, "smpl_hands": 6}


def write_amass(
    path: Path,
    motion: Motion,
    body: BodyModel,
    provenance: Provenance | None = None,
    *,
    camera: Camera | None = None,
) -> Path:
    """Write one motion (t, 24, 3, 3) in the world frame, with its trajectory and, where a static
    camera filmed it, that camera.

    Raises:
        ValueError: a batch of motions, a camera-frame motion, one without translation, betas of
            another body, or a path that does not end in .npz.
    """
    if path.suffix.lower() != ".npz":
        raise ValueError(f"{path}: AMASS files end in .npz")
    motion.require_world_clip()
    pelvis = _rest_pelvis(body, motion.body_id, motion.betas)
    to_zup = R_ZUP_YUP.to(motion.R_parent_child)
    rotations = motion.R_parent_child.clone()
    rotations[:, 0] = to_zup @ rotations[:, 0]
    rotvec = rotvec_from_matrix(rotations).flatten(1)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        # The posed body turns about the rest pelvis, not about the origin.
        "trans": _array((motion.require_translation() + pelvis) @ to_zup.mT - pelvis),
        "root_orient": _array(rotvec[:, :3]),
        "pose_body": _array(rotvec[:, 3:66]),
        "smpl_hands": _array(rotvec[:, 66:]),
        "betas": _array(motion.betas),
        "mocap_frame_rate": np.array(motion.fps),
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smpl"),
        "body_id": np.array(motion.body_id),
    }
    if camera is not None:
        arrays |= {
            "camera_intrinsics": _array(camera.intrinsics),
            "camera_size": np.array([camera.height, camera.width]),
            "T_camera_world": _array(camera.T_camera_world @ _zup_from_yup().mT),
        }
    if provenance is not None:
        arrays[KEY] = np.array(provenance.model_dump_json())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # of a name alone, numpy makes x.NPZ.npz
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return path


def read_amass(path: Path, body: BodyModel) -> Motion:
    """Read what `write_amass` wrote, back into the y-up world.

    Raises:
        ValueError: a key is missing or has another shape, or the betas belong to another body
            (downloaded AMASS files name none: motion.importers takes those).
    """
    with np.load(path, allow_pickle=False) as archive:
        values = {name: archive[name] for name in archive.files}
    required = [*_SHAPES, "betas", "mocap_frame_rate", "body_id"]
    if missing := [name for name in required if name not in values]:
        raise ValueError(f"{path} has no {', '.join(missing)}; it holds {', '.join(values)}")
    frames = len(np.atleast_1d(values["trans"]))
    for name, width in _SHAPES.items():
        if values[name].shape != (frames, width):
            raise ValueError(
                f"{path}: {name} has shape {values[name].shape}, expected ({frames}, {width})"
            )
    if values["betas"].shape != (10,):
        raise ValueError(f"{path}: betas have shape {values['betas'].shape}, expected (10,)")
    body_id = str(values["body_id"])
    betas = torch.from_numpy(values["betas"]).float()
    pelvis = _rest_pelvis(body, body_id, betas)
    names = ("root_orient", "pose_body", "smpl_hands")
    rotvec = torch.from_numpy(np.concatenate([values[name] for name in names], 1)).float()
    rotations = matrix_from_rotvec(rotvec.unflatten(1, (24, 3)))
    rotations[:, 0] = R_ZUP_YUP.mT @ rotations[:, 0]
    return Motion(
        R_parent_child=rotations,
        translation=(torch.from_numpy(values["trans"]).float() + pelvis) @ R_ZUP_YUP - pelvis,
        betas=betas,
        body_id=body_id,
        fps=float(values["mocap_frame_rate"]),
    )


_CAMERA: Final = {"camera_intrinsics": (3, 3), "camera_size": (2,), "T_camera_world": (4, 4)}


def read_camera(path: Path) -> Camera | None:
    """The camera that `write_amass` wrote, in the y-up world; None where the file names none.

    Raises:
        ValueError: some of its keys are missing or have another shape.
    """
    with np.load(path, allow_pickle=False) as archive:
        values = {name: archive[name] for name in _CAMERA if name in archive.files}
    if not values:
        return None
    for name, shape in _CAMERA.items():
        found = values[name].shape if name in values else None
        if found != shape:
            raise ValueError(
                f"{path}: {name} has shape {found}, expected {shape}: a camera is "
                f"{', '.join(_CAMERA)}"
            )
    height, width = (int(side) for side in values["camera_size"])
    return Camera(
        T_camera_world=torch.from_numpy(values["T_camera_world"]).float() @ _zup_from_yup(),
        intrinsics=torch.from_numpy(values["camera_intrinsics"]).float(),
        height=height,
        width=width,
    )


def _zup_from_yup() -> Float[Tensor, "4 4"]:
    """Takes a point of our world to AMASS's."""
    matrix = torch.eye(4)
    matrix[:3, :3] = R_ZUP_YUP
    return matrix


def _rest_pelvis(body: BodyModel, body_id: str, betas: Float[Tensor, "10"]) -> Float[Tensor, "3"]:
    if body_id != body.body_id:
        raise ValueError(
            f"the betas belong to body {body_id!r}, the body model is {body.body_id!r}: "
            "load the motion's own body; betas never cross body models"
        )
    return body.rest_joints(betas)[0]


def _array(tensor: Tensor) -> npt.NDArray[np.generic]:
    return tensor.detach().cpu().float().numpy()
