"""Motion maps of the free body at 704 x 1280: frames per second, and where the time goes.

    python tests/benchmarks/bench_render.py [--frames 128] [--threads 2]

Skinning, normals, raster and the picture in memory all count; writing a file does not. On a shared
machine CPU time (of all threads) is the steadier figure: "projected" is what it gives two cores.
Beside it, in the same process: VTK off-screen where it can be imported (`pip install vtk`), the
loop over vertices in Python with which public code colors the same map, and the torch path, on a
GPU where there is one. Pixels of the torch path are compared before it is timed.
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, NamedTuple

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import torch

from motion.body import load_body
from motion.body.raster import EMPTY, LANES, clear, find_faces, project
from motion.body.raster_torch import draw_motion_map, make_mesh
from motion.body.render import render_motion_map, vertex_normals
from motion.camera import intrinsics, look_at, to_camera
from motion.rotations import matrix_from_rotvec

HEIGHT, WIDTH = 704, 1280
CHUNK = 16
"""Frames that are skinned and drawn at a time."""
FOCAL_PX = 1800.0
T_CAMERA_WORLD = look_at(
    torch.tensor([0.0, -0.2, 3.2]), torch.tensor([0.0, -0.2, 0.0]), torch.tensor([0.0, 1.0, 0.0])
)
K = intrinsics(FOCAL_PX, HEIGHT, WIDTH)


class Scene(NamedTuple):
    """A body that waves its limbs about."""

    body: Any
    R_parent_child: torch.Tensor
    faces: np.ndarray
    parts: np.ndarray

    def seen(self, chunk: slice) -> torch.Tensor:
        """Vertices of some frames in the camera frame."""
        with torch.no_grad():
            R = self.R_parent_child[chunk]
            return to_camera(
                self.body.vertices(R, torch.zeros(10, device=R.device)),
                T_CAMERA_WORLD.to(R.device),
            )


def make_scene(frames: int) -> Scene:
    body = load_body("free")
    phase = torch.linspace(0, 4 * np.pi, frames)[:, None, None]
    swing = 0.25 * torch.randn(1, 24, 3, generator=torch.Generator().manual_seed(0))
    R = matrix_from_rotvec(swing * torch.sin(phase + torch.arange(24)[:, None]))
    return Scene(body, R, body.faces.numpy(), body.part_of_vertex.numpy())


def least(action: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Least wall and CPU seconds (of all threads) of an action that has been run once before."""
    action()
    wall, cpu = [], []
    for _ in range(rounds):
        start = time.perf_counter(), time.process_time()
        action()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return min(wall), min(cpu)


def chunks_of(frames: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, frames, CHUNK)]


def draw_clip(scene: Scene, threads: int) -> None:
    """The whole way from rotations to pictures, chunk by chunk, each thread with one buffer."""
    chunks = chunks_of(len(scene.R_parent_child))

    def work(first: int) -> None:
        buffer = np.empty((CHUNK, HEIGHT, WIDTH, 3), np.uint8)
        for chunk in chunks[first::threads]:
            vertices = scene.seen(chunk).numpy()
            render_motion_map(
                vertices,
                scene.faces,
                scene.parts,
                K.numpy(),
                HEIGHT,
                WIDTH,
                out=buffer[: len(vertices)],
            )

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def color_in_python(scene: Scene, vertices: np.ndarray) -> np.ndarray:
    """Vertex colors of one frame by a loop over vertices, as in public rendering scripts."""
    normals = vertex_normals(vertices[None], scene.faces)[0]
    colors = np.zeros((len(vertices), 3), np.float32)
    for i in range(len(vertices)):
        normal = normals[i] / np.linalg.norm(normals[i])
        part = scene.parts[i]
        code = (2 * part + 1) / 48 if normal[2] < 0 else (2 * part + 2) / 48
        colors[i] = [code, normal[1] / 2 + 0.5, normal[0] / 2 + 0.5]
    return colors


def vtk_window(data: Any) -> Any:
    """An off-screen window on a mesh, unlit, seen by the benchmark's camera."""
    import_module("vtkmodules.vtkRenderingOpenGL2")  # selects OpenGL
    core = import_module("vtkmodules.vtkRenderingCore")
    mapper, actor = core.vtkPolyDataMapper(), core.vtkActor()
    renderer, window = core.vtkRenderer(), core.vtkRenderWindow()
    mapper.SetInputData(data)
    actor.SetMapper(mapper)
    actor.GetProperty().LightingOff()
    actor.GetProperty().BackfaceCullingOn()
    renderer.AddActor(actor)
    renderer.SetBackground(1, 1, 1)
    camera = renderer.GetActiveCamera()
    camera.SetPosition(0, 0, 0)
    camera.SetFocalPoint(0, 0, 1)
    camera.SetViewUp(0, -1, 0)
    camera.SetViewAngle(float(np.degrees(2 * np.arctan(HEIGHT / 2 / FOCAL_PX))))
    camera.SetClippingRange(0.5, 10.0)
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(WIDTH, HEIGHT)
    window.AddRenderer(renderer)
    return window


def vtk_drawer(scene: Scene) -> Callable[[slice], None]:
    """Draws frames with VTK: vertex colors, read back to numpy.

    Raises:
        ImportError: VTK is not installed.
    """
    convert = import_module("vtkmodules.util.numpy_support")
    arrays = import_module("vtkmodules.vtkCommonCore")
    model = import_module("vtkmodules.vtkCommonDataModel")
    cells, data, points = model.vtkCellArray(), model.vtkPolyData(), arrays.vtkPoints()
    corners = scene.faces.ravel().astype(np.int64)
    cells.SetData(3, convert.numpy_to_vtkIdTypeArray(corners, deep=True))
    data.SetPolys(cells)
    data.SetPoints(points)
    window, pixels = vtk_window(data), arrays.vtkUnsignedCharArray()
    codes = (2 * scene.parts + 1) / 48

    def draw(chunk: slice) -> None:
        vertices = scene.seen(chunk).numpy()
        normals = vertex_normals(vertices, scene.faces)
        for t in range(len(vertices)):
            x, y, z = normals[t].T
            colors = np.stack([codes + (z >= 0) / 48, y / 2 + 0.5, x / 2 + 0.5], 1)
            points.SetData(convert.numpy_to_vtk(vertices[t], deep=True))
            scalars = convert.numpy_to_vtk((255 * colors + 0.5).astype(np.uint8), deep=True)
            data.GetPointData().SetScalars(scalars)
            points.Modified()
            window.Render()
            window.GetPixelData(0, 0, WIDTH - 1, HEIGHT - 1, 0, pixels, 0)
            shown = convert.vtk_to_numpy(pixels).reshape(HEIGHT, WIDTH, 3)
            assert (shown != 255).any(), "VTK drew nothing"

    return draw


def torch_drawer(scene: Scene, device: str) -> Callable[[slice], torch.Tensor]:
    body = load_body("free").to(device)
    moved = scene._replace(body=body, R_parent_child=scene.R_parent_child.to(device))
    mesh, camera = make_mesh(body.faces, body.part_of_vertex), K.to(device)

    def draw(chunk: slice) -> torch.Tensor:
        image = draw_motion_map(moved.seen(chunk), mesh, camera, HEIGHT, WIDTH)
        if device == "cuda":
            torch.cuda.synchronize()
        return image

    return draw


def bench_stages(scene: Scene, rounds: int) -> None:
    chunk = slice(0, CHUNK)
    vertices = scene.seen(chunk).numpy()
    faces = scene.faces.astype(np.int32)
    camera = K.numpy().astype(np.float32)
    screen = np.empty((vertices.shape[1], 3), np.float32)
    nearest = np.full((HEIGHT, WIDTH + LANES), EMPTY, np.int64)
    buffer = np.empty((len(vertices), HEIGHT, WIDTH, 3), np.uint8)

    def find() -> None:
        for frame in vertices:
            project(frame, camera, screen)
            find_faces(screen, faces, nearest)
            clear(screen, nearest)

    def draw() -> np.ndarray:
        clip = (vertices, scene.faces, scene.parts, camera, HEIGHT, WIDTH)
        return render_motion_map(*clip, out=buffer)

    rows = (draw() != 255).any((2, 3)).sum(1)
    covered = (buffer != 255).any(-1).mean()
    seconds = {
        "skinning and camera": least(lambda: scene.seen(chunk), rounds)[1],
        "normals": least(lambda: vertex_normals(vertices, scene.faces), rounds)[1],
        "projection and visible faces": least(find, rounds)[1],
        "white background": least(lambda: buffer.fill(255), rounds)[1],
    }
    seconds["colors"] = least(draw, rounds)[1] - sum(list(seconds.values())[1:])
    print(
        f"\n{len(faces)} faces, {HEIGHT} x {WIDTH}, person {rows.min() / HEIGHT:.0%} to "
        f"{rows.max() / HEIGHT:.0%} of the height, {covered:.1%} of the pixels"
    )
    print("\n| stage | CPU ms a frame, one thread |\n|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {1e3 * value / CHUNK:.2f} |")


def row(name: str, frames: int, wall: float, cpu: float) -> None:
    print(
        f"| {name} | {frames / wall:.0f} | {1e3 * cpu / frames:.2f} | {2 * frames / cpu:.0f} |",
        flush=True,
    )


def bench_alternatives(scene: Scene, threads: int, rounds: int) -> None:
    frames, few = len(scene.R_parent_child), slice(0, CHUNK)
    print("\n| path | frames/s, wall | CPU ms a frame | on 2 cores, projected |\n|---|---|---|---|")
    for count in sorted({1, threads}):
        wall, cpu = least(lambda n=count: draw_clip(scene, n), rounds)
        row(f"numba, {count} threads", frames, wall, cpu)
    try:
        draw = vtk_drawer(scene)
    except ImportError as error:
        print(f"| VTK off-screen | not measured: {error} | | |")
    else:
        row("VTK off-screen", CHUNK, *least(lambda: draw(few), rounds))
    one = scene.seen(slice(0, 1))[0].numpy()
    loop = least(lambda: color_in_python(scene, one), rounds)
    row("Python loop: vertex colors alone, no raster", 1, *loop)


def bench_torch(scene: Scene, device: str, rounds: int) -> None:
    draw, first = torch_drawer(scene, device), slice(0, CHUNK)
    clip = (scene.faces, scene.parts, K.numpy(), HEIGHT, WIDTH)
    expected = torch.from_numpy(render_motion_map(scene.seen(first).numpy(), *clip))
    different = (draw(first).cpu() != expected).any(-1).sum()
    # Skinning sums in another order on a GPU: the last bit of a vertex may differ.
    assert different < 1e-4 * expected[..., 0].numel(), f"{different} pixels differ"
    chunks = chunks_of(len(scene.R_parent_child)) if device == "cuda" else [first]
    wall, cpu = least(lambda: [draw(chunk) for chunk in chunks], rounds)
    frames = sum(len(scene.R_parent_child[chunk]) for chunk in chunks)
    row(f"torch, {device}", frames, wall, cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=128, help="frames of the clip")
    parser.add_argument("--threads", type=int, default=2, help="threads of the numba path")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds; the least is shown")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scene = make_scene(options.frames)
    bench_stages(scene, options.rounds)
    bench_alternatives(scene, options.threads, options.rounds)
    bench_torch(scene, "cpu", options.rounds)
    if torch.cuda.is_available():
        bench_torch(scene, "cuda", options.rounds)
    else:
        print("| torch, cuda | not measured: no GPU | | |")
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
