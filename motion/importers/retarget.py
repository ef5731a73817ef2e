"""From a captured skeleton to SMPL's rotations: one method for every file that holds a skeleton.

1. *Axes.* The rest pose tells up (head above ankles), left (left hip from right hip) and from
   them forward; they are turned to y up, +x left.
2. *Rest pose.* Capture rigs rest with arms up or down and legs spread; SMPL rests in a T-pose. A
   constant rotation per joint, the smallest that takes SMPL's bone to the rig's bone, stands for
   that difference: R_smpl(t) = R_rig(t) A. The torso and head stand upright in both, so A is the
   identity there. Feet are flat on the floor in both: A takes the ankle's hinge to the ankle's
   hinge and the sole to the sole, not the bone to the bone, because rigs put the toe joint at
   other heights.
3. *Spine and neck.* However many joints a rig has there, SMPL's three (and one) take their world
   rotation at equal steps along the chain.
4. *Path.* The middle of the hips follows the rig's, scaled by leg length, so steps keep their
   proportion to the body and feet that stood still stand still.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.importers.rest import restated, upright, without_rest_frame
from motion.importers.rig import MEASURED, Roles, SourceMotion
from motion.rotations import (
    interpolate,
    matrix_from_rotvec,
    quaternion_from_matrix,
    shortest_rotation,
)
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS, SMPL_JOINTS, SMPL_PARENTS, joint

UNITS_M: Final = {"metre": 1.0, "centimetre": 0.01, "inch": 0.0254, "CMU unit": 0.0254 / 0.45}
"""Lengths that files are written in; CMU's is an inch divided by 0.45."""
LEG_M: Final = (0.62, 1.05)
"""Hip to ankle along the bones of an adult: what tells the units apart."""
_ABOVE: Final = {"neck": "pelvis", "head": "neck", "left_hip": "pelvis", "right_hip": "pelvis"} | {
    f"{side}_{below}": f"{side}_{above}" if above != "neck" else "neck"
    for side in ("left", "right")
    for above, below in (
        ("hip", "knee"), ("knee", "ankle"), ("neck", "shoulder"), ("shoulder", "elbow"),
        ("elbow", "wrist"),
    )
}  # fmt: skip
_HALF_TWIST: Final = 0.5
"""Share of the hand's twist about the forearm that the forearm itself takes (pronation)."""


@dataclass(frozen=True, kw_only=True)
class Retargeted:
    """A motion on another body than the captured one."""

    motion: Motion
    """At the file's frame rate, y up, metres of the new body; the floor is not yet at y = 0."""
    roles: Roles
    unit: str
    """The file's unit of length; "unknown" where no leg length of an adult fits."""
    position_error_mm: float
    """See `position_error`."""
    inserted_frame: bool
    """The file began with a rest pose that does not belong to the motion; it was left out."""
    rest_error_mm: float
    """The same in the rest pose: what the skeletons differ in, whatever the motion."""


def retarget(
    source: SourceMotion, roles: Roles, body: BodyModel, betas: Float[Tensor, "10"]
) -> Retargeted:
    """A captured motion as rotations of SMPL's joints.

    Raises:
        ValueError: the rest pose is not that of an upright person.
    """
    source = upright(source, roles)
    source, inserted = without_rest_frame(source, roles)
    source = restated(source, roles, inserted)
    rest = body.rest_joints(betas).double()
    alignment = _alignment(source, roles, rest)
    R_world = _world_rotations(source, roles, alignment)
    local = _local(R_world)
    scale = leg_length(rest, joint) / leg_length(source.rest, roles.joint.__getitem__)
    hips = (joint("left_hip"), joint("right_hip"))
    middle = source.positions[:, [roles.joint[SMPL_JOINTS[hip]] for hip in hips]].mean(1)
    below = rest[list(hips)].mean(0) - rest[0]
    pelvis = scale * middle - (R_world[:, 0] @ below[:, None])[..., 0]
    motion = Motion(
        R_parent_child=local.float(),
        translation=(pelvis - rest[0]).float(),
        betas=betas,
        body_id=body.body_id,
        fps=source.fps,
    )
    standing = _local(_world_rotations(_at_rest(source), roles, alignment))
    return Retargeted(
        motion=motion,
        roles=roles,
        unit=_unit(source, roles),
        inserted_frame=inserted is not None,
        position_error_mm=position_error(source, roles, body, betas, local),
        rest_error_mm=position_error(_at_rest(source), roles, body, betas, standing),
    )


def leg_length(rest: Float[Tensor, "j 3"], index: Callable[[str], int]) -> float:
    """Hip to ankle along the bones, mean of both legs; `index` gives a joint's place by name."""
    bones = [
        rest[index(f"{side}_{above}")] - rest[index(f"{side}_{below}")]
        for side in ("left", "right")
        for above, below in (("hip", "knee"), ("knee", "ankle"))
    ]
    return float(torch.stack(bones).norm(dim=-1).sum()) / 2


def _unit(source: SourceMotion, roles: Roles) -> str:
    leg = leg_length(source.rest, roles.joint.__getitem__)
    if source.unit_m is not None:
        return next((n for n, m in UNITS_M.items() if math.isclose(m, source.unit_m)), "stated")
    fitting = {name: leg * metres for name, metres in UNITS_M.items()}
    middle = sum(LEG_M) / 2
    best = min(fitting, key=lambda name: abs(fitting[name] - middle))
    return best if LEG_M[0] <= fitting[best] <= LEG_M[1] else "unknown"


def _alignment(
    source: SourceMotion, roles: Roles, rest: Float[Tensor, "24 3"]
) -> Float[Tensor, "24 3 3"]:
    """A of every joint: from SMPL's rest pose to the rig's, in the world."""
    alignment = torch.eye(3, dtype=torch.float64).repeat(NUM_JOINTS, 1, 1)
    role = roles.joint
    bones = [("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")]
    for side in ("left", "right"):
        for above, below in bones:
            a, b = f"{side}_{above}", f"{side}_{below}"
            alignment[joint(a)] = shortest_rotation(
                rest[joint(b)] - rest[joint(a)], source.rest[role[b]] - source.rest[role[a]]
            )
        wrist, hand = f"{side}_wrist", f"{side}_hand"
        alignment[joint(wrist)] = alignment[joint(f"{side}_elbow")]
        if hand in role:
            bone = source.rest[role[hand]] - source.rest[role[wrist]]
            if float(bone.norm()) > 1e-6:
                alignment[joint(wrist)] = shortest_rotation(
                    rest[joint(hand)] - rest[joint(wrist)], bone
                )
        alignment[joint(hand)] = alignment[joint(wrist)]
        leg = [joint(f"{side}_{name}") for name in ("knee", "ankle", "foot")]
        if f"{side}_foot" in role:
            own = [role[f"{side}_{name}"] for name in ("knee", "ankle", "foot")]
            alignment[leg[1]] = _sole(source.rest[own]) @ _sole(rest[leg]).mT
        alignment[leg[2]] = alignment[leg[1]]
    return alignment


def _sole(leg: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
    """Axes of a flat foot at rest from knee, ankle and toe: hinge (to the left), up, forward."""
    knee, ankle, toe = leg
    hinge = torch.linalg.cross(knee - ankle, toe - ankle)
    hinge = hinge / hinge.norm()
    up = torch.tensor([0.0, 1.0, 0.0], dtype=leg.dtype)
    up = up - (up @ hinge) * hinge
    up = up / up.norm()
    return torch.stack([hinge, up, torch.linalg.cross(hinge, up)], -1)


def _world_rotations(
    source: SourceMotion, roles: Roles, alignment: Float[Tensor, "24 3 3"]
) -> Float[Tensor, "t 24 3 3"]:
    turned = source.R_world_joint
    world = turned[:, [roles.joint["pelvis"]]].expand(-1, NUM_JOINTS, 3, 3).clone()
    spine = torch.linspace(0, len(roles.spine) - 1, 3) if roles.spine else ()
    for name, place in zip(("spine1", "spine2", "spine3"), spine, strict=False):
        world[:, joint(name)] = _along(turned, roles.spine, float(place))
    world[:, joint("head")] = turned[:, roles.joint["head"]]
    chain = roles.neck or (roles.joint["head"],)
    if roles.convention == "Daz":  # its neck is the lower of CMU's two
        chain = (*chain, roles.joint["head"])
        world[:, joint("neck")] = _along(turned, chain, 1 / 3)
    else:
        world[:, joint("neck")] = _along(turned, chain, (len(chain) - 1) / 2)
    for name in SMPL_JOINTS[1:]:
        if name in roles.joint:
            own = turned[:, roles.joint[name]]
            world[:, joint(name)] = own @ alignment[joint(name)]
    for side in ("left", "right"):
        world[:, joint(f"{side}_hand")] = world[:, joint(f"{side}_wrist")]  # fingers stay straight
        for name, above in (("collar", "spine3"), ("foot", "ankle")):
            # The toes of a rig without a toe joint are the end of its foot: they do not turn.
            own = roles.joint.get(f"{side}_{name}")
            if own is None or source.joints[own].endswith(("_end", "_End")):
                above = above if above == "spine3" else f"{side}_{above}"
                world[:, joint(f"{side}_{name}")] = world[:, joint(above)]
        _share_twist(world, side)
    return world


def _along(
    turned: Float[Tensor, "t j 3 3"], chain: tuple[int, ...], place: float
) -> Float[Tensor, "t 3 3"]:
    """World rotation at a fractional place along a chain of joints."""
    low, high = math.floor(place), math.ceil(place)
    weight = turned.new_full(turned.shape[:1], place - low)
    return interpolate(turned[:, chain[low]], turned[:, chain[high]], weight)


def _share_twist(world: Float[Tensor, "t 24 3 3"], side: str) -> None:
    """Let the forearm take half of the hand's turn about it, as radius and ulna do.

    Rigs turn the palm at the wrist (CMU) or at the elbow (Daz); with all of it at the wrist the
    skin there collapses. Bones keep their directions.
    """
    elbow, wrist = joint(f"{side}_elbow"), joint(f"{side}_wrist")
    axis = torch.tensor([1.0, 0.0, 0.0], dtype=world.dtype)  # of the forearm in SMPL's T-pose
    turn = quaternion_from_matrix(world[:, elbow].mT @ world[:, wrist])
    half = torch.atan2(turn[:, 1:] @ axis, turn[:, 0])  # of the twist about the axis
    twist = 2 * torch.atan(torch.tan(half))  # in [-pi, pi], whatever the quaternion's sign
    world[:, elbow] = world[:, elbow] @ matrix_from_rotvec(_HALF_TWIST * twist[:, None] * axis)


def _local(R_world: Float[Tensor, "t 24 3 3"]) -> Float[Tensor, "t 24 3 3"]:
    local = R_world.clone()
    for child, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            local[:, child] = R_world[:, parent].mT @ R_world[:, child]
    return local


def _at_rest(source: SourceMotion) -> SourceMotion:
    """One frame of the rest pose."""
    identity = torch.eye(3, dtype=torch.float64).expand(1, len(source.joints), 3, 3)
    return replace(source, R_world_joint=identity, positions=source.rest[None])


def position_error(
    source: SourceMotion,
    roles: Roles,
    body: BodyModel,
    betas: Float[Tensor, "10"],
    local: Float[Tensor, "t 24 3 3"],
) -> float:
    """Mean distance in mm between the source's joints, on bones of the body's length, and ours.

    The source is rebuilt from its pelvis outwards (pelvis to hips to knees to ankles; pelvis to
    neck, and from there to head and shoulders to elbows to wrists): each bone keeps the direction
    that it has in the file and takes the body's length. Pelves coincide. Mean over frames and the
    14 joints of `MEASURED`. The directions from pelvis to hips and neck to shoulders are anatomy,
    which rigs draw differently, so that the error is not zero in the rest pose either.

    Args:
        source: upright.
        roles: its joints.
        body: the target body.
        betas: its shape.
        local: the result's rotations of the same frames.
    """
    ours = body.joints(local.float(), betas).double()
    role = dict(roles.joint)
    role["neck"] = (*roles.neck, role["head"])[-1 if len(roles.neck) > 1 else 0]
    built = {"pelvis": ours[:, 0]}
    errors: list[Tensor] = []
    for name in MEASURED:
        above = _ABOVE[name]
        bone = source.positions[:, role[name]] - source.positions[:, role[above]]
        length = (ours[:, joint(name)] - ours[:, joint(above)]).norm(dim=-1, keepdim=True)
        built[name] = built[above] + length * bone / bone.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        errors.append((built[name] - ours[:, joint(name)]).norm(dim=-1))
    return 1000 * float(torch.stack(errors).mean())
