"""Rotations: round trips, equivariance, published conventions."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given
from hypothesis.extra import numpy as hnp

from motion import rotations

ELEMENT = st.floats(-3, 3, width=32)
ROTVEC = hnp.arrays("float64", (4, 3), elements=ELEMENT).map(torch.from_numpy)
TURN = rotations.matrix_from_rotvec(torch.tensor([0.4, -1.1, 0.7], dtype=torch.float64))


def close(one: torch.Tensor, other: torch.Tensor, atol: float = 1e-7) -> None:
    torch.testing.assert_close(one, other.expand_as(one), atol=atol, rtol=0)


@given(ROTVEC)
def test_every_parameterisation_returns_the_matrix(rotvec: torch.Tensor):
    matrix = rotations.matrix_from_rotvec(rotvec)
    close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64))
    close(torch.linalg.det(matrix), torch.ones(4, dtype=torch.float64))
    back = rotations.rotvec_from_matrix(matrix)
    assert (back.norm(dim=-1) <= torch.pi + 1e-6).all()
    close(rotations.matrix_from_rotvec(back), matrix)
    quaternion = rotations.quaternion_from_matrix(matrix)
    close(rotations.matrix_from_quaternion(quaternion), matrix)
    close(rotations.matrix_from_quaternion(-2.5 * quaternion), matrix)
    for columns in (False, True):
        pair = rotations.rotation6d_from_matrix(matrix, columns=columns)
        close(rotations.matrix_from_rotation6d(pair, columns=columns), matrix)


def test_conventions():
    """A quarter turn about z takes x to y; quaternions are w-first; 6D is two rows."""
    matrix = rotations.matrix_from_rotvec(torch.tensor([0.0, 0.0, torch.pi / 2]))
    close(matrix, torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), 1e-6)
    half = 0.5**0.5
    quaternion = torch.tensor([half, 0.0, 0.0, half])
    close(rotations.matrix_from_quaternion(quaternion), matrix, 1e-6)
    close(rotations.quaternion_from_matrix(matrix).abs(), quaternion, 1e-6)
    close(rotations.rotation6d_from_matrix(matrix), torch.tensor([0.0, -1, 0, 1, 0, 0]), 1e-6)
    by_columns = rotations.rotation6d_from_matrix(matrix, columns=True)
    close(by_columns, torch.tensor([0.0, 1, 0, -1, 0, 0]), 1e-6)


@given(hnp.arrays("float64", (2, 6), elements=ELEMENT, fill=st.nothing()).map(torch.from_numpy))
def test_any_two_independent_vectors_give_a_rotation(pair: torch.Tensor):
    assume(torch.linalg.cross(pair[:, :3], pair[:, 3:]).norm(dim=-1).min() > 1e-2)
    matrix = rotations.matrix_from_rotation6d(pair)
    close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64))
    first = torch.nn.functional.normalize(pair[:, :3], dim=-1)
    close(matrix[:, 0], first)
    assert (torch.linalg.det(matrix) > 0).all()


@given(ROTVEC, st.floats(0, 1))
def test_geodesic_distance_is_invariant_and_interpolation_divides_it(
    rotvec: torch.Tensor, weight: float
):
    a, b = rotations.matrix_from_rotvec(rotvec[:2]), rotations.matrix_from_rotvec(rotvec[2:])
    angle = rotations.geodesic_rad(a, b)
    assume(angle.max() < 3.0)  # at half a turn the shortest arc is not unique
    close(rotations.geodesic_rad(TURN @ a, TURN @ b), angle, 1e-6)
    close(rotations.geodesic_rad(b, a), angle, 1e-6)
    middle = rotations.interpolate(a, b, torch.full((2,), weight, dtype=torch.float64))
    close(rotations.geodesic_rad(a, middle), weight * angle, 1e-5)
    close(rotations.geodesic_rad(middle, b), (1 - weight) * angle, 1e-5)


def test_rotvec_has_finite_gradients_at_zero():
    rotvec = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotations.matrix_from_rotvec, (rotvec,))


def test_euler_angles_are_intrinsic():
    angles = torch.tensor([0.3, -0.8, 1.4], dtype=torch.float64)
    parts = {
        axis: rotations.matrix_from_rotvec(angle * torch.eye(3, dtype=torch.float64)[index])
        for index, (axis, angle) in enumerate(
            zip("xyz", (angles[2], angles[0], angles[1]), strict=True)
        )
    }
    expected = parts["y"] @ parts["z"] @ parts["x"]
    close(rotations.matrix_from_euler(angles, "yzx"), expected)
    with pytest.raises(ValueError, match="'yq' do not fit 3 angles"):
        rotations.matrix_from_euler(angles, "yq")


VECTORS = hnp.arrays("float64", (4, 3), elements=ELEMENT).map(torch.from_numpy)


@given(VECTORS, VECTORS)
def test_shortest_rotation_takes_one_direction_to_the_other(
    source: torch.Tensor, target: torch.Tensor
):
    assume(min(source.norm(dim=-1).min(), target.norm(dim=-1).min()) > 1e-3)
    matrix = rotations.shortest_rotation(source, target)
    close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64))
    u, v = (torch.nn.functional.normalize(x, dim=-1) for x in (source, target))
    close((matrix @ u[..., None])[..., 0], v)
    angle = torch.atan2(torch.linalg.cross(u, v).norm(dim=-1), (u * v).sum(-1))
    identity = torch.eye(3, dtype=torch.float64).expand_as(matrix)
    close(rotations.geodesic_rad(matrix, identity), angle, 1e-6)
    turned = rotations.shortest_rotation(source @ TURN.mT, target @ TURN.mT)
    if angle.max() < 3.1:  # at half a turn the axis is free
        close(turned, TURN @ matrix @ TURN.mT, 1e-5)


@given(ROTVEC, st.permutations("xyz"))
def test_euler_angles_give_back_their_matrix(rotvec: torch.Tensor, axes: list[str]):
    order = "".join(axes)
    matrix = rotations.matrix_from_rotvec(rotvec)
    angles = rotations.euler_from_matrix(matrix, order)
    close(rotations.matrix_from_euler(angles, order), matrix, atol=1e-6)
    assert (angles[:, 1].abs() <= torch.pi / 2 + 1e-6).all()


def test_locked_euler_angles_are_still_the_rotation():
    angles = torch.tensor([[0.3, torch.pi / 2, -0.8], [2.0, -torch.pi / 2, 0.1]]).double()
    matrix = rotations.matrix_from_euler(angles, "yzx")
    found = rotations.euler_from_matrix(matrix, "yzx")
    close(rotations.matrix_from_euler(found, "yzx"), matrix, atol=1e-6)
    with pytest.raises(ValueError, match="each of x, y and z once"):
        rotations.euler_from_matrix(matrix, "zxz")


def test_shortest_rotation_of_opposite_and_empty_directions():
    vectors = torch.eye(3, dtype=torch.float64)
    matrix = rotations.shortest_rotation(vectors, -3 * vectors)
    close((matrix @ vectors[..., None])[..., 0], -vectors)
    close(torch.linalg.det(matrix), torch.ones(3, dtype=torch.float64))
    still = rotations.shortest_rotation(vectors, torch.zeros_like(vectors))
    close(still, torch.eye(3, dtype=torch.float64))


@given(ROTVEC)
def test_fitted_rotation_is_found_again(rotvec: torch.Tensor):
    matrix = rotations.matrix_from_rotvec(rotvec)
    source = torch.tensor([[1.0, 0.2, 0], [0, 1, 0.3], [0.5, 0, 1]], dtype=torch.float64)
    source = source.expand(4, 3, 3)
    close(rotations.fit_rotation(source, source @ matrix.mT), matrix)


def test_turn_about_y_is_twice_the_given_angle():
    x, z = torch.tensor([0.3, -2.0]).double(), torch.tensor([1.1, 0.4]).double()
    half = torch.tensor([0.7, -1.9]).double()
    turned = torch.stack(rotations.turn_about_y(x, z, half), -1)
    zero = torch.zeros_like(half)
    matrix = rotations.matrix_from_rotvec(torch.stack([zero, 2 * half, zero], -1))
    expected = (matrix @ torch.stack([x, zero, z], -1)[..., None])[..., 0]
    close(turned, expected[:, ::2])
