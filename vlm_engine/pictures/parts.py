"""How a still with more detail than one picture can show is cut into parts. Pure."""

from __future__ import annotations

Box = tuple[int, int, int, int]

_OVERLAP = 0.1  # of a part, on each side: what lies on a border is whole in one of them
_WORTH_IT = 1.5


def grid(width: int, height: int, side: int, most: int) -> tuple[int, int]:
    """Columns and rows: at most ``most`` parts, none smaller than a picture of ``side`` pixels can show; else (1, 1)."""
    longest = max(width, height)
    if longest < _WORTH_IT * side:
        return 1, 1
    grids = [
        (columns, rows) for columns in range(1, most + 1) for rows in range(1, most // columns + 1)
    ]
    return min(
        grids,
        key=lambda grid: (max(side, width / grid[0], height / grid[1]), grid[0] * grid[1]),
        default=(1, 1),
    )


def boxes(width: int, height: int, columns: int, rows: int) -> list[Box]:
    """Left, upper, right and lower edge of each part, row by row, neighbours overlapping."""
    across, down = width / columns, height / rows
    return [
        (
            max(0, round((column - _OVERLAP) * across)),
            max(0, round((row - _OVERLAP) * down)),
            min(width, round((column + 1 + _OVERLAP) * across)),
            min(height, round((row + 1 + _OVERLAP) * down)),
        )
        for row in range(rows)
        for column in range(columns)
    ]
