import numpy as np
import torch

from motion.metrics.motion_map import part_accuracy
from motion.metrics.pose import joint_error_m


def test_joint_error_ignores_a_common_shift_and_padding() -> None:
    truth = torch.randn(2, 5, 24, 3)
    predicted = truth + torch.tensor([1.0, 2.0, 3.0])
    predicted[0, :, 5] += torch.tensor([0.0, 0.24, 0.0])
    predicted[1, 3:] = float("nan")
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    error = joint_error_m(predicted, truth, mask)
    torch.testing.assert_close(error, torch.tensor([0.01, 0.0]), atol=1e-6, rtol=0)


def test_part_accuracy_counts_only_the_person() -> None:
    truth = np.full((1, 4, 4), -1, np.int16)
    truth[0, 0] = 3
    wrong_place = np.full((1, 4, 4), -1, np.int16)
    wrong_place[0, 1] = 3
    half = truth.copy()
    half[0, 0, :2] = 4
    assert part_accuracy(truth, truth) == 1.0
    assert part_accuracy(wrong_place, truth) == 0.0
    assert part_accuracy(half, truth) == 0.5
    assert part_accuracy(-np.ones_like(truth), -np.ones_like(truth)) == 1.0
