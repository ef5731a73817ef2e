"""Train models of human motion from video, 2D keypoints and text, on Ray and DeepSpeed.

`docs/architecture.md` explains the package on one page.
"""

__version__ = "0.1.0"
