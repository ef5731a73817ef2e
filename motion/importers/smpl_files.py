"""Motions that are already in SMPL's rotations: AMASS-style .npz, plain SMPL .npz and .pkl.

The rotations are taken as they are. Betas are not: they belong to the body that they were fitted
with, and the path is scaled by the length of the legs instead. Pickles pass an allow-list of array
types.
"""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.body.unpickle import read_arrays
from motion.export.amass import R_ZUP_YUP, read_amass
from motion.importers.retarget import leg_length
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS, joint

Up = Literal["auto", "y", "z"]

SMPL_LEG_M: Final = 0.775
"""Hip to ankle along the bones of SMPL's neutral mean shape."""
_POSES: Final = ("poses", "smpl_poses", "pose", "smpl_pose", "body_pose", "pose_body")
_ROOTS: Final = ("root_orient", "global_orient", "smpl_orient", "smpl_orient_world")
_PATHS: Final = ("trans", "smpl_trans", "transl", "translation", "root_trans", "root_trans_world")
_RATES: Final = ("mocap_framerate", "mocap_frame_rate", "fps", "framerate", "frame_rate")
_HANDS: Final = {72: (22, 23), 156: (25, 40), 165: (28, 43)}
"""Values per pose (SMPL, SMPL-H, SMPL-X) -> the file's joints that stand for our two hands."""


def read_smpl(path: Path, body: BodyModel, *, fps: float | None = None, up: Up = "auto") -> Motion:
    """The motion of an .npz or .pkl file of SMPL parameters, y up, with mean shape.

    Args:
        path: AMASS's layout (poses, trans, mocap_framerate), or any of the usual key names.
        body: the body that will carry it.
        fps: frames per second, for files that state none.
        up: the file's vertical axis; "auto" takes the axis along which the body stands. This
            library's own files are z up.

    Raises:
        ValueError: the file is damaged, keys are missing, shapes disagree, a value is no finite
            number, or the frame rate is unknown or contradicts the file's, or the axis our own's.
    """
    values = _read(path)
    if "body_id" in values and str(values["body_id"]) == body.body_id:
        return _own(path, body, values, fps, up)
    rotvec = _pose(path, values)
    rate = _rate(path, values, fps)
    trans = _path(path, values, len(rotvec))
    _require_finite(path, rotvec, trans)
    rotations = matrix_from_rotvec(torch.from_numpy(rotvec).float().unflatten(1, (NUM_JOINTS, 3)))
    turn = R_ZUP_YUP.mT if _up_axis(path, rotations, up) == "z" else torch.eye(3)
    rotations[:, 0] = turn @ rotations[:, 0]
    betas = torch.zeros(10)
    rest = body.rest_joints(betas)
    scale = leg_length(rest, joint) / SMPL_LEG_M
    pelvis = torch.from_numpy(trans).float() @ turn.mT * scale
    return Motion(
        R_parent_child=rotations,
        translation=pelvis - rest[0] * torch.tensor([1.0, 0.0, 1.0]),
        betas=betas,
        body_id=body.body_id,
        fps=rate,
    )


def _own(
    path: Path, body: BodyModel, values: Mapping[str, Any], fps: float | None, up: Up
) -> Motion:
    """A file that `write_amass` wrote, with its own betas."""
    _rate(path, values, fps)
    if up == "y":
        raise ValueError(
            f"{path} was written by this library, which writes z up, but up='y' was given: leave "
            "up out"
        )
    return read_amass(path, body)


def states_rate(path: Path) -> bool:
    """Does an .npz or .pkl file say how many frames a second has?

    Raises:
        ValueError: the file is damaged, or would run code.
    """
    return _first(_read(path), _RATES) is not None


def _require_finite(
    path: Path, rotvec: Float[np.ndarray, "t 72"], trans: Float[np.ndarray, "t 3"]
) -> None:
    for name, array in (("pose", rotvec), ("translation", trans)):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            raise ValueError(
                f"{path}: the {name} of frame {bad[0][0]} is not finite (NaN or infinity): "
                "cut the frame out or fill it"
            )


def _read(path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".pkl":
        try:
            values = read_arrays(path)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        people = values.get("person_data")
        if isinstance(people, Mapping) and len(people) == 1:  # one tracked person (GLAMR)
            (person,) = people.values()
            if not isinstance(person, Mapping):
                raise ValueError(
                    f"{path}: person_data holds a {type(person).__name__}, expected the arrays of "
                    "a person by name: write the file again"
                )
            values = {str(key): value for key, value in person.items()}
        return values
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no whole .npz file ({error}): copy it again") from error
    except ValueError as error:
        raise ValueError(
            f"{path} holds Python objects ({error}), which could run code when read: save its "
            "arrays one by one with numpy.savez"
        ) from error


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in values), None)


def _numbers(path: Path, values: Mapping[str, Any], key: str) -> Float[np.ndarray, "..."]:
    try:
        return np.asarray(values[key], np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: {key} is no array of numbers ({error}): copy or write the file again"
        ) from error


def _pose(path: Path, values: Mapping[str, Any]) -> Float[np.ndarray, "t 72"]:
    key, root = _first(values, _POSES), _first(values, _ROOTS)
    if key is None:
        raise ValueError(
            f"{path} has no pose: it holds {', '.join(values)}; expected one of "
            f"{', '.join(_POSES)} with axis-angle vectors (joint positions alone need a fit)"
        )
    pose = _numbers(path, values, key)
    if pose.ndim < 2 or not pose.size:
        raise ValueError(
            f"{path}: {key} has shape {pose.shape}; expected one row per frame, and a frame or "
            "more: save it as (frames, values)"
        )
    pose = pose.reshape(len(pose), -1)
    if root is not None and pose.shape[1] in (63, 69, 153, 162):
        first = _numbers(path, values, root)
        if first.size != 3 * len(pose):
            raise ValueError(
                f"{path}: {root} has shape {first.shape}; expected ({len(pose)}, 3), as {key} has "
                f"{len(pose)} frames: they must be of one clip"
            )
        pose = np.concatenate([first.reshape(-1, 3), pose], 1)
    if pose.shape[1] == 66:
        return np.concatenate([pose, np.zeros((len(pose), 6))], 1)
    if pose.shape[1] not in _HANDS:
        raise ValueError(
            f"{path}: {key} has {pose.shape[1]} values per frame; expected 66 or 72 (SMPL), 156 "
            "(SMPL-H) or 165 (SMPL-X) with the root first, or 63 or 69 beside a root_orient: "
            + ("the root's rotation is missing" if pose.shape[1] == 69 else "convert the file")
        )
    left, right = _HANDS[pose.shape[1]]
    joints = pose.reshape(len(pose), -1, 3)
    return joints[:, [*range(22), left, right]].reshape(len(pose), 72)


def _path(path: Path, values: Mapping[str, Any], frames: int) -> Float[np.ndarray, "t 3"]:
    key = _first(values, _PATHS)
    if key is None:
        raise ValueError(
            f"{path} has no root translation: it holds {', '.join(values)}; expected one of "
            f"{', '.join(_PATHS)}"
        )
    trans = _numbers(path, values, key)
    if trans.size % 3:
        raise ValueError(
            f"{path}: {key} has shape {trans.shape}; expected ({frames}, 3): x, y and z per frame"
        )
    trans = trans.reshape(-1, 3)
    if len(trans) != frames:
        raise ValueError(
            f"{path}: {key} has {len(trans)} frames, the pose {frames}: they must be of one clip"
        )
    if "smpl_scaling" in values:  # AIST++ states positions in units of its own
        trans = trans / float(_numbers(path, values, "smpl_scaling").reshape(-1)[0])
    return trans


def _number(path: Path, values: Mapping[str, Any], key: str) -> float:
    found = _numbers(path, values, key)
    if found.size != 1:
        raise ValueError(
            f"{path}: {key} has shape {found.shape}; expected one number: write the file again"
        )
    return float(found.reshape(-1)[0])


def _rate(path: Path, values: Mapping[str, Any], given: float | None) -> float:
    key = _first(values, _RATES)
    stated = None if key is None else _number(path, values, key)
    if stated is None and given is None:
        raise ValueError(
            f"{path} states no frame rate (none of {', '.join(_RATES)}): pass source_fps=..., "
            "e.g. 60 for AIST++"
        )
    if stated is not None and given is not None and abs(stated - given) > 0.01 * stated:
        raise ValueError(
            f"{path}: {key} is {stated:g} frames per second, but source_fps={given:g} was given: "
            "leave source_fps out, or correct the file"
        )
    rate = stated if stated is not None else given
    assert rate is not None
    if not (math.isfinite(rate) and 1 <= rate <= 1000):
        raise ValueError(
            f"{path}: {rate:g} frames per second; expected 1 to 1000: pass the true source_fps"
        )
    return rate


def _up_axis(path: Path, rotations: Float[Tensor, "t 24 3 3"], up: Up) -> str:
    if up != "auto":
        return up
    along = rotations[:, 0, :, 1].mean(0)
    if float(along[1:].max()) < 0.5:
        raise ValueError(
            f"{path}: the body stands along {[round(float(v), 2) for v in along]} on average, "
            "which tells neither y nor z as the vertical: pass up='y' or up='z'"
        )
    return "z" if along[2] > along[1] else "y"
