"""Body: sparse against full skinning, ours against smplx, and milliseconds per rendered frame.

    python tests/benchmarks/bench_body.py [--rounds 7]

Alternatives run in turn in one process on one thread, so that a busy neighbor slows all of them;
the ratios of the least times are to be quoted. The smplx comparison runs on a random body in
SMPL's layout with pose correctives; vertices are checked to be equal before they are timed.
"""

import argparse
import os
from collections.abc import Callable

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import smplx
import torch
from alternation import alternate
from smplx.utils import Struct

from motion.body import load_body
from motion.body.layout import BodyData
from motion.body.model import BodyModel
from motion.body.raster import rasterize
from motion.body.render import render_motion_map, render_person
from motion.camera import intrinsics, look_at, to_camera
from motion.rotations import matrix_from_rotvec
from motion.skeleton import SMPL_PARENTS

FRAMES = 33
SIZE = 128


def with_gradient(body: BodyModel, index: torch.Tensor | None) -> Callable[[], None]:
    rotvec = 0.3 * torch.randn(1, FRAMES, 24, 3)

    def step() -> None:
        pose = rotvec.clone().requires_grad_()
        body.vertices(matrix_from_rotvec(pose), torch.zeros(1, 10), index=index).sum().backward()

    return step


def bench_sparse(rounds: int) -> None:
    body = load_body("free")
    seconds = alternate(
        rounds,
        full=with_gradient(body, None),
        sparse=with_gradient(body, body.loss_vertices),
        contacts=with_gradient(body, body.contact_vertices),
    )
    print(f"\nskinning, forward and backward, {FRAMES} frames of the free body")
    for name, count in (("full", body.num_vertices), ("sparse", 118), ("contacts", 4)):
        ratio = seconds["full"].wall / seconds[name].wall
        print(f"  {count:6d} vertices  {1e3 * seconds[name].wall:8.2f} ms   {ratio:6.1f} x faster")


def random_smpl() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    v = 6890
    weights = np.zeros((v, 24), np.float32)
    for _ in range(3):
        weights[np.arange(v), rng.integers(0, 24, v)] += rng.random(v, np.float32) + 0.1
    return {
        "v_template": rng.normal(0, 0.5, (v, 3)).astype(np.float32),
        "shapedirs": rng.normal(0, 0.02, (v, 3, 10)).astype(np.float32),
        "posedirs": 0.01 * rng.standard_normal((v, 3, 207), np.float32),
        "J_regressor": rng.dirichlet(np.full(v, 0.01), 24).astype(np.float32),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([SMPL_PARENTS, range(24)]).astype(np.uint32),
        "f": rng.integers(0, v, (50, 3)).astype(np.uint32),
    }


def ours_of(model: dict[str, np.ndarray], *, correctives: bool) -> BodyModel:
    array = {name: torch.from_numpy(value.astype(np.float32)) for name, value in model.items()}
    regressor = array["J_regressor"]
    data = BodyData(
        template=array["v_template"],
        shape_dirs=array["shapedirs"],
        joint_template=regressor @ array["v_template"],
        joint_dirs=torch.einsum("jv,vcs->jcs", regressor, array["shapedirs"]),
        weights=array["weights"],
        faces=array["f"].long(),
        keypoint_of_joint=torch.ones(17, 24) / 24,
        keypoint_vertices=torch.arange(1),
        keypoint_of_vertex=torch.zeros(17, 1),
        contact_vertices=torch.arange(4),
        pose_dirs=array["posedirs"] if correctives else None,
    )
    return BodyModel(data, "random")


def bench_smplx(rounds: int) -> None:
    model = random_smpl()
    theirs = smplx.SMPL("", data_struct=Struct(**model), batch_size=FRAMES)
    ours = ours_of(model, correctives=True)
    rotvec, betas = 0.3 * torch.randn(FRAMES, 24, 3), torch.randn(1, 10)
    R = matrix_from_rotvec(rotvec)

    def run_smplx() -> torch.Tensor:
        pose = rotvec.flatten(1)
        output = theirs(
            betas=betas.expand(FRAMES, 10), global_orient=pose[:, :3], body_pose=pose[:, 3:]
        )
        return output.vertices

    with torch.no_grad():
        error = (run_smplx() - ours.vertices(R, betas[0])).abs().max()
        assert error < 1e-5, error
        seconds = alternate(
            rounds,
            smplx=run_smplx,
            full=lambda: ours.vertices(R, betas[0]),
            loss_vertices=lambda: ours.vertices(R, betas[0], index=ours.loss_vertices),
            joints=lambda: ours.joints(R, betas[0]),
        )
    print(f"\nagainst smplx, forward, {FRAMES} frames, 6890 vertices with pose correctives")
    print(f"  (largest difference of a vertex: {float(error):.1e} m)")
    for name, least in seconds.items():
        ratio = seconds["smplx"].wall / least.wall
        print(f"  {name:14s} {1e3 * least.wall:8.2f} ms   {ratio:6.1f} x faster")


def bench_render(rounds: int) -> None:
    body = load_body("free")
    R = matrix_from_rotvec(0.2 * torch.randn(FRAMES, 24, 3))
    T = look_at(
        torch.tensor([0.0, 0.2, 3.2]), torch.tensor([0.0, -0.2, 0.0]), torch.tensor([0.0, 1, 0])
    )
    vertices = to_camera(body.vertices(R, torch.zeros(10)), T).numpy()
    faces, parts = body.faces.numpy(), body.part_of_vertex.numpy()
    camera = intrinsics(1.4 * SIZE, SIZE, SIZE).numpy()
    color = np.full((body.num_vertices, 3), 0.7, np.float32)
    paper = np.full((SIZE, SIZE, 3), 230, np.uint8)
    raster = rasterize(vertices, faces, camera, SIZE, SIZE)
    clip = (vertices, faces)
    costs = alternate(
        rounds,
        raster=lambda: rasterize(*clip, camera, SIZE, SIZE),
        motion_map=lambda: render_motion_map(*clip, parts, camera, SIZE, SIZE, raster=raster),
        person_shared=lambda: render_person(
            *clip, color, camera, SIZE, SIZE, background=paper, supersample=1, raster=raster
        ),
        person_2x=lambda: render_person(*clip, color, camera, SIZE, SIZE, background=paper),
    )
    seconds = {name: cost.wall for name, cost in costs.items()}
    shared = seconds["raster"] + seconds["motion_map"] + seconds["person_shared"]
    smooth = seconds["raster"] + seconds["motion_map"] + seconds["person_2x"]
    print(f"\nrendering {len(faces)} faces at {SIZE} x {SIZE}, one core, per frame")
    for name, least in (seconds | {"map + person": shared, "map + person_2x": smooth}).items():
        print(f"  {name:16s} {1e3 * least / FRAMES:6.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds per comparison")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bench_sparse(rounds)
    bench_smplx(rounds)
    bench_render(rounds)
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores: quote the ratios")


if __name__ == "__main__":
    main()
