"""A captured skeleton made comparable: y up, without an inserted rest pose, resting straight."""

import math
from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from motion.importers.rig import MEASURED, POSTURES, Roles, SourceMotion
from motion.rotations import geodesic_rad, matrix_from_rotvec

STRAIGHT: Final = {
    ("hip", "knee"): (0.0, -1.0, 0.0),
    ("knee", "ankle"): (0.0, -1.0, 0.0),
    ("ankle", "foot"): (0.0, -0.26, 0.966),
    ("shoulder", "elbow"): (1.0, 0.0, 0.0),
    ("elbow", "wrist"): (1.0, 0.0, 0.0),
    ("wrist", "hand"): (1.0, 0.0, 0.0),
}
"""Left bones of a person who stands straight with the arms out sideways."""
REST_JUMP_RAD_S: Final = 10.0
"""Mean turn of the limbs against the pelvis that no motion sustains, in radians per second."""
REST_JUMP_RATIO: Final = 4.0
REST_FRAMES: Final = 12
"""How far into the file a rest pose is looked for."""
REST_TILT_RAD: Final = 0.12


def upright(source: SourceMotion, roles: Roles) -> SourceMotion:
    """The same motion in a world with y up whose rest pose has its left towards +x.

    Raises:
        ValueError: the rest pose is not that of an upright person.
    """
    rest, role = source.rest, roles.joint
    ankles = (rest[role["left_ankle"]] + rest[role["right_ankle"]]) / 2
    up = _nearest_axis(source, rest[role["head"]] - ankles, "head above the ankles")
    left = _nearest_axis(
        source, rest[role["left_hip"]] - rest[role["right_hip"]], "left hip beside the right"
    )
    if abs(float(up @ left)) > 0.5:
        raise ValueError(_not_upright(source, "hips beside each other across the spine"))
    turn = torch.stack([left, up, torch.linalg.cross(left, up)])
    return replace(
        source,
        rest=rest @ turn.mT,
        positions=source.positions @ turn.mT,
        R_world_joint=turn @ source.R_world_joint @ turn.mT,
    )


def without_rest_frame(
    source: SourceMotion, roles: Roles
) -> tuple[SourceMotion, Float[Tensor, "j 3 3"] | None]:
    """The motion without a rest pose inserted as its first frame, and that pose's rotations.

    Such a pose is no motion: the torso stands exactly straight in it, and the body jumps from it.
    Some files repeat it or blend from it over a few frames; those go with it.
    """
    main = [number for name, number in roles.joint.items() if name in MEASURED]
    pelvis = roles.joint["pelvis"]
    turned = source.R_world_joint
    in_pelvis = turned[:, [pelvis]].mT @ turned[:, main]
    jumps = geodesic_rad(in_pelvis[:-1], in_pelvis[1:]).mean(-1) * source.fps
    usual = float(jumps.median()) if len(jumps) else 0.0
    limit = max(REST_JUMP_RAD_S, REST_JUMP_RATIO * usual)
    large = (jumps[:REST_FRAMES] > limit).nonzero()
    tilt = torch.acos(turned[0, [pelvis, *roles.spine], 1, 1].clamp(-1, 1)).max()
    if not len(large) or float(tilt) > REST_TILT_RAD:
        return source, None
    first = int(large[-1]) + 1
    kept = replace(source, R_world_joint=turned[first:], positions=source.positions[first:])
    return kept, turned[0]


def restated(
    source: SourceMotion, roles: Roles, inserted: Float[Tensor, "j 3 3"] | None
) -> SourceMotion:
    """The same motion of a skeleton that rests straight, arms out sideways and feet flat.

    Only for conventions of `POSTURES`, whose bones do not lie along the limbs. Their rest pose is
    the inserted first frame where there is one.
    """
    posture = POSTURES.get(roles.convention)
    if posture is None:
        return source
    turned, rest = source.R_world_joint.clone(), source.rest.clone()
    index = {**roles.joint, "neck": roles.neck[0]}
    still = torch.eye(3, dtype=turned.dtype).expand(len(source.joints), 3, 3)
    before = still if inserted is None else inserted
    for number in range(len(source.joints)):
        turned[:, number] = turned[:, number] @ before[number].mT
    for name, degrees in posture.items():
        angle = torch.deg2rad(torch.tensor(degrees, dtype=turned.dtype))
        turned[:, index[name]] = turned[:, index[name]] @ matrix_from_rotvec(angle)
    for (above, below), direction in STRAIGHT.items():
        for side, sign in (("left", 1.0), ("right", -1.0)):
            a, b = roles.joint[f"{side}_{above}"], roles.joint.get(f"{side}_{below}")
            if b is not None:
                length = (source.rest[b] - source.rest[a]).norm()
                axis = rest.new_tensor(direction) * rest.new_tensor([sign, 1.0, 1.0])
                rest[b] = rest[a] + length * axis / axis.norm()
    return replace(source, rest=rest, R_world_joint=turned)


def _not_upright(source: SourceMotion, expected: str) -> str:
    return (
        f"{source.file}: the rest pose (all channels zero) is not an upright person: expected the "
        f"{expected}. Export it with a T-pose as the rest pose (bind pose) of the skeleton"
    )


def _nearest_axis(
    source: SourceMotion, direction: Float[Tensor, "3"], expected: str
) -> Float[Tensor, "3"]:
    unit = direction / direction.norm().clamp(min=1e-12)
    axis = int(unit.abs().argmax())
    if float(unit[axis].abs()) < math.cos(math.radians(25)):
        raise ValueError(_not_upright(source, expected))
    return torch.eye(3, dtype=unit.dtype)[axis] * unit[axis].sign()
