import numpy as np

from motion.metrics.motion_map import part_accuracy


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
