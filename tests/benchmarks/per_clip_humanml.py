"""HumanML3D's features one clip at a time with NumPy quaternions: the published script's way.

What `motion.representations.humanml` is compared with, for values and for speed. Written to the
published algorithm, with its loops over chains and joints, its quaternions (w first) and its
faults; not imported by the library.
"""

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from motion.representations.joint_skeleton import JointSkeleton

Array = NDArray[np.floating]


def multiply(a: Array, b: Array) -> Array:
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def inverse(q: Array) -> Array:
    return q * np.array([1, -1, -1, -1], q.dtype)


def rotate(q: Array, v: Array) -> Array:
    across = np.cross(q[..., 1:], v)
    return v + 2 * (q[..., :1] * across + np.cross(q[..., 1:], across))


def between(a: Array, b: Array) -> Array:
    scalar = np.sqrt((a**2).sum(-1, keepdims=True) * (b**2).sum(-1, keepdims=True))
    q = np.concatenate([scalar + (a * b).sum(-1, keepdims=True), np.cross(a, b)], -1)
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def columns(q: Array) -> Array:
    """First two columns of the rotation matrix."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    first = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]
    second = [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]
    return np.stack(first + second, -1)


def templates(skeleton: JointSkeleton) -> Array:
    axes = {"x": 0, "y": 1, "z": 2}
    rows = np.zeros((skeleton.num_joints, 3))
    for joint, direction in enumerate(skeleton.directions, 1):
        rows[joint, axes[direction[1]]] = -1 if direction[0] == "-" else 1
    return rows


def inverse_kinematics(joints: Array, skeleton: JointSkeleton, *, smooth: bool) -> Array:
    """Local quaternions (t, j, 4), root first."""
    across = joints[:, skeleton.left_hip] - joints[:, skeleton.right_hip]  # the published slip
    across = across + joints[:, skeleton.right_shoulder] - joints[:, skeleton.left_shoulder]
    across = across / np.linalg.norm(across, axis=-1, keepdims=True)
    forward = np.cross(np.array([[0.0, 1.0, 0.0]]), across)
    if smooth:
        forward = gaussian_filter1d(forward, 20, axis=0, mode="nearest")
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    root = between(forward, np.array([[0.0, 0.0, 1.0]]).repeat(len(forward), 0))
    root[0] = [1, 0, 0, 0]
    quaternions = np.zeros((*joints.shape[:2], 4), joints.dtype)
    quaternions[:, 0] = root
    template = templates(skeleton)
    for chain in skeleton.chains:
        accumulated = root
        for near, far in itertools.pairwise(chain):
            bone = joints[:, far] - joints[:, near]
            bone = bone / np.linalg.norm(bone, axis=-1, keepdims=True)
            rotation = between(template[far][None].repeat(len(joints), 0), bone)
            quaternions[:, far] = multiply(inverse(accumulated), rotation)
            accumulated = multiply(accumulated, quaternions[:, far])
    return quaternions


def forward_kinematics(
    quaternions: Array, root: Array, offsets: Array, skeleton: JointSkeleton
) -> Array:
    joints = np.zeros((*quaternions.shape[:2], 3), quaternions.dtype)
    joints[:, 0] = root
    for chain in skeleton.chains:
        accumulated = quaternions[:, 0]
        for near, far in itertools.pairwise(chain):
            accumulated = multiply(accumulated, quaternions[:, far])
            offset = offsets[far][None].repeat(len(joints), 0)
            joints[:, far] = rotate(accumulated, offset) + joints[:, near]
    return joints


def retarget(joints: Array, skeleton: JointSkeleton) -> Array:
    assert skeleton.bone_lengths is not None
    lengths = np.array([0.0, *skeleton.bone_lengths])
    bones = joints[0] - joints[0][list(skeleton.parents)]
    own = np.linalg.norm(bones, axis=-1)
    leg = list(skeleton.leg)
    root = joints[:, 0] * (lengths[leg].sum() / own[leg].sum())
    quaternions = inverse_kinematics(joints, skeleton, smooth=False)
    return forward_kinematics(quaternions, root, templates(skeleton) * lengths[:, None], skeleton)


def features(joints: Array, skeleton: JointSkeleton) -> Array:
    """(t - 1, d) of one clip (t, j, 3)."""
    p = retarget(joints, skeleton)
    p[..., 1] -= p[..., 1].min()
    p = p - p[0, 0] * np.array([1, 0, 1])
    across = p[0, skeleton.right_hip] - p[0, skeleton.left_hip]
    across = across + p[0, skeleton.right_shoulder] - p[0, skeleton.left_shoulder]
    forward = np.cross([[0.0, 1.0, 0.0]], across[None] / np.linalg.norm(across))
    forward = forward / np.linalg.norm(forward)
    start = between(forward, np.array([[0.0, 0.0, 1.0]]))
    p = rotate(np.broadcast_to(start, (*p.shape[:2], 4)), p)
    world = p.copy()
    quaternions = inverse_kinematics(p, skeleton, smooth=True)
    root = quaternions[:, 0]
    velocity = rotate(root[1:], p[1:, 0] - p[:-1, 0])
    yaw = np.arcsin(multiply(root[1:], inverse(root[:-1]))[:, 2:3])
    height = p[:, 0, 1:2].copy()
    p = p - p[:, :1] * np.array([1, 0, 1])
    p = rotate(root[:, None].repeat(p.shape[1], 1), p)
    step = world[1:] - world[:-1]
    local_step = rotate(root[:-1, None].repeat(p.shape[1], 1), step)
    contact = (step[:, list(skeleton.feet)] ** 2).sum(-1) < skeleton.contact_threshold
    count = len(p) - 1
    blocks = [
        yaw,
        velocity[:, [0, 2]],
        height[:-1],
        p[:-1, 1:].reshape(count, -1),
        columns(quaternions)[:-1, 1:].reshape(count, -1),
        local_step.reshape(count, -1),
        contact.astype(p.dtype),
    ]
    return np.concatenate(blocks, -1)
