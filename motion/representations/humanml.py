"""HumanML3D's 263 and KIT-ML's 251 numbers per frame, from joint positions and back.

Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions from Text". All clips of a batch
run at once; a per-clip loop over quaternions is what the benchmark compares with.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.body.model import BodyModel, motion_joints
from motion.representations import bones
from motion.representations.joint_skeleton import HUMANML3D, JointSkeleton
from motion.representations.joints import motion_from_joints
from motion.rotations import matrix_from_rotation6d, matrix_from_rotvec, turn_about_y
from motion.sequence import Motion
from motion.skeleton import SMPL_JOINTS

CLIPS_AT_ONCE = 16
"""Clips that are encoded together: their intermediate values then stay in the processor's cache."""


@dataclass(frozen=True)
class HumanML:
    """Features (*b, t - 1, d) of joints (*b, t, j, 3): y up, unit and frame rate of the skeleton.

    Two layout rules hold in either mode, since decoders rely on them: the root's velocity is seen
    from the *next* frame's facing, and an arm's rotations count from the root.
    """

    skeleton: JointSkeleton = HUMANML3D
    compat: bool = False
    """Reproduce the published files, faults included: rotations whose facing adds the left-right
    direction of the hips with the wrong sign; an identity root rotation in frame 0, whatever the
    facing; a yaw step of the wrong sign where the heading passes 180 degrees; NaN where a bone is
    opposite to its template. Corrected, frame 0 faces +z by the same smoothed facing as all
    others, and every step of the yaw is the short way round."""

    @property
    def dim(self) -> int:
        return 12 * self.skeleton.num_joints - 1

    @property
    def slices(self) -> Mapping[str, slice]:
        """Where each feature lies, in the order of the vector."""
        j = self.skeleton.num_joints
        sizes = {
            "root_yaw": 1,  # half the yaw to the next frame, radians
            "root_velocity": 2,  # x and z to the next frame, seen from the next frame's facing
            "root_height": 1,
            "positions": 3 * (j - 1),  # less the root's x and z, facing +z
            "rotations": 6 * (j - 1),  # first two columns
            "velocities": 3 * j,  # to the next frame, seen from this frame's facing
            "contacts": 4,  # left ankle, left foot, right ankle, right foot: 0 or 1
        }
        slices: dict[str, slice] = {}
        start = 0
        for name, size in sizes.items():
            slices[name] = slice(start, start + size)
            start += size
        return slices

    def leg_features(self) -> Int[Tensor, "n"]:
        """Indices of root and leg features, without contacts: 103 for HumanML3D.

        The lower body of CrossDiff's FID-L; the rest without contacts is FID-U's upper body.
        """
        legs, s = torch.tensor(self.skeleton.leg_joints), self.slices

        def of(name: str, size: int, entries: Tensor) -> Tensor:
            return s[name].start + (entries[:, None] * size + torch.arange(size)).flatten()

        with_root = torch.cat([torch.zeros(1, dtype=legs.dtype), legs])
        parts = [
            torch.arange(4),
            of("positions", 3, legs - 1),
            of("rotations", 6, legs - 1),
            of("velocities", 3, with_root),
        ]
        return torch.cat(parts)

    def canonical_joints(
        self, joints: Float[Tensor, "*b t j 3"], *, retarget: bool = True
    ) -> Float[Tensor, "*b t j 3"]:
        """The joints that the features describe: retargeted, on the floor, from the origin, facing
        +z. `decode_joints` returns them but for the last frame."""
        self._check(joints)
        points = joints.movedim(-3, -1)
        points, _ = bones.posed(points, self.skeleton, retarget=retarget, guarded=not self.compat)
        start, _ = bones.headings(points, self.skeleton, compat=self.compat)
        return bones.turned(points, bones.Turn.by(start)).movedim(-1, -3)

    def encode_joints(
        self,
        joints: Float[Tensor, "*b t j 3"],
        num_frames: Int[Tensor, "*b"] | None = None,
        *,
        retarget: bool = True,
    ) -> Float[Tensor, "*b t_less_1 d"]:
        """Features of each frame but the last.

        Args:
            joints: positions in the skeleton's unit, y up, at the skeleton's frame rate.
            num_frames: valid frames of each clip where clips are padded; a clip's features are
                those of the clip alone, and zero from row num_frames - 1 on.
            retarget: give the bones the skeleton's lengths and scale the root's path by the legs.

        Raises:
            ValueError: fewer than two frames, another number of joints, or no bone lengths.
        """
        self._check(joints)
        clips = joints.reshape(-1, *joints.shape[-3:])
        lengths = None if num_frames is None else num_frames.reshape(-1)
        encoded = joints.new_empty(len(clips), clips.shape[1] - 1, self.dim)
        for first in range(0, len(clips), CLIPS_AT_ONCE):
            chunk = slice(first, first + CLIPS_AT_ONCE)
            rows = self._encode(
                clips[chunk].movedim(-3, -1).contiguous(),
                None if lengths is None else lengths[chunk],
                retarget=retarget,
            )
            encoded[chunk] = rows.mT
        return encoded.reshape(*joints.shape[:-3], *encoded.shape[1:])

    def decode_joints(self, features: Float[Tensor, "*b t d"]) -> Float[Tensor, "*b t j 3"]:
        """Positions from the root's path and the local positions; frame 0 at the origin, facing +z.

        Sums along time are taken in float32 at least.
        """
        features = _at_least_float32(features)
        half, root = self._root_path(features)
        local = features[..., self.slices["positions"]].unflatten(-1, (-1, 3))
        x, y, z = local.unbind(-1)
        x, z = turn_about_y(x, z, -half[..., None])
        moved = torch.stack([x + root[..., :1], y, z + root[..., 2:]], -1)
        return torch.cat([root[..., None, :], moved], -2)

    def decode_rotations(self, features: Float[Tensor, "*b t d"]) -> Float[Tensor, "*b t j 3"]:
        """Positions from the root's path and the rotations, with the skeleton's bone lengths.

        Raises:
            ValueError: the skeleton has no bone lengths.
        """
        features = _at_least_float32(features)
        half, root = self._root_path(features)
        sixd = features[..., self.slices["rotations"]].unflatten(-1, (-1, 6))
        local = matrix_from_rotation6d(sixd, columns=True)
        up = torch.stack([torch.zeros_like(half), 2 * half, torch.zeros_like(half)], -1)
        above = matrix_from_rotvec(up)[..., None, :, :]
        levels = self.skeleton.levels()
        world = [above]
        for before, level in itertools.pairwise(levels):
            parents = [before.index(self.skeleton.rotation_parents[joint]) for joint in level]
            above = above[..., parents, :, :] @ local[..., [joint - 1 for joint in level], :, :]
            world.append(above)
        order = torch.tensor([joint for level in levels for joint in level]).argsort()
        rotations = torch.cat(world, -3)[..., order[1:], :, :]
        offsets = self.skeleton.template(features)
        offsets = offsets * self.skeleton.require_bone_lengths(features)[:, None]
        turned = (rotations @ offsets[..., None])[..., 0]
        return self.skeleton.ancestors(features) @ turned + root[..., None, :]

    def encode(self, motion: Motion, body: BodyModel) -> Float[Tensor, "*b t_less_1 263"]:
        """Features of a motion in the world, at the skeleton's frame rate.

        Raises:
            ValueError: another skeleton than SMPL's, another frame rate, camera frame, or no path.
        """
        self._require_smpl()
        motion.require_translation()
        if motion.frame != "world" or abs(motion.fps - self.skeleton.fps) > 0.01:
            raise ValueError(
                f"the motion is in the {motion.frame} frame at {motion.fps:g} fps; features need "
                f"the world frame at {self.skeleton.fps:g} fps: transform or resample it first"
            )
        return self.encode_joints(motion_joints(body, motion)[..., : self.skeleton.num_joints, :])

    def decode(
        self, features: Float[Tensor, "*b t 263"], body: BodyModel, *, like: Motion
    ) -> Motion:
        """Motion with the betas and body of `like`, facing +z in frame 0, its feet on the floor as
        the features have them. Turns of a bone about itself are not in joint positions: each is
        the least that joins the bones.

        Raises:
            ValueError: another skeleton than SMPL's, or betas of another body.
        """
        self._require_smpl()
        lengths = self.skeleton.require_bone_lengths(features)
        leg = lengths[[joint - 1 for joint in self.skeleton.leg]].sum()
        return motion_from_joints(
            body, self.decode_joints(features), like=like, fps=self.skeleton.fps, leg_length=leg
        )

    def _encode(
        self,
        points: Float[Tensor, "b j 3 t"],
        lengths: Int[Tensor, "b"] | None,
        *,
        retarget: bool,
    ) -> Float[Tensor, "b d t_less_1"]:
        """Features by rows, each a run along time."""
        time = torch.arange(points.shape[-1], device=points.device)
        if lengths is not None:  # the last frame held: what the filter does beyond the end
            index = torch.minimum(time, lengths[:, None] - 1)[:, None, None]
            points = points.gather(-1, index.expand(points.shape))
        guarded = not self.compat
        points, directions = bones.posed(points, self.skeleton, retarget=retarget, guarded=guarded)
        start, half = bones.headings(points, self.skeleton, compat=self.compat)
        sixd = bones.local_rotation_columns(
            bones.turned(directions[..., :-1], bones.Turn.by(start)),
            half[:, :-1],
            self.skeleton,
            guarded=guarded,
        )
        step = points[..., 1:] - points[..., :-1]
        facing = bones.Turn.by(half + start)
        root = bones.turned(step[:, :1], facing.frames(slice(1, None)))[:, 0]
        turn = facing.frames(slice(-1))
        x, y, z = points[:, :1, :, :-1].unbind(-2)
        under = torch.stack([x, torch.zeros_like(y), z], -2)
        feet = step[:, list(self.skeleton.feet)].square().sum(-2)
        rows = [
            self._yaw_steps(half)[:, None],
            root[:, ::2],
            y,
            bones.turned(points[:, 1:, :, :-1] - under, turn).flatten(1, 2),
            sixd.flatten(1, 3),
            bones.turned(step, turn).flatten(1, 2),
            (feet < self.skeleton.contact_threshold).to(points.dtype),
        ]
        features = torch.cat(rows, 1)
        if lengths is None:
            return features
        return torch.where((time[:-1] < lengths[:, None] - 1)[:, None], features, 0.0)

    def _yaw_steps(self, half: Float[Tensor, "*b t"]) -> Float[Tensor, "*b t_less_1"]:
        step = half[..., 1:] - half[..., :-1]
        if self.compat:  # the arcsine of a sine: folded at a quarter turn, not wrapped
            return torch.where(step.abs() > torch.pi / 2, step.sign() * torch.pi - step, step)
        return step - torch.pi * torch.round(step / torch.pi)

    def _root_path(
        self, features: Float[Tensor, "*b t d"]
    ) -> tuple[Float[Tensor, "*b t"], Float[Tensor, "*b t 3"]]:
        """Half the yaw that turns each frame's facing to +z, and the root's position."""
        yaw = features[..., 0]
        half = torch.cat([torch.zeros_like(yaw[..., :1]), yaw[..., :-1]], -1).cumsum(-1)
        velocity = features[..., self.slices["root_velocity"]]
        velocity = torch.cat([torch.zeros_like(velocity[..., :1, :]), velocity[..., :-1, :]], -2)
        x, z = turn_about_y(velocity[..., 0], velocity[..., 1], -half)
        return half, torch.stack([x.cumsum(-1), features[..., 3], z.cumsum(-1)], -1)

    def _check(self, joints: Tensor) -> None:
        if joints.shape[-2] != self.skeleton.num_joints or joints.shape[-3] < 2:
            raise ValueError(
                f"joints have shape {tuple(joints.shape)}; skeleton {self.skeleton.name!r} needs "
                f"(..., at least 2 frames, {self.skeleton.num_joints}, 3)"
            )

    def _require_smpl(self) -> None:
        if self.skeleton.num_joints != HUMANML3D.num_joints:
            raise ValueError(
                f"skeleton {self.skeleton.name!r} is not made of SMPL's joints "
                f"({', '.join(SMPL_JOINTS[:3])} ...): encode its joints with `encode_joints`"
            )


def _at_least_float32(features: Tensor) -> Tensor:
    low = torch.finfo(features.dtype).bits < 32
    return features.float() if low else features
