"""Sampling from an export: the one entry of command line, evaluation, generation and serving.

`Pipeline.load` joins an export's system with its encoders and body; `Pipeline.sample` turns
prompts into videos, motion maps and motions; `write_result` writes them for people and tools.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import BaseModel, JsonValue, ValidationError
from torch import Tensor, nn

from motion import models
from motion.batch import Batch
from motion.body import load_body
from motion.body.model import BodyModel
from motion.body.render import MapMode
from motion.completion import CompletionConfig, complete
from motion.conditioning.conditions import Conditions
from motion.conditioning.first_frame import FirstFrame, VideoSpace
from motion.conditioning.observations import Observations
from motion.data.procedural import ProceduralConfig, StartFrame
from motion.data.video import to_frames, to_video
from motion.encoders import Autoencoder, TextEncoder, load_autoencoder, load_text_encoder
from motion.export.provenance import Provenance
from motion.exported import export_hash, read_config, read_weights, require_sampled
from motion.models.system import Sample, System
from motion.offload import OffloadConfig, place, place_encoder
from motion.results import Result, write_result
from motion.view.render_motion import Camera

__all__ = ["Pipeline", "Result", "write_result"]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """An export, ready to sample."""

    export: Path
    hash: str
    """`export_hash` of the export."""
    config: dict[str, Any]
    """The export's config.json."""
    system: System
    text: TextEncoder
    autoencoders: dict[str, Autoencoder]
    """By stream: "rgb" and "map"; none where the system makes motion alone."""
    body: BodyModel
    """On the CPU, where motions are posed and drawn."""
    device: str = "cpu"
    """Where system and encoders lie: "cpu" or "cuda"."""

    @staticmethod
    def load(
        export: Path | str, *, device: str = "cpu", offload: OffloadConfig | None = None
    ) -> "Pipeline":
        """Read an export; its system and encoders compute on `device`, where their weights lie or,
        as `offload` says, visit.

        Raises:
            ValueError: the folder is no export, or its weights do not fit its configuration.
        """
        export = Path(export).expanduser().resolve()
        config = read_config(export)
        kind = config["system"]["kind"]
        require_sampled(kind, f"the export {export}")
        module: nn.Module = models.SYSTEMS[kind].model_validate(config["system"]).build()
        module.load_state_dict(read_weights(export), strict=True)
        assert isinstance(module, System), f"{kind} has sampling options and cannot sample"
        offload = offload or OffloadConfig()
        place(module.eval(), device, offload)
        folder = export / "encoders"
        text = load_text_encoder(folder / "text")
        autoencoders = {
            name: load_autoencoder(folder / name)
            for name in ("rgb", "map")
            if (folder / name).is_dir()
        }
        for encoder in (text, *autoencoders.values()):
            place_encoder(encoder, device, offload)
        return Pipeline(
            export=export,
            hash=export_hash(export),
            config=config,
            system=cast(System, module),
            text=text,
            autoencoders=autoencoders,
            body=load_body(config["body"]),
            device=device,
        )

    @property
    def fps(self) -> float:
        return float(self.config["data"]["fps"])

    @property
    def map_mode(self) -> MapMode:
        """How the motion maps of the training data were rendered; parts are read from flat ones."""
        return self.config["data"].get("map_mode", "flat")

    def num_frames(self, duration_s: float | None) -> int:
        """Frames of a clip: as trained, or the nearest length that the autoencoder can hold.

        Raises:
            ValueError: the duration is shorter than one latent frame after the first.
        """
        if duration_s is None:
            return int(self.config["data"]["num_frames"])
        if not self.makes_video:
            return max(2, round(duration_s * self.fps))
        stride = self.autoencoders["rgb"].temporal_stride
        latents = round((duration_s * self.fps - 1) / stride)
        if latents < 1:
            raise ValueError(
                f"--duration-s {duration_s} is too short; this export makes clips of at least "
                f"{(1 + stride) / self.fps:.2f} s"
            )
        return 1 + latents * stride

    @property
    def makes_video(self) -> bool:
        """Whether samples are videos; otherwise motion alone."""
        return "rgb" in self.autoencoders

    def options(self, **given: JsonValue) -> BaseModel:
        """The export's sampling options with some of them replaced.

        Raises:
            ValueError: an option is unknown to the system or out of range.
        """
        defaults: BaseModel = cast(Any, self.system).config.sampling
        try:
            return type(defaults).model_validate({**defaults.model_dump(), **given})
        except ValidationError as error:
            raise ValueError(f"sampling options {given}: {error}") from error

    def sample(
        self,
        prompts: Sequence[str],
        *,
        seed: int = 0,
        duration_s: float | None = None,
        conditions: Conditions | None = None,
        completion: CompletionConfig | None = None,
        **options: JsonValue,
    ) -> list[Result]:
        """One result per prompt, each from a start frame and a noise of its own.

        Sample i takes seed + i for both, so it is the same however many are asked for together.

        Args:
            prompts: captions.
            seed: of the first sample.
            duration_s: length in seconds; as in training unless given.
            conditions: image and pose of the first frame; a person of the training data by default.
            completion: what is read from the generated map; the root path by default.
            options: of the system.
        """
        if not self.makes_video:
            if conditions is not None or completion is not None:
                raise ValueError(
                    f"an image, a pose or a refinement by the map are for systems that make "
                    f"videos; {self.export} makes motion alone: leave them out"
                )
            return self.moves(
                prompts, seed=seed, duration_s=duration_s, observations=None, **options
            )
        chosen = self.options(**options)
        conditions, completion = conditions or Conditions(), completion or CompletionConfig()
        asked = {**options, **conditions.given(), **completion.given()}
        asked |= {} if duration_s is None else {"duration_s": duration_s}
        results: list[Result] = []
        for index, prompt in enumerate(prompts):
            frame = conditions.first_frame(
                seed + index, self.start_config(), self.body, self._space(), self.device
            )
            batch = self._batch(prompt, frame.start, self.num_frames(duration_s))
            generator = torch.Generator().manual_seed(seed + index)
            sample = self.generate(batch, chosen, generator)
            if sample.motion is not None:
                readable = self.map_mode == "flat"
                whole = complete(sample, batch, self.body, readable=readable, config=completion)
                sample = dataclasses.replace(sample, motion=whole)
            record = self._provenance(prompt, seed + index, asked, chosen)
            results.append(self._result(sample, frame, record))
        return results

    def moves(
        self,
        prompts: Sequence[str] = ("",),
        *,
        seed: int = 0,
        duration_s: float | None = None,
        observations: Observations | None = None,
        **options: JsonValue,
    ) -> list[Result]:
        """Motion alone, one per prompt, of systems that make no video; sample i takes seed + i.

        Args:
            prompts: captions of the whole clip; empty where the observations say what is done.
            seed: of the first sample's noise.
            duration_s: length in seconds; that of the observations, or as in training, unless
                given.
            observations: timeline, keypoints, video, music and key poses to follow.
            options: of the system.
        """
        chosen, given = self.options(**options), observations or Observations()
        asked = {**options, **given.given()}
        asked |= {} if duration_s is None else {"duration_s": duration_s}
        whole = duration_s is not None or not given.given()
        results: list[Result] = []
        for index, prompt in enumerate(prompts):
            batch = given.batch(
                prompt,
                self.text,
                self.body,
                fps=self.fps,
                num_frames=self.num_frames(duration_s) if whole else None,
                device=self.device,
            )
            generator = torch.Generator().manual_seed(seed + index)
            motion = self.generate(batch, chosen, generator).motion
            assert motion is not None, "a system of motion makes one"
            results.append(
                Result(
                    prompt=prompt or (given.timeline or ""),
                    fps=self.fps,
                    rgb=None,
                    motion_map=None,
                    motion=motion[0],
                    camera=None,
                    body=self.body,
                    provenance=self._provenance(prompt, seed + index, asked, chosen),
                )
            )
        return results

    def _provenance(
        self, prompt: str, seed: int, asked: Mapping[str, JsonValue], chosen: BaseModel
    ) -> Provenance:
        return Provenance(
            system=self.config["system"]["kind"],
            export=str(self.export),
            export_hash=self.hash,
            prompt=prompt,
            seed=seed,
            options=dict(asked),
            config={**self.config["system"], "sampling": chosen.model_dump(mode="json")},
            licences=tuple(self.config["data"].get("licences", ())),
        )

    def generate(self, batch: Batch, options: BaseModel, generator: torch.Generator) -> Sample:
        """A sample for the batch's conditions, decoded, on the CPU wherever it was computed."""
        moved = batch.to(self.device)
        made = self.decode(self.system.sample(moved, options, generator=generator))
        return made.to("cpu")

    def decode(self, sample: Sample) -> Sample:
        """The sample with its latents decoded to pixels, where it carries latents."""
        pixels: dict[str, Tensor] = {}
        if sample.latent_rgb is not None:
            pixels["rgb"] = self.autoencoders["rgb"].decode(sample.latent_rgb)
        if sample.latent_map is not None:
            pixels["motion_map"] = self.autoencoders["map"].decode(sample.latent_map)
        return dataclasses.replace(sample, **pixels)

    def _space(self) -> VideoSpace:
        """Sizes of video that the export can make."""
        data, patch = self.config["data"], self.config["system"].get("patch", (1, 1, 1))
        return VideoSpace(
            area=int(data["height"]) * int(data["width"]),
            cell=self.autoencoders["rgb"].spatial_stride * int(patch[1]),
            map_mode=self.map_mode,
            fps=self.fps,
        )

    def start_config(self) -> ProceduralConfig:
        """People, rooms and cameras as in the training data, standing still."""
        data = self.config["data"]
        filmed = {
            "fps": self.fps,
            "height": int(data["height"]),
            "width": int(data["width"]),
            "body": self.config["body"],
            "map_mode": self.map_mode,
        }
        return ProceduralConfig.model_validate({**data.get("clip", {}), **filmed})

    def _batch(self, prompt: str, start: StartFrame, num_frames: int) -> Batch:
        t = num_frames
        text, mask = self.text.encode([prompt])
        present = torch.ones(1, dtype=torch.bool)
        return Batch(
            clip_ids=(prompt,),
            fps=torch.tensor([self.fps]),
            frame_mask=torch.ones(1, num_frames, dtype=torch.bool),
            # Only the first frame is a condition; it is repeated to the length of the clip.
            R_parent_child=start.motion.R_parent_child[None].float().repeat_interleave(t, 1),
            translation=start.motion.require_translation()[None].float().repeat_interleave(t, 1),
            betas=start.motion.betas[None].float(),
            has_motion=present,
            body_id=self.body.body_id,
            text=text[:, None].float().cpu(),
            text_mask=mask[:, None].cpu(),
            has_text=present,
            intrinsics=start.view.intrinsics[None, None].float().expand(1, t, 3, 3),
            T_camera_world=start.view.T_camera_world[None, None].float().expand(1, t, 4, 4),
            has_camera=present,
            latent_rgb=self._encoded("rgb", start.rgb),
            latent_map=self._encoded("map", start.motion_map),
            has_rgb=present,
            has_map=present,
            noise_key=torch.zeros(1, dtype=torch.int64),
        )

    def _encoded(self, name: str, frame: UInt8[np.ndarray, "h w 3"]) -> Tensor:
        """Latent of one frame, on the CPU."""
        video = to_video(frame[None]).to(self.device)
        return self.autoencoders[name].encode(video).cpu()

    def _result(self, sample: Sample, frame: FirstFrame, record: Provenance) -> Result:
        assert sample.rgb is not None
        assert sample.motion_map is not None
        motion = None if sample.motion is None else sample.motion[0]
        rgb, motion_map = to_frames(sample.rgb[0]), to_frames(sample.motion_map[0])
        intrinsics = frame.start.view.intrinsics
        if frame.canvas is not None:
            rgb, motion_map = frame.canvas.restore(rgb), frame.canvas.restore(motion_map)
            intrinsics = frame.canvas.restored_intrinsics(intrinsics)
        return Result(
            prompt=record.prompt,
            fps=self.fps,
            rgb=rgb,
            motion_map=motion_map,
            motion=motion,
            camera=Camera(
                T_camera_world=frame.start.view.T_camera_world,
                intrinsics=intrinsics,
                height=rgb.shape[1],
                width=rgb.shape[2],
            ),
            body=self.body,
            provenance=record,
        )
