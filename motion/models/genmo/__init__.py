"""GENMO: one model that estimates motion from observations and generates it from descriptions."""
