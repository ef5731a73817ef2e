"""Generated motions: feet, floor, joint limits, sides; for every action."""

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.data.procedural import FAMILIES, Action
from motion.data.procedural.families import animate
from motion.data.procedural.rig import Posed, measure, mirrored, solve
from motion.data.procedural.stage import sample_style
from motion.rotations import rotvec_from_matrix
from motion.skeleton import joint

ACTIONS = [
    Action(family=name, side=side, direction=direction, speed=speed)
    for name, family in FAMILIES.items()
    for side in family.sides
    if side != "left"  # the mirror image of the right, see test_left_mirrors_right
    for direction in family.phrases
    for speed in family.speeds
]
LIMITS_DEG = {
    "knee": 150.0,
    "elbow": 150.0,
    "ankle": 65.0,
    "hip": 130.0,
    "spine1": 25.0,
    "spine2": 25.0,
    "spine3": 25.0,
    "neck": 35.0,
    "head": 35.0,
    "wrist": 75.0,
    "collar": 40.0,
    "foot": 55.0,
}
"""Largest rotation from the T-pose that a person's joint takes (the shoulder has no such single
number: from the T-pose an arm behind the back is half a turn away)."""


def _solved(action: Action, style_seed: int, betas: torch.Tensor) -> Posed:
    figure = measure(load_body("free"), betas)
    style = sample_style(np.random.default_rng(style_seed))
    return solve(animate(action, style, figure, num_frames=33, fps=16.0), figure)


@pytest.mark.parametrize(
    "action", ACTIONS, ids=lambda a: f"{a.family}-{a.side}-{a.direction}-{a.speed}"
)
def test_feet_and_floor(action: Action) -> None:
    body = load_body("free")
    for style_seed in range(2):
        betas = torch.from_numpy(np.random.default_rng(style_seed).normal(size=10) * 0.7).float()
        posed = _solved(action, style_seed, betas)
        vertices = body.vertices(posed.R_parent_child, betas, posed.translation).numpy()
        assert vertices[..., 1].min() > -0.02, "through the floor"
        contact = vertices[:, body.contact_vertices.numpy()]
        touching = posed.contacts.astype(bool)
        assert contact[touching][:, 1].max() < 0.03, "planted foot in the air"
        speed = np.linalg.norm(np.diff(contact, axis=0), axis=-1)
        planted = touching[1:] & touching[:-1]
        assert speed[planted].max() < 0.01, "planted foot slides"
        assert touching[0].all()


@pytest.mark.parametrize("action", ACTIONS[1::3], ids=lambda a: a.family)
def test_joint_limits(action: Action) -> None:
    turned = rotvec_from_matrix(_solved(action, 1, torch.zeros(10)).R_parent_child).norm(dim=-1)
    largest = turned.amax(0).rad2deg()
    for name, limit in LIMITS_DEG.items():
        sides = (name,) if name[-1].isdigit() or name in ("neck", "head") else ("left_", "right_")
        for side in sides:
            index = joint(side if len(sides) == 1 else side + name)
            assert largest[index] < limit, f"{side}{name} turns by {largest[index]:.0f} degrees"


@pytest.mark.parametrize("action", ACTIONS[::3], ids=lambda a: a.family)
def test_motion_starts_standing_and_shows_something(action: Action) -> None:
    posed = _solved(action, 3, torch.zeros(10))
    joints = load_body("free").joints(posed.R_parent_child, torch.zeros(10), posed.translation)
    assert joints[0, joint("head"), 1] > 1.4
    for side in ("left", "right"):
        assert joints[0, joint(f"{side}_wrist"), 1] < joints[0, joint("spine1"), 1]
    moved = (joints - joints[0]).norm(dim=-1).max()
    assert moved > 0.3, f"{action} moves {moved:.2f} m only"
    fastest = joints.diff(dim=0).norm(dim=-1).max() * 16
    assert fastest < 15, "a joint jumps"


@pytest.mark.parametrize(
    "name", [name for name, family in FAMILIES.items() if "left" in family.sides]
)
def test_left_mirrors_right(name: str) -> None:
    direction = next(iter(FAMILIES[name].phrases))
    figure = measure(load_body("free"), torch.zeros(10))
    style = sample_style(np.random.default_rng(0))
    left, right = (
        animate(
            Action(family=name, side=side, direction=direction),
            style,
            figure,
            num_frames=9,
            fps=16.0,
        )
        for side in ("left", "right")
    )
    again = mirrored(mirrored(left))
    np.testing.assert_array_equal(again.arms["left"].elbow, left.arms["left"].elbow)
    np.testing.assert_allclose(left.hips, right.hips * [-1, 1, -1])
    np.testing.assert_array_equal(left.arms["left"].forward, right.arms["right"].forward)
    np.testing.assert_array_equal(left.feet["left"].lift, right.feet["right"].lift)


def test_the_named_side_acts() -> None:
    body = load_body("free")
    for side, other in (("left", "right"), ("right", "left")):
        for family, part, axis in (
            ("wave", "wrist", 1),
            ("kick", "ankle", 1),
            ("punch", "wrist", 2),
        ):
            posed = _solved(Action(family=family, side=side), 0, torch.zeros(10))
            joints = body.joints(posed.R_parent_child, torch.zeros(10), posed.translation)
            reach = {s: float(joints[:, joint(f"{s}_{part}"), axis].max()) for s in (side, other)}
            assert reach[side] > reach[other] + 0.1, (family, side, reach)
        sign = 1.0 if side == "left" else -1.0
        step = _solved(Action(family="side_step", side=side), 0, torch.zeros(10))
        assert sign * float(step.translation[-1, 0] - step.translation[0, 0]) > 0.3
        turned = _solved(Action(family="turn", side=side, direction="quarter"), 0, torch.zeros(10))
        heading = turned.R_parent_child[-1, 0, :, 2]
        assert sign * float(heading[0]) > 0.9, "a left turn ends facing +x"
