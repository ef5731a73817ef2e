"""Scripts and chains: two actions in one clip, joined without a jump or a slide."""

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.data.procedural import FAMILIES, ProceduralConfig
from motion.data.procedural.rig import Figure, measure, solve
from motion.data.procedural.script import Script, perform, sample_script
from motion.data.procedural.stage import Action, Style, sample_style

LONG = ProceduralConfig(
    num_frames=81, chain_share=1.0, families=tuple(FAMILIES), held_out_families=()
)


@pytest.fixture(scope="module")
def figure() -> Figure:
    return measure(load_body("free"), torch.zeros(10))


def _style(seed: int) -> Style:
    return sample_style(np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(0, 60, 2))
def test_chains_neither_slide_nor_jump(seed: int, figure: Figure) -> None:
    body, style = load_body("free"), _style(seed)
    script = sample_script(seed, LONG, style)
    assert len(script.actions) == 2
    performance = perform(script, style, figure, LONG)
    posed = solve(performance.controls, figure)
    vertices = body.vertices(posed.R_parent_child, torch.zeros(10), posed.translation).numpy()
    assert vertices.shape[0] == LONG.num_frames
    assert vertices[..., 1].min() > -0.02, "through the floor"
    contact, touching = vertices[:, body.contact_vertices.numpy()], posed.contacts.astype(bool)
    assert contact[touching][:, 1].max() < 0.03, "planted foot in the air"
    speed = np.linalg.norm(np.diff(contact, axis=0), axis=-1)
    assert speed[touching[1:] & touching[:-1]].max() < 0.01, "planted foot slides"
    joints = body.joints(posed.R_parent_child, torch.zeros(10), posed.translation)
    step = joints.diff(dim=0).norm(dim=-1).amax(-1).numpy() * LONG.fps
    border = round(performance.bounds_s[1][0] * LONG.fps)
    assert step.max() < 15
    assert step[border - 4 : border + 4].max() < 8, "the transition jumps"


def test_the_second_action_starts_where_the_first_ended(figure: Figure) -> None:
    actions = (Action(family="turn", side="left", direction="around"), Action(family="walk",
        direction="forward"))  # fmt: skip
    posed = solve(perform(Script(actions, 0.0, 2.0), _style(0), figure, LONG).controls, figure)
    assert posed.R_parent_child[-1, 0, 2, 2] < -0.9, "faces back"
    assert posed.translation[-1, 2] < -0.5, "walks to where it faces"


def test_short_clips_hold_one_action_and_delays_fit() -> None:
    short = LONG.model_copy(update={"num_frames": 33, "max_delay_s": 0.5})
    delays: list[float] = []
    for seed in range(80):
        script = sample_script(seed, short, _style(seed))
        assert len(script.actions) == 1
        if script.actions[0].speed == "slow":
            assert script.delay_s < 0.1, "a slow action needs the whole clip"
        delays.append(script.delay_s)
    assert 0.3 < max(delays) <= 0.5
    still = short.model_copy(update={"max_delay_s": 0.0})
    assert sample_script(3, still, _style(3)).delay_s == 0


def test_share_of_chains() -> None:
    config = LONG.model_copy(update={"chain_share": 0.3})
    chained = [len(sample_script(seed, config, _style(seed)).actions) == 2 for seed in range(300)]
    assert 0.2 < np.mean(chained) < 0.4
    pairs = [sample_script(seed, LONG, _style(seed)).actions for seed in range(100)]
    assert all(first.family != second.family for first, second in pairs)
    one = LONG.model_copy(update={"families": ("wave",)})
    assert [a.family for a in sample_script(0, one, _style(0)).actions] == ["wave", "wave"]


def test_a_delay_keeps_the_person_standing(figure: Figure) -> None:
    script = Script((Action(family="kick", side="right"),), 0.5, 2.0)
    controls = perform(script, _style(1), figure, LONG).controls
    assert controls.feet["right"].planted[:8].all()
    assert not controls.feet["right"].planted.all()
