"""The published evaluation protocols by name: what is sampled, on what, and which metrics follow.

A protocol is a definition over generated motions or videos. It works on every export whose samples
carry what it needs, whatever the system.
"""

import difflib
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from motion.metrics.text_to_motion import TextToMotionConfig

Better = Literal["higher", "lower", "real"]
"""Which way a metric is better; "real": the closer to the real data's value."""

RootPath = Literal["sample", "held", "true"]
"""Where the root translation of a generated motion comes from. `sample`: from the model. `held`:
the clip's first frame, repeated, for models that predict poses alone. `true`: the real clip's, an
upper bound that must be marked."""


class Column(BaseModel):
    """One metric of a table."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """As in MLflow and JSON."""
    label: str
    """As in a printed table."""
    better: Better
    """Direction."""
    unit: str = ""
    """Printed after the label."""


class Protocol(BaseModel):
    """What is measured, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """As given on the command line."""
    kind: Literal["text_to_motion", "estimation", "inbetween", "dance", "video"]
    """Family of metrics."""
    columns: tuple[Column, ...]
    """The table's columns."""
    source: str
    """Where the protocol is defined."""
    features: Literal["humanml", "keypoints"] | None = None
    """What the evaluator sees of a motion: HumanML3D's 263 numbers, or projected keypoints."""
    fps: float | None = None
    """Frame rate to which motions are resampled; None measures at the data's own."""
    passes: Annotated[int, Field(ge=1)] = 1
    """Independent samplings of every clip."""
    max_generated: int | None = None
    """Clips that are generated for; None: all. The real set is always whole."""
    min_frames: int = 1
    """Shorter clips (in frames of `fps`) take no part."""
    max_frames: int = 1 << 30
    """Longer clips take no part."""
    crop_unit: int = 1
    """Lengths are multiples of it: real clips are cropped at random, generated ones at the end."""
    metrics: TextToMotionConfig = TextToMotionConfig()
    """Batches, repeats and pairs of the text-to-motion metrics."""
    multimodal_prompts: int = 0
    """Prompts of MultiModality; 0 leaves it out."""
    multimodal_samples: int = 30
    """Motions per prompt of MultiModality."""
    video_dimensions: tuple[str, ...] = ()
    """Dimensions of VBench."""
    options: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Sampling options of the protocol, by kind of system: what a system may see, for instance."""


def _columns(*rows: tuple[str, str, Better] | tuple[str, str, Better, str]) -> tuple[Column, ...]:
    return tuple(
        Column(name=row[0], label=row[1], better=row[2], unit=row[3] if len(row) > 3 else "")
        for row in rows
    )


TEXT_TO_MOTION: Final = _columns(
    ("fid", "FID", "lower"),
    ("r_precision_1", "R@1", "higher"),
    ("r_precision_2", "R@2", "higher"),
    ("r_precision_3", "R@3", "higher"),
    ("mm_dist", "MM-Dist", "lower"),
    ("diversity", "Diversity", "real"),
    ("multimodality", "MModality", "higher"),
    ("fid_inf", "FID inf", "lower"),
)
ESTIMATION: Final = _columns(
    ("pa_mpjpe", "PA-MPJPE", "lower", "mm"),
    ("mpjpe", "MPJPE", "lower", "mm"),
    ("pve", "PVE", "lower", "mm"),
    ("accel", "Accel", "lower", "m/s²"),
    ("wa_mpjpe_100", "WA-MPJPE100", "lower", "mm"),
    ("w_mpjpe_100", "W-MPJPE100", "lower", "mm"),
    ("rte", "RTE", "lower", "%"),
    ("jitter", "Jitter", "lower", "10 m/s³"),
    ("foot_sliding", "FS", "lower", "mm"),
)
_FEATURES: Final[tuple[tuple[str, str, Better], ...]] = (
    ("fid_k", "FID_k", "lower"),
    ("fid_g", "FID_g", "lower"),
    ("div_k", "Div_k", "real"),
    ("div_g", "Div_g", "real"),
)
DANCE: Final = _columns(*_FEATURES, ("pfc", "PFC", "lower"), ("bas", "BAS", "higher"))
INBETWEEN: Final = _columns(
    ("pa_2", "PA-MPJPE, 2 keys", "lower", "mm"),
    ("wa_2", "WA-MPJPE, 2 keys", "lower", "mm"),
    ("pa_5", "PA-MPJPE, 5 keys", "lower", "mm"),
    ("wa_5", "WA-MPJPE, 5 keys", "lower", "mm"),
)
VIDEO: Final = _columns(
    ("subject_consistency", "Subject", "higher"),
    ("background_consistency", "Background", "higher"),
    ("motion_smoothness", "Smoothness", "higher"),
    ("temporal_flickering", "Flickering", "higher"),
    ("aesthetic_quality", "Aesthetic", "higher"),
    ("imaging_quality", "Imaging", "higher"),
)

_HUMANML: Final = {
    "kind": "text_to_motion",
    "columns": TEXT_TO_MOTION,
    "features": "humanml",
    "fps": 20.0,
    "passes": 20,
    "min_frames": 40,
    "max_frames": 199,
    "crop_unit": 4,
    "metrics": TextToMotionConfig(repeats=20),
}

_ALL: Final = (
    Protocol.model_validate(
        {
            **_HUMANML,
            "name": "humanml3d-momask",
            "source": "MoMask (Guo et al. 2024): the whole split on both sides, 20 samplings",
            "multimodal_prompts": 96,
        }
    ),
    Protocol.model_validate(
        {
            **_HUMANML,
            "name": "humanml3d-mdm",
            "source": "MDM (Tevet et al. 2023): 1,024 generated clips against the whole real split",
            "max_generated": 1024,
            "multimodal_prompts": 128,
        }
    ),
    Protocol.model_validate(
        {
            **_HUMANML,
            "name": "comovi-motion",
            "source": "CoMoVi (Zhao et al. 2026): MoMask's metrics, 20 samplings, 263 features of "
            "motions resampled to 20 fps (the paper states no resampling) with the root path named",
        }
    ),
    Protocol(
        name="motionweb",
        kind="text_to_motion",
        columns=tuple(c for c in TEXT_TO_MOTION if c.name != "multimodality"),
        source="K2M: Guo et al.'s metrics on projected keypoints, evaluator of its own, 20 repeats",
        features="keypoints",
        passes=20,
        metrics=TextToMotionConfig(repeats=20),
    ),
    Protocol(
        name="genmo-estimation",
        kind="estimation",
        columns=ESTIMATION,
        source="GENMO (Li et al. 2025), metrics of WHAM and GVHMR, pooled over frames",
        options={"genmo": {"mode": "estimation", "conditions": ["keypoints", "camera", "image"]}},
    ),
    Protocol.model_validate(
        {
            **_HUMANML,
            "name": "genmo-t2m",
            "source": "GENMO (Li et al. 2025, appendix C): 5 samplings, with FID and diversity of "
            "kinetic and geometric features of 24 joints at the data's frame rate",
            "columns": (*TEXT_TO_MOTION, *_columns(*_FEATURES)),
            "passes": 5,
            "metrics": TextToMotionConfig(repeats=5),
            "options": {"genmo": {"mode": "generation", "conditions": ["text"]}},
        }
    ),
    Protocol(
        name="genmo-inbetween",
        kind="inbetween",
        columns=INBETWEEN,
        source="GENMO (Li et al. 2025, appendix D): 2 and 5 key poses, with the text",
        passes=5,
        options={"genmo": {"mode": "generation", "conditions": ["text"]}},
    ),
    Protocol(
        name="genmo-dance",
        kind="dance",
        columns=DANCE,
        source="GENMO (Li et al. 2025, appendix B), metrics of AIST++, EDGE and Bailando",
        options={"genmo": {"mode": "generation", "conditions": ["music"]}},
    ),
    Protocol(
        name="comovi-video",
        kind="video",
        columns=VIDEO,
        source="VBench (Huang et al. 2024) as CoMoVi reports it, without dynamic degree",
        video_dimensions=tuple(column.name for column in VIDEO),
    ),
)
PROTOCOLS: Final = {protocol.name: protocol for protocol in _ALL}


def protocol_named(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        ValueError: there is none; the message lists them and the nearest.
    """
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"unknown protocol {name!r}{hint}; expected one of {sorted(PROTOCOLS)}")
    return PROTOCOLS[name]
