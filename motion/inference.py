"""Sampling from an export: the one entry of command line, evaluation, generation and serving.

`Pipeline.load` joins an export's system with its encoders and body; `Pipeline.sample` turns
prompts into videos, motion maps and motions; `write_result` writes them for people and tools.
"""

import dataclasses
from collections.abc import Sequence
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
from motion.data.procedural import ProceduralConfig, StartFrame, start_frame
from motion.data.video import to_frames, to_video
from motion.encoders import Autoencoder, TextEncoder, load_autoencoder, load_text_encoder
from motion.export.amass import write_amass
from motion.export.provenance import Provenance
from motion.export.video import Panel, write_gif, write_mp4
from motion.exported import export_hash, read_config, read_weights, require_sampled
from motion.models.system import Sample, System
from motion.sequence import Motion
from motion.view.render_motion import Camera, render_motion
from motion.view.strip import strip_png


@dataclass(frozen=True, kw_only=True)
class Result:
    """One finished sample."""

    prompt: str
    fps: float
    rgb: UInt8[np.ndarray, "t h w 3"]
    motion_map: UInt8[np.ndarray, "t h w 3"]
    motion: Motion | None
    """World frame; None where the export predicts no motion (CoMoVi's first stage)."""
    camera: Camera
    """The camera of the video."""
    body: BodyModel
    provenance: Provenance


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
    """By stream: "rgb" and "map"."""
    body: BodyModel
    """On the CPU, where motions are posed and drawn."""
    device: str = "cpu"
    """Where system and encoders lie: "cpu" or "cuda"."""

    @staticmethod
    def load(export: Path | str, *, device: str = "cpu") -> "Pipeline":
        """Read an export; its system and encoders compute on `device`.

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
        module.to(device).eval()
        folder = export / "encoders"
        text = load_text_encoder(folder / "text")
        autoencoders = {name: load_autoencoder(folder / name) for name in ("rgb", "map")}
        for encoder in (text, *autoencoders.values()):
            cast(nn.Module, encoder).to(device)
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
        stride = self.autoencoders["rgb"].temporal_stride
        latents = round((duration_s * self.fps - 1) / stride)
        if latents < 1:
            raise ValueError(
                f"--duration-s {duration_s} is too short; this export makes clips of at least "
                f"{(1 + stride) / self.fps:.2f} s"
            )
        return 1 + latents * stride

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
        **options: JsonValue,
    ) -> list[Result]:
        """One result per prompt, each from a start frame and a noise of its own.

        Sample i takes seed + i for both, so it is the same however many are asked for together.
        """
        chosen = self.options(**options)
        asked = dict(options) if duration_s is None else {**options, "duration_s": duration_s}
        results: list[Result] = []
        for index, prompt in enumerate(prompts):
            start = start_frame(seed + index, self.start_config())
            batch = self._batch(prompt, start, self.num_frames(duration_s))
            generator = torch.Generator().manual_seed(seed + index)
            sample = self.generate(batch, chosen, generator)
            results.append(self._result(sample, prompt, start, seed + index, asked))
        return results

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

    def _result(
        self,
        sample: Sample,
        prompt: str,
        start: StartFrame,
        seed: int,
        asked: dict[str, JsonValue],
    ) -> Result:
        assert sample.rgb is not None
        assert sample.motion_map is not None
        motion = None if sample.motion is None else sample.motion[0]
        if motion is not None and motion.translation is None:
            # The network predicts rotations only: the person stays where the first frame has it.
            held = start.motion.require_translation()[:1].expand(motion.num_frames, 3)
            motion = dataclasses.replace(motion, translation=held.to(motion.R_parent_child))
        provenance = Provenance(
            system=self.config["system"]["kind"],
            export=str(self.export),
            export_hash=self.hash,
            prompt=prompt,
            seed=seed,
            options=asked,
            licences=tuple(self.config["data"].get("licences", ())),
        )
        height, width = start.rgb.shape[:2]
        return Result(
            prompt=prompt,
            fps=self.fps,
            rgb=to_frames(sample.rgb[0]),
            motion_map=to_frames(sample.motion_map[0]),
            motion=motion,
            camera=Camera(
                T_camera_world=start.view.T_camera_world,
                intrinsics=start.view.intrinsics,
                height=height,
                width=width,
            ),
            body=self.body,
            provenance=provenance,
        )


def write_result(result: Result, stem: Path, *, gif: bool = False) -> list[Path]:
    """Write `stem`.mp4 [RGB | motion map | SMPL], .png (strip) and, with a motion, .npz (AMASS).

    `gif` adds the mp4's picture as an endless gif.
    """
    panels = [
        Panel(frames=result.rgb, label="RGB"),
        Panel(frames=result.motion_map, label="motion map", sharp=True),
    ]
    rows = {"RGB": result.rgb, "motion map": result.motion_map}
    written: list[Path] = []
    if result.motion is not None:
        posed = render_motion(result.body, result.motion, camera=result.camera.enlarged(2))
        panels.append(Panel(frames=posed, label="SMPL"))
        rows["SMPL"] = posed
        written.append(
            write_amass(
                stem.with_name(stem.name + ".npz"), result.motion, result.body, result.provenance
            )
        )
    if gif:
        file = stem.with_name(stem.name + ".gif")
        written.append(write_gif(file, panels, result.fps, provenance=result.provenance))
    written.append(
        write_mp4(
            stem.with_name(stem.name + ".mp4"), panels, result.fps, provenance=result.provenance
        )
    )
    written.append(
        strip_png(
            stem.with_name(stem.name + ".png"),
            rows,
            result.fps,
            title=f"“{result.prompt}”",
            provenance=result.provenance,
        )
    )
    return written
