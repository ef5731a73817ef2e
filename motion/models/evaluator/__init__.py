"""Evaluators: text and motion in one space, for FID and R-precision."""
