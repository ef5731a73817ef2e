"""Bake of the free body: anny's mesh and phenotypes (Brégier et al. 2025) in SMPL's layout.

anny rests in an A-pose with bent elbows, z up, facing -y, on 104 bones. A sample of adults is
unposed into SMPL's T-pose, y up, facing +z; the sample's principal components become the ten
betas, and the weights of the bones are summed per SMPL joint.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.body.layout import NUM_BETAS, PART_OF_JOINT, BodyData
from motion.skeleton import COCO_17, NUM_JOINTS, PART_NAMES, SMPL_JOINTS, joint

BAKE_VERSION = 1
"""Raised by every change of this file that moves a vertex or the meaning of a beta."""

NUM_SAMPLES = 400
PELVIS_M = (0.0, -0.22, 0.03)
"""Rest pelvis of every shape: SMPL's to the centimeter, so that AMASS translations fit."""
KEYPOINT_WEIGHTS = 32
"""Vertices kept per keypoint of anny's dense COCO regressors."""
SOLE_M = 0.01
"""Vertices this close to the lowest one of a foot are its sole."""

BONE_OF_JOINT = {
    "pelvis": "root", "spine1": "spine04", "spine2": "spine03", "spine3": "spine02",
    "neck": "neck01", "head": "head", "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot",
    "foot": "toe1-1", "collar": "clavicle", "shoulder": "upperarm01", "elbow": "lowerarm01",
    "wrist": "wrist", "hand": "finger3-1",
}  # fmt: skip

DIRECTIONS = {
    # T-pose direction of a bone of the left side and the bone at its end (x left, y up, z front).
    "upperleg01": ("lowerleg01", (0.1, -1.0, 0.0)),
    "lowerleg01": ("foot", (-0.035, -1.0, -0.085)),
    "upperarm01": ("lowerarm01", (1.0, 0.0, 0.0)),
}
TOE_OUT_RAD = 0.2


@dataclass(frozen=True)
class Source:
    """What the bake takes from anny: a rest state per sampled person, in our axes (y up)."""

    vertices: Float[Tensor, "p v 3"]
    heads: Float[Tensor, "p bones 3"]
    bones: list[str]
    parents: list[int]
    weights: Float[Tensor, "v bones"]
    faces: Int[Tensor, "f 3"]
    coco: Float[Tensor, "17 v"]
    identity: str
    """Hash of the mesh, the rig and the bake's version: the same on every machine."""


def bake() -> tuple[BodyData, str]:
    """The free body and its id; takes tens of seconds.

    The id hashes the bake's inputs, not its output, whose last bits depend on the CPU: workers
    of one cluster that bake for themselves must agree on the id.
    """
    source = _load_anny()
    vertices, heads = _unpose(source)
    joint_bones = [source.bones.index(_bone(name)) for name in SMPL_JOINTS]
    pelvis = torch.tensor(PELVIS_M, dtype=vertices.dtype) - heads[:, :1]
    vertices, joints = vertices + pelvis, (heads + pelvis)[:, joint_bones]
    template, shape_dirs, betas = principal_shapes(vertices)
    joint_template = joints.mean(0)
    joint_dirs = torch.einsum("pjc,ps->jcs", joints - joint_template, betas) / len(betas)
    weights = torch.zeros(len(template), NUM_JOINTS, dtype=template.dtype)
    weights.index_add_(1, torch.tensor(_joint_of_bone(source)), source.weights)
    keypoint_vertices, keypoint_of_vertex = _sparse_keypoints(source.coco)
    data = BodyData(
        template=template.float(),
        shape_dirs=shape_dirs.float(),
        joint_template=joint_template.float(),
        joint_dirs=joint_dirs.float(),
        weights=(weights / weights.sum(1, keepdim=True)).float(),
        faces=source.faces,
        keypoint_of_joint=torch.zeros(len(COCO_17), NUM_JOINTS),
        keypoint_vertices=keypoint_vertices,
        keypoint_of_vertex=keypoint_of_vertex.float(),
        contact_vertices=_contacts(template, weights),
    )
    return data, f"free-{source.identity}"


def _load_anny() -> Source:
    """Build anny without its GPU skinning and read the rest states of a sample of adults."""
    import anny
    from anny.keypoints import KeypointsRegressor
    from anny.paths import get_anny_cache_path, set_anny_cache_path

    before = get_anny_cache_path()
    with tempfile.TemporaryDirectory() as cache:  # anny would leave 800 MB in the user's home
        set_anny_cache_path(cache)
        try:
            model = cast(
                Any,
                anny.Anny(
                    phenotypes="all", phenotype_blendshapes="original", skinning_method="lbs"
                ),
            )
        finally:
            set_anny_cache_path(before)
    people = {name: torch.from_numpy(value) for name, value in sample_adults(NUM_SAMPLES).items()}
    with torch.no_grad():
        coefficients = model.get_phenotype_blendshape_coefficients(**people)
        rest = model.get_rest_model(coefficients)
    digest = hashlib.sha256(f"{anny.__version__} {BAKE_VERSION}".encode())
    for tensor in (model.template_vertices, model.dense_vertex_bone_weights):
        digest.update((tensor * 1e5).round().to(torch.int64).numpy().tobytes())
    digest.update(model.faces.numpy().tobytes())
    return Source(
        vertices=_to_y_up(rest["rest_vertices"]),
        heads=_to_y_up(rest["rest_bone_heads"]),
        bones=list(model.bone_labels),
        parents=list(model.bone_parents),
        weights=model.dense_vertex_bone_weights,
        faces=model.faces.long(),
        coco=KeypointsRegressor.coco(model, labels=list(COCO_17)).regression_weights,
        identity=digest.hexdigest()[:8],
    )


def sample_adults(count: int) -> dict[str, Float[np.ndarray, "p"]]:
    """Phenotypes of adults, 1.70 m tall in the mean, by anny's parameter names in [0, 1]."""
    rng = np.random.default_rng(0)

    def around(mean: float, deviation: float) -> Float[np.ndarray, "p"]:
        return rng.normal(mean, deviation, count).clip(0.0, 1.0)

    people = {
        "gender": rng.uniform(0.0, 1.0, count),
        "age": rng.uniform(0.62, 0.95, count),  # 2/3 young, 1 old
        "muscle": around(0.5, 0.2),
        "weight": around(0.5, 0.2),
        "height": around(0.375, 0.055),  # 1.09 m per unit: 6 cm within a gender
        "proportions": around(0.5, 0.25),
        "cupsize": around(0.5, 0.15),
        "firmness": around(0.5, 0.15),
    }
    origins = rng.dirichlet((1.0, 1.0, 1.0), count)
    return people | dict(zip(("african", "asian", "caucasian"), origins.T.copy(), strict=True))


def principal_shapes(
    vertices: Float[Tensor, "p v 3"],
) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "v 3 10"], Float[Tensor, "p 10"]]:
    """Mean, components scaled to unit variance, and each person's betas.

    A component's sign is the one that makes the body taller.
    """
    template = vertices.mean(0)
    centered = (vertices - template).flatten(1)
    variance, basis = torch.linalg.eigh(centered @ centered.T / len(centered))
    betas = basis[:, -NUM_BETAS:].flip(1) * len(centered) ** 0.5
    dirs = (centered.T @ betas / len(centered)).unflatten(0, template.shape)
    growth = dirs[template[:, 1].argmax(), 1] - dirs[template[:, 1].argmin(), 1]
    sign = torch.where(growth < 0, -1.0, 1.0).to(dirs.dtype)
    assert variance[-NUM_BETAS] > 0
    return template, dirs * sign, betas * sign


def _unpose(source: Source) -> tuple[Float[Tensor, "p v 3"], Float[Tensor, "p bones 3"]]:
    """Every person in the T-pose: turn the limbs' bones, then skin with all of anny's weights."""
    rotations = _t_pose_rotations(source)
    heads = source.heads.clone()
    for bone, parent in enumerate(source.parents):
        if parent >= 0:
            offset = source.heads[:, bone] - source.heads[:, parent]
            heads[:, bone] = heads[:, parent] + _turn(rotations[:, parent], offset)
    shift = heads - _turn(rotations, source.heads)
    transforms = torch.cat([rotations, shift[..., None]], -1).flatten(-2)
    vertices = torch.empty_like(source.vertices)
    for person, rest in enumerate(source.vertices):  # one at a time: a (p, v, 12) array is 0.5 GB
        blended = (source.weights @ transforms[person]).unflatten(-1, (3, 4))
        vertices[person] = _turn(blended[..., :3], rest) + blended[..., 3]
    return vertices, heads


def _t_pose_rotations(source: Source) -> Float[Tensor, "p bones 3 3"]:
    """Rotation of every bone, in the world, from anny's rest to the T-pose."""
    turned: dict[str, Float[Tensor, "p 3 3"]] = {}

    def head(bone: str) -> Float[Tensor, "p 3"]:
        return source.heads[:, source.bones.index(bone)]

    for side, sign in (("L", 1.0), ("R", -1.0)):
        mirror = source.heads.new_tensor([sign, 1.0, 1.0])
        for start, (end, direction) in DIRECTIONS.items():
            bone = head(f"{end}.{side}") - head(f"{start}.{side}")
            turned[f"{start}.{side}"] = align(bone, bone.new_tensor(direction) * mirror)
        sole = source.heads.new_tensor([np.sin(TOE_OUT_RAD), 0.0, np.cos(TOE_OUT_RAD)]) * mirror
        toes = (head(f"toe3-1.{side}") - head(f"foot.{side}")) * sole.new_tensor([1.0, 0.0, 1.0])
        turned[f"foot.{side}"] = align(toes, sole)
        hand = _palm_down(
            head(f"finger3-1.{side}") - head(f"wrist.{side}"),
            head(f"finger2-1.{side}") - head(f"finger5-1.{side}"),
            sign,
        )
        forearm = head(f"wrist.{side}") - head(f"lowerarm01.{side}")
        # The forearm takes the hand's twist: a twist left to the wrist would pinch it.
        twisted = align(_turn(hand, forearm), forearm.new_tensor([sign, 0.0, 0.0])) @ hand
        turned |= {f"lowerarm01.{side}": twisted, f"wrist.{side}": hand}
    people = len(source.heads)
    rotations = torch.eye(3, dtype=source.heads.dtype).repeat(people, len(source.bones), 1, 1)
    for bone, (name, parent) in enumerate(zip(source.bones, source.parents, strict=True)):
        if parent >= 0:
            rotations[:, bone] = turned.get(name, rotations[:, parent])
    return rotations


def _palm_down(
    fingers: Float[Tensor, "p 3"], to_index: Float[Tensor, "p 3"], sign: float
) -> Float[Tensor, "p 3 3"]:
    """Rotation that points the fingers sideways (sign * x) and the index finger's edge to +z."""
    x = torch.nn.functional.normalize(fingers, dim=-1)
    z = to_index - (to_index * x).sum(-1, keepdim=True) * x
    z = torch.nn.functional.normalize(z, dim=-1)
    x = x * sign
    return torch.stack([x, torch.linalg.cross(z, x), z], -2)  # rows go to the axes x, y, z


def align(source: Float[Tensor, "p 3"], target: Float[Tensor, "3"]) -> Float[Tensor, "p 3 3"]:
    """Smallest rotation that turns each source direction to the target's."""
    a = torch.nn.functional.normalize(source, dim=-1)
    b = torch.nn.functional.normalize(target.expand_as(a), dim=-1)
    middle = torch.nn.functional.normalize(a + b, dim=-1)

    def half_turn(axis: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3 3"]:
        identity = torch.eye(3, dtype=axis.dtype)
        return 2 * axis[:, :, None] * axis[:, None, :] - identity

    return half_turn(middle) @ half_turn(a)  # two half turns about a and the middle


def _turn(rotation: Float[Tensor, "*n 3 3"], vector: Float[Tensor, "*n 3"]) -> Tensor:
    return (rotation @ vector[..., None])[..., 0]


def _to_y_up(points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """From z up, facing -y, to y up, facing +z."""
    x, y, z = points.unbind(-1)
    return torch.stack([x, z, -y], -1)


def _bone(joint_name: str) -> str:
    """anny's bone whose head is an SMPL joint."""
    side, _, base = joint_name.rpartition("_")
    suffix = {"left": ".L", "right": ".R", "": ""}[side]
    return BONE_OF_JOINT[base] + suffix


def _joint_of_bone(source: Source) -> list[int]:
    """SMPL joint that carries each bone: its own, or that of the nearest ancestor with one.

    All toes follow SMPL's foot joint and four fingers its hand joint; the thumb stays with the
    wrist, because it does not bend about the knuckles.
    """
    own = {_bone(name): index for index, name in enumerate(SMPL_JOINTS)}
    for side, name in (("L", "left"), ("R", "right")):
        own |= {f"toe{toe}-1.{side}": joint(f"{name}_foot") for toe in range(2, 6)}
        own |= {f"finger{finger}-1.{side}": joint(f"{name}_hand") for finger in range(2, 6)}
    joints: list[int] = []
    for name, parent in zip(source.bones, source.parents, strict=True):
        joints.append(own[name] if name in own else joints[parent])
    return joints


def _sparse_keypoints(
    coco: Float[Tensor, "17 v"],
) -> tuple[Int[Tensor, "k"], Float[Tensor, "17 k"]]:
    """The heaviest vertices of each keypoint's regressor, weights summing to 1."""
    smallest = coco.topk(KEYPOINT_WEIGHTS, dim=1).values[:, -1:]
    kept = torch.where(coco >= smallest, coco, 0.0)
    vertices = torch.nonzero(kept.sum(0))[:, 0]
    return vertices, (kept / kept.sum(1, keepdim=True))[:, vertices]


def _contacts(template: Float[Tensor, "v 3"], weights: Float[Tensor, "v 24"]) -> Int[Tensor, "4"]:
    """Rearmost vertex of each heel's sole and foremost one of the toes', heel before toe."""
    parts = torch.tensor(PART_OF_JOINT)[weights.argmax(1)]
    chosen: list[int] = []
    for side in ("left", "right"):
        for part, direction in ((f"{side}Foot", -1.0), (f"{side}ToeBase", 1.0)):
            members = torch.nonzero(parts == PART_NAMES.index(part))[:, 0]
            height = template[members, 1]
            sole = members[height < height.min() + SOLE_M]
            chosen.append(int(sole[(direction * template[sole, 2]).argmax()]))
    return torch.tensor(chosen)
