"""One motion of the free body that bends every joint, turns around and travels."""

import pytest
import torch

from motion.body import BodyModel, load_body
from motion.export.provenance import Provenance
from motion.rotations import matrix_from_rotvec
from motion.sequence import Motion


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return load_body("free")


@pytest.fixture(scope="session")
def turning(body: BodyModel) -> Motion:
    """The root turns by a whole turn and a half; every joint swings to a random pose and back."""
    frames, generator = 13, torch.Generator().manual_seed(4)
    phase = torch.linspace(0, 1, frames)[:, None, None]
    rotvec = torch.randn(1, 24, 3, generator=generator) * torch.sin(torch.pi * phase) * 0.8
    rotvec[:, 0] = torch.tensor([0.0, 3 * torch.pi, 0.0]) * phase[:, 0]
    path = torch.tensor([2.0, 0.3, -1.0]) * phase[:, 0] + torch.tensor([0.0, 1.0, 0.0])
    return Motion(
        R_parent_child=matrix_from_rotvec(rotvec),
        translation=path,
        betas=torch.randn(10, generator=generator),
        body_id=body.body_id,
        fps=16.0,
    )


@pytest.fixture(scope="session")
def origin() -> Provenance:
    return Provenance(
        system="genmo",
        export="exports/x",
        export_hash="ab12",
        prompt="a person waves, “hello”",
        seed=3,
        options={"steps": 4},
        config={"kind": "genmo", "sampling": {"steps": 4}},
        licences=("CC BY 4.0",),
    )
