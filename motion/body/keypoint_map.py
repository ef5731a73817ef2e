"""COCO-17 of many frames that each have a shape of their own, without skinning a vertex.

A keypoint is a weighted sum of joints and of skinned vertices, and skinning is linear in the
joints' transforms: sum_v K_kv sum_j w_vj (R_j v + o_j) = sum_j (R_j a_kj + s_kj o_j). The anchors
a_kj are linear in the shape and are worked out once. Bodies with pose correctives skin their
keypoint vertices as ever.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from motion.body.model import BodyModel
from motion.skeleton import NUM_JOINTS


class KeypointMap:
    """A body's keypoints as functions of its joints' transforms."""

    def __init__(self, body: BodyModel) -> None:
        """
        Args:
            body: on the device and in the precision of what is asked for later.
        """
        self.body = body
        of_joint, of_vertex, skinning = body.keypoint_weights
        shapes = torch.cat([torch.zeros(1, 10), torch.eye(10)]).to(skinning)
        rest = torch.eye(3).to(skinning).expand(len(shapes), 1, NUM_JOINTS, 3, 3)
        shaped = body.vertices(rest, shapes, index=body.keypoint_vertices)[:, 0]
        anchors = torch.einsum("kv,vj,svc->skjc", of_vertex, skinning, shaped)
        self._of_joint = of_joint
        self._share = of_vertex @ skinning
        self._anchors = anchors[0]
        self._anchor_dirs = anchors[1:] - anchors[0]

    def __call__(
        self,
        R_parent_child: Float[Tensor, "*b 24 3 3"],
        betas: Float[Tensor, "*b 10"],
        translation: Float[Tensor, "*b 3"],
    ) -> Float[Tensor, "*b 17 3"]:
        """Keypoints in metres, equal to `BodyModel.keypoints` frame by frame."""
        with torch.autocast(betas.device.type, enabled=False):
            frame, place = R_parent_child[..., None, :, :, :], translation[..., None, :]
            if self.body.has_pose_correctives:
                return self.body.keypoints(frame, betas, place)[..., 0, :, :]
            rest = self.body.rest_joints(betas)
            turns, places = self.body.kinematics(frame, rest, place)
            turn, posed = turns[..., 0, :, :, :], places[..., 0, :, :]
            anchors = self._anchors + torch.einsum(
                "...s,skjc->...kjc", betas.to(rest), self._anchor_dirs
            )
            offset = posed - (turn @ rest[..., None])[..., 0]
            turned = torch.einsum("...jxy,...kjy->...kx", turn, anchors)
            return self._of_joint @ posed + self._share @ offset + turned
