"""Small random bodies: geometry tests need neither the free body's bake nor a licensed file."""

import pytest
import torch

from motion.body.layout import BodyData
from motion.body.model import BodyModel


def random_body_data(*, pose_correctives: bool, num_vertices: int = 150) -> BodyData:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    weights = torch.rand(num_vertices, 24, generator=generator)
    weights = torch.where(weights > weights.topk(4, 1).values[:, -1:], weights, 0.0)
    keypoint_of_joint = torch.rand(17, 24, generator=generator)
    keypoint_of_vertex = torch.rand(17, 6, generator=generator)
    total = keypoint_of_joint.sum(1, keepdim=True) + keypoint_of_vertex.sum(1, keepdim=True)
    return BodyData(
        template=normal(num_vertices, 3),
        shape_dirs=0.1 * normal(num_vertices, 3, 10),
        joint_template=normal(24, 3),
        joint_dirs=0.1 * normal(24, 3, 10),
        weights=weights / weights.sum(1, keepdim=True),
        faces=torch.randint(num_vertices, (60, 3), generator=generator),
        keypoint_of_joint=keypoint_of_joint / total,
        keypoint_vertices=torch.arange(0, 60, 10),
        keypoint_of_vertex=keypoint_of_vertex / total,
        contact_vertices=torch.tensor([3, 5, 7, 9]),
        pose_dirs=0.05 * normal(num_vertices, 3, 207) if pose_correctives else None,
    )


@pytest.fixture(params=[False, True], ids=["plain", "correctives"])
def body(request: pytest.FixtureRequest) -> BodyModel:
    return BodyModel(random_body_data(pose_correctives=request.param), "random-test")
