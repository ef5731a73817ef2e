"""GLB: the body's mesh with skin, skeleton and one animation, as one binary glTF 2.0 file.

glTF's world is ours: right-handed, y up, +z forward, metres; times in seconds. Nodes are SMPL's 24
joints by the names of `bones.BONES`; at rest they stand in the T-pose without rotations. Every
frame is a key, between which viewers turn along the shortest arc.

A vertex of the free body follows up to six joints and glTF packs four a set, so there may be a
second set; the first holds the heaviest. Viewers that read the first alone (three.js) rescale it.

glTF skins without pose correctives: from a body that has them (a user's SMPL file), the mesh
differs where SMPL corrects bent joints, as the asset's extras then say.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pygltflib as gltf
import torch
from jaxtyping import Float

from motion import __version__
from motion.body.model import BodyModel
from motion.body.render import vertex_normals
from motion.export.bones import BONES, CHILDREN, Bones, bones_of
from motion.export.provenance import KEY, Provenance
from motion.export.sidecar import motion_facts
from motion.rotations import quaternion_from_matrix
from motion.sequence import Motion
from motion.skeleton import NUM_JOINTS

_SKIN: Final = [0.62, 0.72, 0.86, 1.0]
_SET: Final = 4
"""Joints per set of skinning weights."""
_COMPONENTS: Final = {
    np.dtype(np.uint8): gltf.UNSIGNED_BYTE,
    np.dtype(np.uint16): gltf.UNSIGNED_SHORT,
    np.dtype(np.uint32): gltf.UNSIGNED_INT,
    np.dtype(np.float32): gltf.FLOAT,
}


def write_glb(
    path: Path, motion: Motion, body: BodyModel, provenance: Provenance | None = None
) -> Path:
    """Write one world-frame motion as an animated, skinned mesh.

    Raises:
        ValueError: a batch of motions, one in the camera's frame, or one of another body.
    """
    bones = bones_of(motion, body)
    document, binary = gltf.GLTF2(), _Binary()
    document.asset = _asset(motion, body, provenance)
    document.nodes = _nodes(bones)
    document.scenes, document.scene = [gltf.Scene(nodes=[0, NUM_JOINTS])], 0
    document.materials = [_material()]
    document.meshes = [_mesh(binary, motion, body)]
    document.skins = [_skin(binary, bones)]
    document.animations = [_animation(binary, bones, motion.fps)]
    document.accessors, document.bufferViews = binary.accessors, binary.views
    document.buffers = [gltf.Buffer(byteLength=len(binary.data))]
    document.set_binary_blob(bytes(binary.data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(document.save_to_bytes()))
    return path


class _Binary:
    """The numbers of a file, each array with a view and an accessor of its own."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[gltf.BufferView] = []
        self.accessors: list[gltf.Accessor] = []

    def add(self, values: np.ndarray, kind: str, target: int | None = None) -> int:
        """Take in an array (count, width), or (count,) of scalars; the accessor's index."""
        self.data += bytes(-len(self.data) % 4)
        stored = values.tobytes()
        self.views.append(
            gltf.BufferView(
                buffer=0, byteOffset=len(self.data), byteLength=len(stored), target=target
            )
        )
        self.data += stored
        flat = values.reshape(len(values), -1)
        self.accessors.append(
            gltf.Accessor(
                bufferView=len(self.views) - 1,
                componentType=_COMPONENTS[values.dtype],
                count=len(values),
                type=kind,
                min=flat.min(0).tolist(),
                max=flat.max(0).tolist(),
            )
        )
        return len(self.accessors) - 1

    def floats(self, values: Any, kind: str, target: int | None = None) -> int:
        return self.add(np.ascontiguousarray(values, np.float32), kind, target)


def _asset(motion: Motion, body: BodyModel, provenance: Provenance | None) -> gltf.Asset:
    extras = motion_facts(motion)
    if body.has_pose_correctives:
        extras["left_out"] = "pose correctives of the body: glTF skins without them"
    if provenance is not None:
        extras[KEY] = provenance.model_dump(mode="json")
    return gltf.Asset(generator=f"motion {__version__}", extras=extras)


def _nodes(bones: Bones) -> list[gltf.Node]:
    offsets = bones.offsets.tolist()
    joints = [
        gltf.Node(name=BONES[joint], translation=offsets[joint], children=list(CHILDREN[joint]))
        for joint in range(NUM_JOINTS)
    ]
    return [*joints, gltf.Node(name="Body", mesh=0, skin=0)]


def _material() -> gltf.Material:
    surface = gltf.PbrMetallicRoughness(
        baseColorFactor=_SKIN, metallicFactor=0.0, roughnessFactor=0.7
    )
    return gltf.Material(name="Skin", pbrMetallicRoughness=surface)


def _mesh(binary: _Binary, motion: Motion, body: BodyModel) -> gltf.Mesh:
    still = torch.eye(3).expand(1, NUM_JOINTS, 3, 3)
    skin = body.cpu().vertices(still, motion.betas.cpu()).numpy().astype(np.float32)
    faces = body.faces.cpu().numpy()
    small = len(skin[0]) < np.iinfo(np.uint16).max  # the largest index is a mark of glTF's
    indices = faces.astype(np.uint16 if small else np.uint32).reshape(-1)
    vertex = gltf.ARRAY_BUFFER
    attributes = {
        "POSITION": binary.floats(skin[0], gltf.VEC3, vertex),
        "NORMAL": binary.floats(vertex_normals(skin, faces)[0], gltf.VEC3, vertex),
    }
    weights = body.skinning(torch.arange(body.num_vertices)).double().numpy()
    for number, (joints, shares) in enumerate(influences(weights)):
        attributes[f"JOINTS_{number}"] = binary.add(joints, gltf.VEC4, vertex)
        attributes[f"WEIGHTS_{number}"] = binary.add(shares, gltf.VEC4, vertex)
    primitive = gltf.Primitive(
        attributes=gltf.Attributes(**attributes),
        indices=binary.add(indices, gltf.SCALAR, gltf.ELEMENT_ARRAY_BUFFER),
        material=0,
    )
    return gltf.Mesh(name="Body", primitives=[primitive])


def influences(weights: Float[np.ndarray, "v 24"]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Skinning weights as sets of four joints (v, 4) and their shares (v, 4), heaviest first.

    Shares sum to 1 in float32; joints without a share are 0, as glTF asks for.
    """
    sets = -(-int((weights > 0).sum(1).max()) // _SET)
    order = np.argsort(-weights, axis=1, kind="stable")[:, : sets * _SET]
    shares = np.take_along_axis(weights, order, 1)
    shares = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    shares[:, 0] += (1 - shares.sum(1, dtype=np.float64)).astype(np.float32)
    joints = np.where(shares > 0, order, 0).astype(np.uint8)
    parts = [slice(first, first + _SET) for first in range(0, sets * _SET, _SET)]
    return [
        (np.ascontiguousarray(joints[:, part]), np.ascontiguousarray(shares[:, part]))
        for part in parts
    ]


def _skin(binary: _Binary, bones: Bones) -> gltf.Skin:
    unplaced = np.tile(np.eye(4), (NUM_JOINTS, 1, 1))
    unplaced[:, :3, 3] = -bones.rest.numpy()
    columns = unplaced.transpose(0, 2, 1).reshape(NUM_JOINTS, 16)  # glTF stores columns
    return gltf.Skin(
        inverseBindMatrices=binary.floats(columns, gltf.MAT4),
        joints=list(range(NUM_JOINTS)),
        skeleton=0,
    )


def _animation(binary: _Binary, bones: Bones, fps: float) -> gltf.Animation:
    times = binary.floats(np.arange(len(bones.pelvis)) / fps, gltf.SCALAR)
    wxyz = quaternion_from_matrix(bones.R_parent_child).numpy()
    # A quaternion and its negative are one rotation: keep to the side of the frame before.
    turned = np.sign((wxyz[1:] * wxyz[:-1]).sum(-1, keepdims=True))
    wxyz[1:] *= np.cumprod(np.where(turned < 0, -1.0, 1.0), axis=0)
    xyzw = np.roll(wxyz, -1, axis=-1)
    made = gltf.Animation(name="Motion", samplers=[], channels=[])

    def key(values: np.ndarray, kind: str, joint: int, path: str) -> None:
        output = binary.floats(values, kind)
        made.samplers.append(
            gltf.AnimationSampler(input=times, output=output, interpolation=gltf.ANIM_LINEAR)
        )
        target = gltf.AnimationChannelTarget(node=joint, path=path)
        made.channels.append(gltf.AnimationChannel(sampler=len(made.samplers) - 1, target=target))

    key(bones.pelvis.numpy(), gltf.VEC3, 0, "translation")
    for joint in range(NUM_JOINTS):
        key(xyzw[:, joint], gltf.VEC4, joint, "rotation")
    return made
