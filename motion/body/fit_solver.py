"""Levenberg-Marquardt over whole clips: every frame's pose, one shape per clip, smooth in time.

Frames are tied by the shape and by their accelerations alone, so the normal equations are one
small matrix per frame plus a thin coupling. Conjugate gradients, preconditioned with the factored
frame matrices, solve them for all clips at once; a damping per clip is raised where a step fails.
Outliers lose weight by the Geman-McClure function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body.fit_markers import NUM_POSE, Markers, Pose
from motion.body.pose_prior import PosePrior
from motion.camera import project
from motion.rotations import matrix_from_rotvec, rotvec_from_matrix

_CG_STEPS = 10
"""Few: an inexact step only costs another one."""
_CONVERGED = 1e-3
"""Relative decrease of the energy at which a clip is done."""
_STUCK = 1e3
"""Damping at which a clip is done because no step helps."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Observations of b clips of t frames, and what is known about bodies."""

    markers: Markers
    prior: PosePrior
    target: Float[Tensor, "b t m _"]
    """Metres (3 columns) or, with `intrinsics`, pixels (2 columns)."""
    weight: Float[Tensor, "b t m"]
    """Confidence in [0, 1]; 0 where a marker is not seen."""
    intrinsics: Float[Tensor, "b 3 3"] | None
    noise: float
    """Standard deviation of an observation, in its unit."""
    outlier: float
    """Residual, in standard deviations, from which an observation loses its influence."""
    smooth: Float[Tensor, "75"]
    """Inverse variance of each unknown's acceleration, per frame squared."""
    shape_mean: Float[Tensor, "b 10"] | float = 0.0
    """Betas that are expected."""
    shape_precision: float = 1.0
    """Their inverse variance."""
    place: Float[Tensor, "b t 3"] | float = 0.0
    """Translations that are expected, metres."""
    place_precision: Float[Tensor, "b t 1"] | float = 0.0
    """Their inverse variance, per square metre; 0 expects nothing."""

    @property
    def shape_weight(self) -> float:
        """Times the number of frames: what a rig or a detector gets wrong about the shape, it gets
        wrong in every frame, so more frames are no more evidence."""
        return self.target.shape[1] * self.shape_precision

    def residual(self, points: Float[Tensor, "b t m 3"]) -> Float[Tensor, "b t m _"]:
        """In the observations' unit; NaN at or behind the camera."""
        if self.intrinsics is None:
            return points - self.target
        return project(points, self.intrinsics[:, None]) - self.target

    def energy(self, pose: Pose) -> Float[Tensor, "b"]:
        """Negative log-likelihood up to a constant; NaN where a seen point is behind the camera."""
        square = (self.residual(self.markers.points(pose)) / self.noise).square().sum(-1)
        robust = self.weight * square / (1 + square / self.outlier**2)
        data = torch.where(self.weight > 0, robust, 0.0).sum((1, 2))
        posed = self.prior.energy(pose.R_parent_child).sum(1)
        bend = (_accelerations(pose).square() * self.smooth).sum((1, 2))
        shaped = self.shape_weight * (pose.betas - self.shape_mean).square().sum(-1)
        placed = (self.place_precision * (pose.translation - self.place).square()).sum((1, 2))
        return (data + posed + bend + shaped + placed) / 2


class _Equations(NamedTuple):
    """Normal equations H x = -g in blocks: frames, shape, and between them."""

    frames: Float[Tensor, "b t 75 75"]
    coupling: Float[Tensor, "b t 75 10"]
    shape: Float[Tensor, "b 10 10"]
    frame_slope: Float[Tensor, "b t 75"]
    shape_slope: Float[Tensor, "b 10"]


class _Step(NamedTuple):
    """A change of the unknowns of b clips."""

    frames: Float[Tensor, "b t 75"]
    shape: Float[Tensor, "b 10"]


def minimize(problem: Problem, pose: Pose, iterations: int) -> tuple[Pose, Float[Tensor, "b"]]:
    """The pose after at most `iterations` steps of Levenberg-Marquardt, and its energy."""
    energy = problem.energy(pose)
    damping = torch.full_like(energy, 1e-2)
    for _ in range(iterations):
        step, shape_step = _solve(_linearize(problem, pose), problem.smooth, damping)
        turns = matrix_from_rotvec(step[..., :-3].unflatten(-1, (-1, 3)))
        proposed = Pose(
            turns @ pose.R_parent_child, pose.translation + step[..., -3:], pose.betas + shape_step
        )
        trial = problem.energy(proposed)
        better = trial < energy  # False for NaN: a body that went behind the camera
        pose = Pose(*(_choose(better, new, old) for new, old in zip(proposed, pose, strict=True)))
        done = (better & (energy - trial < _CONVERGED * energy)) | (damping > _STUCK)
        energy = torch.where(better, trial, energy)
        damping = torch.where(better, damping / 5, damping * 8).clamp(min=1e-6)
        if bool(done.all()):
            break
    return pose, energy


def _choose(chosen: Bool[Tensor, "b"], new: Tensor, old: Tensor) -> Tensor:
    return torch.where(chosen.reshape(-1, *[1] * (new.dim() - 1)), new, old)


def _linearize(problem: Problem, pose: Pose) -> _Equations:
    points = problem.markers.points(pose)
    by_pose, by_betas = problem.markers.jacobian(pose)
    if problem.intrinsics is not None:
        image = _image_jacobian(points, problem.intrinsics)
        by_pose, by_betas = image @ by_pose, image @ by_betas
    residual = problem.residual(points)
    square = (residual / problem.noise).square().sum(-1)
    weight = problem.weight / (1 + square / problem.outlier**2) ** 2 / problem.noise**2
    weight = torch.where(problem.weight > 0, weight, 0.0)[..., None]
    residual = torch.where(weight > 0, residual, 0.0)
    scale = weight.sqrt()[..., None]
    J, K = (scale * by_pose).flatten(2, 3), (scale * by_betas).flatten(2, 3)
    r = (scale[..., 0] * residual).flatten(2, 3)[..., None]
    frames, slope = J.mT @ J, (J.mT @ r)[..., 0]
    shape_slope = (K.mT @ r)[..., 0].sum(1)
    shape_slope += problem.shape_weight * (pose.betas - problem.shape_mean)
    gradient, curvature = problem.prior.linearize(pose.R_parent_child)
    blocks = frames[..., 3:-3, 3:-3].unflatten(-1, (-1, 3)).unflatten(-3, (-1, 3))
    blocks.diagonal(dim1=-4, dim2=-2).add_(curvature.permute(0, 1, 3, 4, 2))
    slope[..., 3:-3] += gradient.flatten(-2)
    slope += problem.smooth * _bend_transposed(_accelerations(pose), slope)
    frames.diagonal(dim1=-2, dim2=-1)[..., -3:] += problem.place_precision
    slope[..., -3:] += problem.place_precision * (pose.translation - problem.place)
    shape = (K.mT @ K).sum(1)
    shape.diagonal(dim1=-2, dim2=-1).add_(problem.shape_weight)
    return _Equations(frames, J.mT @ K, shape, slope, shape_slope)


def _image_jacobian(
    points: Float[Tensor, "b t m 3"], intrinsics: Float[Tensor, "b 3 3"]
) -> Float[Tensor, "b t m 2 3"]:
    """d pixel / d point of a pinhole camera."""
    matrix = intrinsics[:, None, None]
    depth = points[..., 2].clamp(min=1e-3)[..., None, None]
    pixel = (matrix @ points[..., None] / depth)[..., :2, :]
    return (matrix[..., :2, :] - pixel * matrix[..., 2:, :]) / depth


def _accelerations(pose: Pose) -> Float[Tensor, "b s 75"]:
    """Second differences of every unknown, for the frames that have two neighbors."""
    R, x = pose.R_parent_child, pose.translation
    if R.shape[1] < 3:
        return x.new_zeros(len(x), 0, NUM_POSE)
    speed = torch.cat(
        [rotvec_from_matrix(R[:, 1:] @ R[:, :-1].mT).flatten(-2), x[:, 1:] - x[:, :-1]], -1
    )
    return speed[:, 1:] - speed[:, :-1]


def _bend(x: Float[Tensor, "b t p"]) -> Float[Tensor, "b s p"]:
    return x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2] if x.shape[1] > 2 else x[:, :0]


def _bend_transposed(
    bend: Float[Tensor, "b s p"], like: Float[Tensor, "b t p"]
) -> Float[Tensor, "b t p"]:
    out = torch.zeros_like(like)
    if like.shape[1] > 2:
        out[:, 2:] += bend
        out[:, 1:-1] -= 2 * bend
        out[:, :-2] += bend
    return out


def _solve(
    equations: _Equations, smooth: Float[Tensor, "75"], damping: Float[Tensor, "b"]
) -> _Step:
    """Preconditioned conjugate gradients on the damped equations (Nocedal & Wright, Alg. 5.3)."""
    damped = _damped(equations, damping)
    precondition = _preconditioner(damped, smooth)
    x = _Step(torch.zeros_like(equations.frame_slope), torch.zeros_like(equations.shape_slope))
    r = _Step(-equations.frame_slope, -equations.shape_slope)
    z = precondition(r)
    p, dot = z, _dot(r, z)
    for _ in range(_CG_STEPS):
        q = _multiply(damped, smooth, p)
        length = dot / _dot(p, q).clamp(min=1e-30)
        x, r = _add(x, length, p), _add(r, -length, q)
        z = precondition(r)
        following = _dot(r, z)
        p, dot = _add(z, following / dot.clamp(min=1e-30), p), following
    return x


def _damped(equations: _Equations, damping: Float[Tensor, "b"]) -> _Equations:
    """Marquardt's: every unknown's curvature grows by the share `damping`."""
    frames, shape = equations.frames.clone(), equations.shape.clone()
    diagonal = frames.diagonal(dim1=-2, dim2=-1)
    diagonal.add_(damping[:, None, None] * diagonal + 1e-4)
    shape.diagonal(dim1=-2, dim2=-1).mul_(1 + damping[:, None])
    return equations._replace(frames=frames, shape=shape)


def _multiply(equations: _Equations, smooth: Float[Tensor, "75"], step: _Step) -> _Step:
    """The product of the left-hand side, accelerations included, with a step."""
    x, s = step
    bent = smooth * _bend_transposed(_bend(x), x)
    coupled = torch.einsum("btps,bs->btp", equations.coupling, s)
    y = (equations.frames @ x[..., None])[..., 0] + coupled + bent
    back = torch.einsum("btps,btp->bs", equations.coupling, x)
    return _Step(y, back + (equations.shape @ s[..., None])[..., 0])


def _preconditioner(equations: _Equations, smooth: Float[Tensor, "75"]) -> Callable[[_Step], _Step]:
    """Division by the blocks on the diagonal: every frame's, and the shape's."""
    stiff = equations.frames.clone()
    if stiff.shape[1] > 2:
        stiff.diagonal(dim1=-2, dim2=-1).add_(6 * smooth)
    # Inverses, since a product is several times as fast as two triangular solves.
    frame_inverse = torch.cholesky_inverse(torch.linalg.cholesky(stiff))
    shape_inverse = torch.cholesky_inverse(torch.linalg.cholesky(equations.shape))

    def divide(step: _Step) -> _Step:
        frames = (frame_inverse @ step.frames[..., None])[..., 0]
        return _Step(frames, (shape_inverse @ step.shape[..., None])[..., 0])

    return divide


def _add(a: _Step, factor: Float[Tensor, "b"], b: _Step) -> _Step:
    """a + factor b, with a factor per clip."""
    return _Step(a.frames + factor[:, None, None] * b.frames, a.shape + factor[:, None] * b.shape)


def _dot(a: _Step, b: _Step) -> Float[Tensor, "b"]:
    return (a.frames * b.frames).sum((1, 2)) + (a.shape * b.shape).sum(1)
