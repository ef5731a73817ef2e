"""What a user gives beside the text: an image, a pose; and the first frame that follows."""

import functools
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, PositiveFloat, model_validator

from motion.body.model import BodyModel
from motion.conditioning.canvas import Fill
from motion.conditioning.first_frame import (
    FirstFrame,
    VideoSpace,
    first_pose,
    frame_of_image,
    frame_of_pose,
    read_image,
)
from motion.conditioning.pose_detector import PoseDetector
from motion.data.procedural import ProceduralConfig, start_frame


class Conditions(BaseModel):
    """Files that a sample starts from; none: a person of the training data, standing still."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    image: Path | None = None
    """First frame, of any size: .png, .jpg ..."""
    pose: Path | None = None
    """Motion file (.npz, .pkl, .bvh, .amc) whose first frame is the pose. With an image it must
    name the image's camera, as the .npz of a sample does."""
    pose_model: str | None = None
    """ViTPose by folder or hub id: finds the pose in the image where no file gives it."""
    focal_px: PositiveFloat | None = None
    """Focal length of the image, pixels; by default its diagonal."""
    fill: Fill = "crop"
    """Where the image has another aspect ratio than the nearest video size: "crop" its border, or
    "pad" it and take the padding off again."""

    @model_validator(mode="after")
    def _meaningful(self) -> "Conditions":
        lone = [
            name
            for name in ("pose_model", "focal_px")
            if getattr(self, name) is not None and (self.image is None or self.pose is not None)
        ]
        if lone:
            raise ValueError(
                f"{' and '.join(lone)} help to find the pose in an image: give an image and no "
                "pose file, or leave them out"
            )
        if self.image is not None and self.pose is None and self.pose_model is None:
            raise ValueError(
                f"the pose of the person in {self.image} is not known: give a pose file with its "
                "camera, or pose_model, a ViTPose by folder or hub id such as "
                "usyd-community/vitpose-base-simple"
            )
        return self

    def given(self) -> dict[str, JsonValue]:
        """What differs from the defaults, by option name: enough to sample again."""
        options: dict[str, JsonValue] = self.model_dump(mode="json", exclude_defaults=True)
        for name in ("image", "pose"):
            if name in options:
                options[name] = str(Path(str(options[name])).absolute())
        return options

    def first_frame(
        self, seed: int, config: ProceduralConfig, body: BodyModel, space: VideoSpace, device: str
    ) -> FirstFrame:
        """The frame to start from.

        Args:
            seed: of the person, room and camera where no image shows them.
            config: what the training data's people, rooms and cameras are like.
            body: of the motion.
            space: sizes of the export.
            device: where a pose model computes.

        Raises:
            ValueError: a file cannot be used.
        """
        found = None if self.pose is None else first_pose(self.pose, body)
        if self.image is None:
            if found is None:
                return FirstFrame(start_frame(seed, config), None)
            return FirstFrame(frame_of_pose(seed, config, body, found[0]), None)
        detector = None if self.pose_model is None else _detector(self.pose_model, device)
        return frame_of_image(
            read_image(self.image),
            body,
            space,
            pose=None if found is None else found[0],
            camera=None if found is None else found[1],
            detector=detector,
            focal_px=self.focal_px,
            fill=self.fill,
        )


@functools.lru_cache(maxsize=1)
def _detector(source: str, device: str) -> PoseDetector:
    """Loaded once for many samples."""
    return PoseDetector(source, device=device)
