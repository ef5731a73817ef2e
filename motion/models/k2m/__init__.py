"""K2M: 3D motion from text, learned from 2D keypoints alone."""
