"""The body of a system's losses, on whichever device its batches lie."""

import copy

import torch

from motion.batch import Batch
from motion.body import load_body
from motion.body.model import BodyModel


class PlacedBody:
    """A body model with one copy per device; no module, so in no checkpoint."""

    def __init__(self, name: str) -> None:
        """
        Args:
            name: "free", or the path of a body model file.
        """
        self.name = name
        self._copies: dict[torch.device, BodyModel] = {}

    def on(self, device: torch.device) -> BodyModel:
        """The body on a device."""
        if device not in self._copies:
            self._copies[device] = copy.deepcopy(load_body(self.name)).to(device)
        return self._copies[device]

    def of(self, batch: Batch) -> BodyModel:
        """The body on the batch's device.

        Raises:
            ValueError: the batch's betas belong to another body.
        """
        body = self.on(batch.frame_mask.device)
        if batch.body_id and batch.body_id != body.body_id:
            raise ValueError(
                f"the batch's betas belong to body {batch.body_id!r}, but config.body "
                f"{self.name!r} is {body.body_id!r}: betas never cross body models; set "
                "config.body to the data's body"
            )
        return body
