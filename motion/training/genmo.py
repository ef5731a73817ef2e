"""What only GENMO needs around its training: statistics of its motion vector before it."""

from jaxtyping import Bool, Float
from torch import Tensor

from motion.data.statistics import fit_statistics
from motion.models.genmo.config import GenmoConfig
from motion.models.genmo.system import Genmo
from motion.training.config import TrainConfig
from motion.training.evaluators import split_batches

_COLUMNS = (
    "smpl_rotvec", "smpl_translation", "smpl_betas", "T_camera_world", "keypoints_detected",
    "keypoints_confidence", "keypoints_size", "keypoints_intrinsics", "text_embedding", "text_mask",
)  # fmt: skip


def with_statistics(training: TrainConfig, *, most: int = 1024) -> TrainConfig:
    """The training with the statistics of its motion vector over its clips, as cameras see them.

    Statistics that it has already stay.

    Args:
        training: of GENMO.
        most: clips that they are taken of.

    Raises:
        ValueError: it trains another system, or no clip has a motion in the world.
    """
    system = training.system
    if not isinstance(system, GenmoConfig):
        raise ValueError(f"{training.name} trains a {type(system).__name__}, not GENMO")
    if system.statistics is not None:
        return training
    seen = Genmo(system)  # in training mode: with its synthetic cameras
    columns = tuple(name for name in _COLUMNS if name in training.data.columns)

    def features() -> list[tuple[Float[Tensor, "b t 151"], Bool[Tensor, "b t"]]]:
        found: list[tuple[Tensor, Tensor]] = []
        for batch in split_batches(training.data.root, training.data.split, columns, most=most):
            truth = seen.view(batch, "statistics").truth
            found.append((truth.features, batch.frame_mask & truth.path[:, None]))
        return found

    fitted = system.fitted(fit_statistics(features()))
    return training.model_copy(update={"system": fitted})
