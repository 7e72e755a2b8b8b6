"""Where a maze has walls. The start is the top left cell, the goal the bottom right one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.core.option_types import OptionError

_WALLS = 0.3  # share of the cells of a random maze that begin as walls

Walls = NDArray[np.bool_]


def layout(name: str, size: int, seed: int = 0) -> Walls:
    """The walls of a maze.

    Args:
        name: `wall`, a vertical wall in column size // 2 that leaves the first row and the last two rows open (the
            tutorial's); `open`, none; `rooms`, four with a door between each two neighbours; `random`, about a fifth
            of the cells and every cell that cannot be reached.
        size: cells of one side.
        seed: of a random maze, whatever the seeds that are trained in it.

    Returns:
        `[size, size]`, whether a cell is a wall; from the start there is a way to the goal and to every cell.

    Raises:
        OptionError: for another name.
    """
    if name not in LAYOUTS:
        raise OptionError("layout", name, f"there is no such layout; choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name](size, seed)


def _open(size: int, seed: int) -> Walls:
    return np.zeros((size, size), dtype=bool)


def _wall(size: int, seed: int) -> Walls:
    walls = _open(size, seed)
    walls[1 : size - 2, size // 2] = True
    return walls


def _rooms(size: int, seed: int) -> Walls:
    walls = _open(size, seed)
    middle = size // 2
    walls[middle], walls[:, middle] = True, True
    for door in ((middle - 1) // 2, (middle + size) // 2):  # the middle of each half
        walls[middle, door] = walls[door, middle] = False
    return walls


def _random(size: int, seed: int) -> Walls:
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, size], dtype=np.uint64)))
    walls = generator.random((size, size)) < _WALLS
    walls[0, 0] = walls[-1, -1] = False
    cell: tuple[int, int] | None = (size - 1, size - 1)
    _, before = _reach(walls, through_walls=True)
    while cell is not None:  # a way that needs to break fewest walls
        walls[cell] = False
        cell = before[cell]
    reached, _ = _reach(walls, through_walls=False)
    return ~reached


def cells_left(world: Any) -> NDArray[np.float64]:
    """Cells from each of a world of MiniGrid to its nearest goal, `[width, height]`, through doors but not lava."""
    places = [[world.grid.get(x, y) for y in range(world.height)] for x in range(world.width)]
    kinds = np.array([["" if thing is None else thing.type for thing in column] for column in places])
    free, left = ~np.isin(kinds, ["wall", "lava"]), np.where(kinds == "goal", 0.0, kinds.size)
    while True:
        around = np.pad(left, 1, constant_values=kinds.size)
        nearest = np.minimum.reduce([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
        nearer = np.where(free, np.minimum(left, nearest + 1), left)
        if (nearer == left).all():
            return nearer
        left = nearer


def _reach(walls: Walls, *, through_walls: bool) -> tuple[Walls, dict[tuple[int, int], tuple[int, int] | None]]:
    """Cells reached from the start, and the cell before each on a way through the fewest walls (a 0-1 search)."""
    size = len(walls)
    before: dict[tuple[int, int], tuple[int, int] | None] = {(0, 0): None}
    broken = {(0, 0): 0}
    reached = np.zeros_like(walls)
    queue = deque([(0, 0)])
    while queue:
        row, column = here = queue.popleft()
        if reached[here]:
            continue
        reached[here] = True
        for cell in ((row - 1, column), (row, column + 1), (row + 1, column), (row, column - 1)):
            if not (0 <= cell[0] < size and 0 <= cell[1] < size) or (walls[cell] and not through_walls):
                continue
            cost = broken[here] + int(walls[cell])
            if cell not in broken or cost < broken[cell]:
                broken[cell], before[cell] = cost, here
                if walls[cell]:
                    queue.append(cell)
                else:
                    queue.appendleft(cell)
    return reached, before


LAYOUTS: dict[str, Callable[[int, int], Walls]] = {"wall": _wall, "open": _open, "rooms": _rooms, "random": _random}
