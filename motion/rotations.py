"""The one rotation module: a typed layer over RoMa (Brégier 2021).

Everything in the library is a rotation matrix; other parameterisations appear only at borders.
Quaternions are w-first here (RoMa's own are w-last). The 6D form is the first two *rows* of the
matrix (the PyTorch3D convention that CoMoVi uses); `columns=True` gives HumanML3D's.
"""

import roma
import torch
from jaxtyping import Float
from torch import Tensor


def matrix_from_rotvec(rotvec: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation matrix of an axis-angle vector in radians (finite gradients at zero)."""
    return roma.rotvec_to_rotmat(rotvec)


def rotvec_from_matrix(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 3"]:
    """Axis-angle vector in radians, of length at most pi."""
    return roma.rotmat_to_rotvec(matrix)


def matrix_from_quaternion(wxyz: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation matrix of a w-first quaternion, which need not be normalised."""
    xyzw = torch.roll(wxyz, -1, dims=-1)
    return roma.unitquat_to_rotmat(roma.quat_normalize(xyzw))


def quaternion_from_matrix(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 4"]:
    """Unit quaternion, w first; its sign is arbitrary."""
    return torch.roll(roma.rotmat_to_unitquat(matrix), 1, dims=-1)


def matrix_from_rotation6d(
    rotation6d: Float[Tensor, "*n 6"], *, columns: bool = False
) -> Float[Tensor, "*n 3 3"]:
    """Gram-Schmidt of two 3-vectors (Zhou et al. 2019), as rows (default) or columns."""
    pair = rotation6d.unflatten(-1, (2, 3)).mT
    matrix = roma.special_gramschmidt(pair)
    return matrix if columns else matrix.mT


def rotation6d_from_matrix(
    matrix: Float[Tensor, "*n 3 3"], *, columns: bool = False
) -> Float[Tensor, "*n 6"]:
    """The first two rows (default) or columns of the matrix, one after the other."""
    rows = matrix.mT if columns else matrix
    return rows[..., :2, :].flatten(-2)


def geodesic_rad(a: Float[Tensor, "*n 3 3"], b: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n"]:
    """Angle of the rotation between a and b, in radians, in [0, pi]."""
    return roma.rotmat_geodesic_distance(a, b)


def interpolate(
    a: Float[Tensor, "*n 3 3"], b: Float[Tensor, "*n 3 3"], weight: Float[Tensor, "*n"]
) -> Float[Tensor, "*n 3 3"]:
    """Point at `weight` in [0, 1] on the shortest arc from a to b."""
    return a @ matrix_from_rotvec(weight[..., None] * rotvec_from_matrix(a.mT @ b))


def shortest_rotation(
    source: Float[Tensor, "*n 3"], target: Float[Tensor, "*n 3"]
) -> Float[Tensor, "*n 3 3"]:
    """Rotation by the least angle that takes one direction to the other; lengths do not matter.

    A half turn about the bisector after a half turn about the source. Opposite directions leave
    the axis free: it is then perpendicular to the source. A zero vector gives the identity.
    """
    u = torch.nn.functional.normalize(source, dim=-1)
    v = torch.nn.functional.normalize(target, dim=-1)
    bisector = _bisector(u, v)
    turned = half_turn(bisector) @ half_turn(u)
    still = (u.square().sum(-1) * v.square().sum(-1) == 0)[..., None, None]
    return torch.where(still, torch.eye(3, dtype=u.dtype, device=u.device), turned)


def _bisector(u: Float[Tensor, "*n 3"], v: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Direction midway between unit vectors. Of nearly opposite ones the sum is mostly rounding;
    there only its direction across u is used, and its part along u follows from its length."""
    total = u + v
    square = total.square().sum(-1, keepdim=True)
    across = total - u * (total * u).sum(-1, keepdim=True)
    free = across.square().sum(-1, keepdim=True) < 64 * torch.finfo(u.dtype).eps ** 2
    least = torch.nn.functional.one_hot(u.abs().argmin(-1), 3).to(u.dtype)
    across = torch.where(free, torch.linalg.cross(u, least), across)
    across = torch.nn.functional.normalize(across, dim=-1)
    opposite = square < 0.01
    quarter = torch.where(opposite, square, 0.01) / 4
    return torch.where(opposite, quarter.sqrt() * u + (1 - quarter).sqrt() * across, total)


def half_turn(axis: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation by pi about an axis, which need not be normalised."""
    a = torch.nn.functional.normalize(axis, dim=-1)
    return 2 * a[..., :, None] * a[..., None, :] - torch.eye(3, dtype=a.dtype, device=a.device)


def fit_rotation(
    source: Float[Tensor, "*n k 3"], target: Float[Tensor, "*n k 3"]
) -> Float[Tensor, "*n 3 3"]:
    """Rotation R that minimises sum |R source_i - target_i|^2 (Kabsch 1976)."""
    rotation = roma.special_procrustes(target.mT @ source)
    assert isinstance(rotation, torch.Tensor)
    return rotation


def turn_about_y(
    x: Float[Tensor, "*#n"], z: Float[Tensor, "*#n"], half_rad: Float[Tensor, "*#n"]
) -> tuple[Float[Tensor, "*#n"], Float[Tensor, "*#n"]]:
    """Coordinates x and z after a turn by twice `half_rad` about +y (which takes +z to +x).

    The sandwich product with the quaternion (cos h, 0, sin h, 0), written out without its zeros:
    the same roundings as the quaternion code that published motion features were made with.
    """
    w, y = torch.cos(half_rad), torch.sin(half_rad)
    across, along = y * z, -(y * x)
    return x + 2 * (w * across + y * along), z + 2 * (w * along - y * across)


def matrix_from_euler(angles_rad: Float[Tensor, "*n k"], axes: str) -> Float[Tensor, "*n 3 3"]:
    """Product R_axes[0] @ R_axes[1] ... of elementary rotations ("yxz": intrinsic y, then x, z)."""
    if angles_rad.shape[-1] != len(axes) or set(axes) - set("xyz"):
        raise ValueError(
            f"axes {axes!r} do not fit {angles_rad.shape[-1]} angles: give one of x, y, z per angle"
        )
    basis = torch.eye(3, dtype=angles_rad.dtype, device=angles_rad.device)
    matrix = basis
    for i, axis in enumerate(axes):
        matrix = matrix @ matrix_from_rotvec(angles_rad[..., i, None] * basis["xyz".index(axis)])
    return matrix


def euler_from_matrix(matrix: Float[Tensor, "*n 3 3"], axes: str) -> Float[Tensor, "*n 3"]:
    """Angles in radians of three different axes whose `matrix_from_euler` is the matrix.

    The middle one lies in [-pi/2, pi/2]; where it is a right angle the others are not unique.
    """
    if sorted(axes) != ["x", "y", "z"]:
        raise ValueError(f"axes {axes!r}; expected each of x, y and z once, such as 'yzx'")
    angles = roma.rotmat_to_euler(axes.upper(), matrix)  # RoMa's upper case: intrinsic
    assert isinstance(angles, torch.Tensor)
    return angles
