import importlib.util
import json
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.metrics.vbench import (
    frame_consistency,
    image_consistency,
    motion_smoothness,
    temporal_flickering,
    vbench_scores,
)


def test_flickering_of_known_differences() -> None:
    frames = np.zeros((3, 4, 5, 3), np.uint8)
    assert temporal_flickering(frames) == 1
    frames[1] = 51
    assert temporal_flickering(frames) == pytest.approx(1 - 51 / 255)
    frames[2] = 255
    assert temporal_flickering(frames) == pytest.approx(1 - (51 + 204) / 2 / 255)
    assert math.isnan(temporal_flickering(frames[:1]))


def test_smoothness_compares_the_dropped_frames() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 3)).astype(np.uint8)
    assert motion_smoothness(frames, frames[[1, 3]]) == 1
    assert motion_smoothness(frames[:5], np.zeros((2, 4, 4, 3), np.uint8)) == pytest.approx(
        1 - frames[[1, 3]].mean() / 255
    )
    with pytest.raises(ValueError, match="expected 2"):
        motion_smoothness(frames, frames[[1, 3, 5]])


def test_frame_consistency() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 3.0], [-1.0, 0.0]])
    expected = torch.tensor([0.0, 0.5, 0.0])
    torch.testing.assert_close(frame_consistency(features), expected)
    torch.testing.assert_close(frame_consistency(7 * features), expected)


def test_image_consistency() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = image_consistency(torch.tensor([5.0, 0.0]), features)
    assert float(found) == pytest.approx(0.4 * 1 + 0.3 * 0.5 + 0.3 * 0)
    with pytest.raises(ValueError, match="at least 2"):
        image_consistency(features[0], features[:1])


def test_adapter_names_the_missing_package(tmp_path: Path) -> None:
    if importlib.util.find_spec("vbench") is not None:
        pytest.skip("the vbench package is installed here")
    with pytest.raises(RuntimeError, match="pip install vbench"):
        vbench_scores(tmp_path, tmp_path)


def test_adapter_calls_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, object]] = []

    class VBench:
        def __init__(self, device: torch.device, information: str, output: str) -> None:
            self.output = Path(output)
            assert information.endswith("VBench_full_info.json")

        def evaluate(self, **arguments: object) -> None:
            calls.append(arguments)
            scores = {name: [0.25, []] for name in arguments["dimension_list"]}
            path = self.output / f"{arguments['name']}_eval_results.json"
            path.write_text(json.dumps(scores))

    package = types.ModuleType("vbench")
    package.VBench, package.__file__ = VBench, "vbench/__init__.py"
    package.__spec__ = importlib.util.spec_from_loader("vbench", loader=None)
    monkeypatch.setitem(sys.modules, "vbench", package)
    videos = tmp_path / "videos"
    videos.mkdir()
    with pytest.raises(ValueError, match=r"no \.mp4"):
        vbench_scores(videos, tmp_path / "out", device="cpu")
    (videos / "a person waves.mp4").touch()
    found = vbench_scores(videos, tmp_path / "out", ["aesthetic_quality"], device="cpu")
    assert found == {"aesthetic_quality": 0.25}
    assert calls[0]["mode"] == "custom_input"
