"""The flat and lit motion map in torch, on any device, with the same pixels as the numba kernels.

Every step of `motion.body.raster` and `motion.body.shading` is repeated in the same precision and
order, one elementwise operation at a time, so that no compiler fuses a product into a sum: IEEE
arithmetic then gives the same bits on a CPU and a GPU. Two steps need an order of their own. Faces
at the same depth are settled by the least of (depth, face) packed in 64 bits, where `amin` does
not depend on the order of its arguments. Normals are summed corner by corner in the order of the
faces, where a scatter's atomic additions would come in any order.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from motion.body.raster import EMPTY, NEAR_M
from motion.body.shading import AMBIENT, DIFFUSE, LIGHT_M, NUM_CODES, SPECULAR, MapMode

CANDIDATES_AT_ONCE = 1 << 22
"""Pixels of bounding boxes tested at once, about 0.5 GB of temporaries; one box may be larger."""
FRAMES_AT_ONCE = 16
"""Frames drawn at once."""


class Mesh(NamedTuple):
    """What all frames share, on the device that draws: see `make_mesh`."""

    faces: Int[Tensor, "f 3"]
    """Counter-clockwise seen from outside."""
    part_of_vertex: Int[Tensor, "v"]
    faces_of_vertex: Int[Tensor, "v n"]
    """Faces around every vertex in ascending order; f, the number of faces, where there are fewer
    than n."""


def make_mesh(faces: Int[Tensor, "f 3"], part_of_vertex: Int[Tensor, "v"]) -> Mesh:
    """A mesh with its adjacency."""
    num_vertices, num_faces = len(part_of_vertex), len(faces)
    order = faces.flatten().argsort(stable=True)
    vertex = faces.flatten()[order]
    count = torch.bincount(vertex, minlength=num_vertices)
    slot = torch.arange(len(vertex), device=faces.device) - (count.cumsum(0) - count)[vertex]
    shape = (num_vertices, int(count.max()))
    faces_of_vertex = torch.full(shape, num_faces, dtype=torch.long, device=faces.device)
    faces_of_vertex[vertex, slot] = order // 3
    return Mesh(faces.long(), part_of_vertex.long(), faces_of_vertex)


@torch.no_grad()
def draw_motion_map(
    vertices_camera: Float[Tensor, "t v 3"],
    mesh: Mesh,
    intrinsics: Float[Tensor, "3 3"] | Float[Tensor, "t 3 3"],
    height: int,
    width: int,
    *,
    mode: MapMode = "flat",
) -> UInt8[Tensor, "t h w 3"]:
    """`motion.body.render.render_motion_map` of vertices in metres, on their device."""
    frames = len(vertices_camera)
    cameras = intrinsics.float().expand(frames, 3, 3)
    image = torch.full(
        (frames, height, width, 3), 255, dtype=torch.uint8, device=vertices_camera.device
    )
    for start in range(0, frames, FRAMES_AT_ONCE):
        chunk = slice(start, start + FRAMES_AT_ONCE)
        _draw(vertices_camera[chunk].float(), mesh, cameras[chunk], mode, image[chunk])
    return image


def _draw(
    vertices: Float[Tensor, "t v 3"],
    mesh: Mesh,
    cameras: Float[Tensor, "t 3 3"],
    mode: MapMode,
    image: UInt8[Tensor, "t h w 3"],
) -> None:
    """Colors the covered pixels of a white image."""
    _, height, width, _ = image.shape
    screen = _project(vertices, cameras)
    nearest = _nearest(screen, mesh.faces, height, width)
    pixel = (nearest != EMPTY).nonzero()[:, 0]
    face = nearest[pixel] & 0xFFFFFFFF
    corner = mesh.faces[face]
    at = ((pixel // (height * width))[:, None], corner)
    row, column = pixel // width % height, pixel % width
    weights = _weights(screen[at], column.double() + 0.5, row.double() + 0.5)
    normal = _unit(_blend(_normals(vertices, mesh)[at], weights))
    code = _codes(mesh.part_of_vertex[corner], weights, normal)
    channels = torch.stack([code, 0.5 * normal[:, 1] + 0.5, 0.5 * normal[:, 0] + 0.5], 1)
    if mode == "lit":
        channels = _light(_blend(vertices[at], weights), normal)[:, None] * channels + SPECULAR
    image.view(-1, 3)[pixel] = (255.0 * channels + 0.5).to(torch.uint8)


def _project(
    vertices: Float[Tensor, "t v 3"], cameras: Float[Tensor, "t 3 3"]
) -> Float[Tensor, "t v 3"]:
    """Pixel x, pixel y and 1 / depth of every vertex; 1 / depth is 0 for one that is too near."""
    x, y, z = vertices.unbind(-1)
    k = cameras[..., None]
    screen_x = (k[:, 0, 0] * x + k[:, 0, 1] * y) / z + k[:, 0, 2]
    screen_y = k[:, 1, 1] * y / z + k[:, 1, 2]
    # In float64, as the kernel compares.
    screen = torch.stack([screen_x, screen_y, 1.0 / z], -1)
    return torch.where((z.double() >= NEAR_M)[..., None], screen, 0.0)


def _nearest(
    screen: Float[Tensor, "t v 3"], faces: Int[Tensor, "f 3"], height: int, width: int
) -> Int[Tensor, "n"]:
    """The z-buffer of `raster.find_faces`, frame by frame and row by row."""
    nearest = torch.full((len(screen) * height * width,), EMPTY, device=screen.device)
    x, y, inverse = (screen[:, faces, axis] for axis in range(3))
    area = _area(x.double(), y.double())
    left, right = _centers_between(x, width)
    top, bottom = _centers_between(y, height)
    drawn = (inverse != 0).all(-1) & (area < 0) & (left <= right) & (top <= bottom)
    frame, face = drawn.nonzero(as_tuple=True)
    left, right, top, bottom = (side[frame, face].long() for side in (left, right, top, bottom))
    columns = right - left + 1
    for pair, place in _candidates(columns * (bottom - top + 1)):
        row = top[pair] + place // columns[pair]
        column = left[pair] + place % columns[pair]
        on_screen = screen[frame[pair, None], faces[face[pair]]]
        u, v, w = _edge_weights(on_screen, column.double() + 0.5, row.double() + 0.5)
        a, b, c = on_screen[..., 2].double().unbind(-1)
        depth = (1.0 / (u * a + v * b + w * c)).float()
        entry = depth.view(torch.int32).long() << 32 | face[pair]
        entry = torch.where((u >= 0) & (v >= 0) & (w >= 0), entry, EMPTY)
        index = (frame[pair] * height + row) * width + column
        nearest.scatter_reduce_(0, index, entry, "amin")
    return nearest


def _candidates(count: Int[Tensor, "n"]) -> Iterator[tuple[Int[Tensor, "m"], Int[Tensor, "m"]]]:
    """Runs of (which box, which of its pixels), given every box's number of pixels."""
    end = count.cumsum(0)
    first, num_boxes = 0, len(count)
    while first < num_boxes:
        base = end[first] - count[first]
        last = int(torch.searchsorted(end, base + CANDIDATES_AT_ONCE, right=True))
        last = max(last, first + 1)
        boxes = torch.arange(first, last, device=count.device)
        box = boxes.repeat_interleave(count[first:last])
        place = torch.arange(len(box), device=count.device) - (end - count - base)[box]
        yield box, place
        first = last


def _centers_between(
    corners: Float[Tensor, "*t 3"], size: int
) -> tuple[Float[Tensor, "*t"], Float[Tensor, "*t"]]:
    """First and last pixel center that a face can cover along an axis; first > last for none."""
    corners = corners.double()
    first = (corners.amin(-1) - 0.5).ceil().clamp(min=0)
    return first, (corners.amax(-1) - 0.5).floor().clamp(max=size - 1)


def _area(x: Float[Tensor, "*t 3"], y: Float[Tensor, "*t 3"]) -> Float[Tensor, "*t"]:
    ax, bx, cx = x.unbind(-1)
    ay, by, cy = y.unbind(-1)
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


def _edge_weights(
    on_screen: Float[Tensor, "n 3 3"], x: Float[Tensor, "n"], y: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Barycentric coordinates on the screen."""
    xs, ys = on_screen[..., 0].double(), on_screen[..., 1].double()
    scale = 1.0 / _area(xs, ys)
    ax, bx, cx = xs.unbind(-1)
    ay, by, cy = ys.unbind(-1)
    u = ((cx - bx) * (y - by) - (cy - by) * (x - bx)) * scale
    v = ((ax - cx) * (y - cy) - (ay - cy) * (x - cx)) * scale
    return u, v, 1.0 - u - v


def _weights(
    on_screen: Float[Tensor, "n 3 3"], x: Float[Tensor, "n"], y: Float[Tensor, "n"]
) -> Float[Tensor, "n 3"]:
    """Perspective-correct weights of the corners."""
    a, b, c = on_screen[..., 2].double().unbind(-1)
    u, v, w = _edge_weights(on_screen, x, y)
    u, v, w = u * a, v * b, w * c
    return (torch.stack([u, v, w], -1) / (u + v + w)[:, None]).float()


def _blend(values: Float[Tensor, "n 3 3"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """A quantity of the corners at a point of the face."""
    a, b, c = values.unbind(1)
    u, v, w = weights[..., None].unbind(1)
    return u * a + v * b + w * c


def _length(vector: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
    x, y, z = vector.unbind(-1)
    return (x * x + y * y + z * z).sqrt()


def _unit(vector: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """In float64, like the kernel."""
    return vector.double() / _length(vector).double().clamp(min=1e-12)[:, None]


def _normals(vertices: Float[Tensor, "t v 3"], mesh: Mesh) -> Float[Tensor, "t v 3"]:
    a, b, c = vertices[:, mesh.faces].unbind(2)
    ux, uy, uz = (b - a).unbind(-1)
    vx, vy, vz = (c - a).unbind(-1)
    of_face = torch.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], -1)
    of_face = torch.cat([of_face, torch.zeros_like(of_face[:, :1])], 1)
    normals = torch.zeros_like(vertices)
    for around in mesh.faces_of_vertex.unbind(1):
        normals = normals + of_face[:, around]
    length = _length(normals)[..., None]
    return torch.where(length > 0, normals / length, normals)


def _codes(
    parts: Int[Tensor, "n 3"], weights: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]
) -> Float[Tensor, "n"]:
    """The part and facing code, of the nearest corner; the first of equally near ones."""
    u, v, w = weights.unbind(-1)
    corner = torch.where((u >= v) & (u >= w), 0, torch.where(v >= w, 1, 2))
    part = parts.gather(1, corner[:, None])[:, 0]
    return (2 * part + 2 - (normal[:, 2] < 0).long()).double() / NUM_CODES


def _light(point: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Gain of the lit map."""
    ray = _unit(torch.tensor(LIGHT_M, device=point.device) - point)
    x, y, z = (normal * ray).unbind(-1)
    return AMBIENT + DIFFUSE * (x + y + z).clamp(min=0.0)
