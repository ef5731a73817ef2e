"""Blender itself opens what we write; it need only be installed for these tests (pip install bpy).

Blender's world is z up: it turns what it reads by a quarter turn about x.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion.body import BodyModel
from motion.body.model import motion_joints, motion_vertices
from motion.export.amass import R_ZUP_YUP
from motion.export.bones import BONES
from motion.export.bvh import write_bvh
from motion.export.gltf import write_glb
from motion.sequence import Motion


@pytest.fixture
def bpy() -> Any:
    """Blender as a module, with an empty scene of 16 frames per second."""
    module = pytest.importorskip("bpy", reason="bpy, Blender as a module, is not installed")
    module.ops.wm.read_factory_settings(use_empty=True)
    module.context.scene.render.fps = 16
    return module


def first(bpy: Any, kind: str, name: str) -> Any:
    return next(o for o in bpy.data.objects if o.type == kind and o.name.startswith(name))


def test_bvh_stands_and_moves_in_metres(
    bpy: Any, tmp_path: Path, body: BodyModel, turning: Motion
) -> None:
    file, _ = write_bvh(tmp_path / "clip.bvh", turning, body)
    bpy.ops.import_anim.bvh(filepath=str(file), frame_start=1)
    armature = first(bpy, "ARMATURE", "")
    joints = (motion_joints(body, turning) @ R_ZUP_YUP.mT).numpy()
    for frame in range(turning.num_frames):
        bpy.context.scene.frame_set(1 + frame)
        heads = [armature.matrix_world @ armature.pose.bones[name].head for name in BONES]
        np.testing.assert_allclose(np.array(heads), joints[frame], atol=1e-5)


def test_glb_is_the_body_at_every_frame(
    bpy: Any, tmp_path: Path, body: BodyModel, turning: Motion
) -> None:
    file = write_glb(tmp_path / "clip.glb", turning, body)
    bpy.ops.import_scene.gltf(filepath=str(file))
    mesh = first(bpy, "MESH", "Body")
    vertices = (motion_vertices(body, turning) @ R_ZUP_YUP.mT).numpy()
    for frame in range(turning.num_frames):
        bpy.context.scene.frame_set(frame)
        posed = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
        flat = np.empty(len(posed.vertices) * 3, np.float32)
        posed.vertices.foreach_get("co", flat)
        world = np.array(mesh.matrix_world)
        placed = flat.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]
        np.testing.assert_allclose(placed, vertices[frame], atol=1e-5)
