"""A user's SMPL, SMPL-H or SMPL-X file as a BodyModel.

The files are licensed to the user by their publisher and never travel with this library. Our
skeleton is SMPL's 24 joints: SMPL-H's and SMPL-X's fingers follow one hand joint at the middle
finger's knuckle (thumbs follow the wrist), jaw and eyes follow the head. With hands at the
identity, which is the *flat* hand, joints and vertices equal the `smplx` package's; a turned hand
turns all four fingers, without pose correctives.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from motion.body.layout import NUM_BETAS, BodyData
from motion.body.model import BodyModel
from motion.body.unpickle import read_arrays
from motion.skeleton import COCO_17, NUM_JOINTS, SMPL_PARENTS, joint

REQUIRED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
LANDMARK_VERTICES = ("nose", "leye", "reye", "lear", "rear")
"""The first five of COCO-17, by the names of smplx's vertex table."""


@dataclass(frozen=True)
class _Family:
    """How a family's joints map onto ours."""

    name: str
    vertex_table: str
    """Key of smplx's vertex table."""
    num_vertices: int
    joint_of: tuple[int, ...]
    """Our joint that carries each joint of the family."""
    hands: tuple[int, int]
    """The family's joints that stand for our left_hand and right_hand."""


_BODY = tuple(range(22))


def _fingers(side: str) -> tuple[int, ...]:
    """Index, middle, little and ring finger, then the thumb, three joints each."""
    return (joint(f"{side}_hand"),) * 12 + (joint(f"{side}_wrist"),) * 3


_FAMILIES = {
    24: _Family("smpl", "smplh", 6890, tuple(range(24)), (22, 23)),
    52: _Family("smplh", "smplh", 6890, _BODY + _fingers("left") + _fingers("right"), (25, 40)),
    55: _Family(
        "smplx",
        "smplx",
        10475,
        _BODY + (joint("head"),) * 3 + _fingers("left") + _fingers("right"),
        (28, 43),
    ),
}


def smpl_body(path: str | Path) -> BodyModel:
    """The body in an SMPL, SMPL-H or SMPL-X model file (.npz, or the published .pkl).

    Raises:
        ValueError: no such file, a file of another kind, or a pickle with more than arrays.
    """
    path = Path(path).expanduser()
    arrays = _read(path)
    family = _family(path, arrays)
    template = _float(arrays["v_template"])
    shape_dirs = _float(np.asarray(arrays["shapedirs"])[:, :, :NUM_BETAS])
    regressor = _float(arrays["J_regressor"])
    own = [*range(22), *family.hands]
    keypoint_of_joint, keypoint_vertices, keypoint_of_vertex, contacts = _landmarks(family)
    data = BodyData(
        template=template.float(),
        shape_dirs=shape_dirs.float(),
        joint_template=(regressor @ template)[own].float(),
        joint_dirs=torch.einsum("jv,vcs->jcs", regressor, shape_dirs)[own].float(),
        weights=_sum_weights(_float(arrays["weights"]), family).float(),
        faces=torch.from_numpy(np.asarray(arrays["f"]).astype(np.int64)),
        keypoint_of_joint=keypoint_of_joint,
        keypoint_vertices=keypoint_vertices,
        keypoint_of_vertex=keypoint_of_vertex,
        contact_vertices=contacts,
        pose_dirs=_pose_dirs(np.asarray(arrays["posedirs"], np.float32), family),
    )
    digest = hashlib.sha256()
    for tensor in (data.template, data.shape_dirs, data.joint_template, data.weights, data.faces):
        digest.update(tensor.contiguous().numpy().tobytes())
    return BodyModel(data, f"{family.name}-{digest.hexdigest()[:8]}")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(
            f'no body model file at {path}: give the path of an SMPL .npz or .pkl file, or "free"'
        )
    if path.suffix == ".pkl":
        arrays = read_arrays(path)
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in REQUIRED if name in file.files}
    else:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected an SMPL model's .npz or .pkl")
    missing = [name for name in REQUIRED if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: it is not an SMPL, SMPL-H or SMPL-X model file "
            "(a file of motions, such as AMASS's, is not a body model)"
        )
    return arrays


def _family(path: Path, arrays: dict[str, Any]) -> _Family:
    """The family that the file's joints and vertices tell, after checks of its layout."""
    parents = np.asarray(arrays["kintree_table"])[0].astype(np.int64)
    vertices = len(arrays["v_template"])
    family = _FAMILIES.get(len(parents))
    if family is None or family.num_vertices != vertices:
        raise ValueError(
            f"{path} has {len(parents)} joints and {vertices} vertices; expected 24 and 6890 "
            "(SMPL), 52 and 6890 (SMPL-H) or 55 and 10475 (SMPL-X)"
        )
    if tuple(parents[1:22]) != SMPL_PARENTS[1:22]:
        raise ValueError(f"{path} has another kinematic tree than SMPL's: {parents[:22].tolist()}")
    num_betas = np.asarray(arrays["shapedirs"]).shape[-1]
    if num_betas < NUM_BETAS:
        raise ValueError(f"{path} has {num_betas} shape components, expected {NUM_BETAS} or more")
    return family


def _float(array: Any) -> Float[Tensor, "..."]:
    return torch.from_numpy(np.asarray(array, np.float64))


def _sum_weights(weights: Float[Tensor, "v joints"], family: _Family) -> Float[Tensor, "v 24"]:
    """Joints that we do not turn move with the one that carries them: their weights add up."""
    summed = torch.zeros(len(weights), NUM_JOINTS, dtype=weights.dtype)
    return summed.index_add_(1, torch.tensor(family.joint_of), weights)


def _pose_dirs(
    dirs: Float32[np.ndarray, "v 3 features"], family: _Family
) -> Float[Tensor, "v 3 207"]:
    """Correctives of our joints 1..23; those of the hands are SMPL's own, or zero."""
    kept = torch.zeros(*dirs.shape[:2], 9 * (NUM_JOINTS - 1))
    features = kept.shape[-1] if family.name == "smpl" else 9 * (len(_BODY) - 1)
    kept[..., :features] = torch.from_numpy(np.ascontiguousarray(dirs[..., :features]))
    return kept


def _landmarks(
    family: _Family,
) -> tuple[Float[Tensor, "17 24"], Int[Tensor, "5"], Float[Tensor, "17 5"], Int[Tensor, "4"]]:
    """COCO-17: five vertices of the face and twelve joints; heels and big toes."""
    from smplx.vertex_ids import vertex_ids

    table: dict[str, int] = vertex_ids[family.vertex_table]
    of_joint = torch.zeros(len(COCO_17), NUM_JOINTS)
    of_vertex = torch.zeros(len(COCO_17), len(LANDMARK_VERTICES))
    of_vertex[: len(LANDMARK_VERTICES)] = torch.eye(len(LANDMARK_VERTICES))
    for row, name in enumerate(COCO_17[5:], start=5):
        of_joint[row, joint(name)] = 1.0
    faces = torch.tensor([table[name] for name in LANDMARK_VERTICES])
    feet = torch.tensor([table[name] for name in ("LHeel", "LBigToe", "RHeel", "RBigToe")])
    return of_joint, faces, of_vertex, feet
