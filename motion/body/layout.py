"""What a body file holds, whatever it came from, and the landmarks that follow from it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.skeleton import PART_NAMES

NUM_BETAS = 10
NUM_LOSS_VERTICES = 118

PART_OF_JOINT: tuple[int, ...] = tuple(
    PART_NAMES.index(name)
    for name in (
        "hips", "leftUpLeg", "rightUpLeg", "spine", "leftLeg", "rightLeg", "spine1", "leftFoot",
        "rightFoot", "spine2", "leftToeBase", "rightToeBase", "neck", "leftShoulder",
        "rightShoulder", "head", "leftArm", "rightArm", "leftForeArm", "rightForeArm", "leftHand",
        "rightHand", "leftHandIndex1", "rightHandIndex1",
    )
)  # fmt: skip
"""Surface part that each SMPL joint moves most, as an index into `PART_NAMES`."""


@dataclass(frozen=True, kw_only=True)
class BodyData:
    """What a body file holds, in metres, in SMPL's layout: T-pose, y up, facing +z.

    Keypoints are a sum of a regressor over the joints and one over a few vertices; together each
    row sums to 1.
    """

    template: Float[Tensor, "v 3"]
    shape_dirs: Float[Tensor, "v 3 10"]
    joint_template: Float[Tensor, "24 3"]
    joint_dirs: Float[Tensor, "24 3 10"]
    weights: Float[Tensor, "v 24"]
    """Skinning weights; rows sum to 1."""
    faces: Int[Tensor, "f 3"]
    """Counter-clockwise seen from outside."""
    keypoint_of_joint: Float[Tensor, "17 24"]
    keypoint_vertices: Int[Tensor, "k"]
    keypoint_of_vertex: Float[Tensor, "17 k"]
    contact_vertices: Int[Tensor, "4"]
    pose_dirs: Float[Tensor, "v 3 207"] | None = None
    """Pose correctives per entry of (R - I) of joints 1..23, row by row; None for none."""

    def __post_init__(self) -> None:
        error = float((self.weights.sum(1) - 1).abs().max())
        if not error < 1e-3:
            raise ValueError(
                f"skinning weights of a vertex sum to 1 within {error:.3g}, expected 1e-3: "
                "the body file is damaged or not in SMPL's layout"
            )


def spread_vertices(
    template: Float[Tensor, "v 3"], parts: Int[Tensor, "v"], count: int
) -> Int[Tensor, "n"]:
    """At most `count` vertices by farthest point sampling, seeded with one of every part."""
    chosen: list[int] = []
    for part in parts.unique().tolist():
        members = torch.nonzero(parts == part)[:, 0]
        center = template[members].mean(0)
        chosen.append(int(members[(template[members] - center).square().sum(1).argmin()]))
    distance = torch.cdist(template[chosen], template).amin(0)
    while len(chosen) < min(count, len(template)):
        farthest = int(distance.argmax())
        chosen.append(farthest)
        distance = torch.minimum(distance, (template - template[farthest]).norm(dim=1))
    return torch.tensor(sorted(chosen))
