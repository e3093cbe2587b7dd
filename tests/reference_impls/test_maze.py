"""The random mazes."""

from __future__ import annotations

from collections import deque

import pytest
import torch

from reference_impls.tasks.maze import MOVES, STEP_COST, Maze


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def open_moves(task: list[float], cell: int) -> list[int]:
    """The open moves of a cell, read from the task by hand."""
    return [move for move in range(4) if task[3 + 4 * cell + move]]


def walk(task: list[float], size: int) -> dict[int, int]:
    """Distance of every cell that can be reached from the start, by plain breadth-first search."""
    distance, waiting = {int(task[0]): 0}, deque([int(task[0])])
    while waiting:
        cell = waiting.popleft()
        for move in open_moves(task, cell):
            row, column = cell // size + MOVES[move][0], cell % size + MOVES[move][1]
            assert 0 <= row < size and 0 <= column < size, "an open move leads out of the maze"
            if row * size + column not in distance:
                distance[row * size + column] = distance[cell] + 1
                waiting.append(row * size + column)
    return distance


@pytest.mark.parametrize("size", [2, 4, 5])
def test_mazes_are_connected_and_distances_those_of_plain_search(size: int) -> None:
    """Every cell can be reached, and the distance to the goal is that of a search of one maze by hand."""
    family = Maze(size, horizon=25)
    tasks = family.sample(50, generator(size))
    for task, shortest in zip(tasks.tolist(), family.shortest(tasks).tolist(), strict=True):
        distance = walk(task, size)
        assert len(distance) == size**2
        assert task[0] != task[1]
        assert shortest == distance[int(task[1])]


def test_without_loops_a_maze_is_a_tree() -> None:
    """With no loops there are as many openings as cells less one; with all walls taken away, every one."""
    tree, bare = Maze(4, loops=0.0).sample(20, generator()), Maze(4, loops=1.0).sample(20, generator())
    assert tree[:, 3:].sum(1).tolist() == [2 * 15] * 20  # each opening is seen from both sides
    assert bare[:, 3:].sum(1).tolist() == [2 * 24] * 20


def test_walls_stop_and_open_moves_lead_on() -> None:
    """A move goes on where it is open and stays where it is not, and the goal pays 1 and ends the episode."""
    family, g = Maze(4), generator(1)
    tasks = family.sample(200, g)
    for move in range(4):
        state = family.reset(tasks)
        following, reward, terminated = family.step(tasks, state, torch.full((200,), move), g)
        for i, task in enumerate(tasks.tolist()):
            cell = int(task[0])
            row, column = MOVES[move]
            expected = cell + 4 * row + column if move in open_moves(task, cell) else cell
            assert following[i, 0].item() == expected
            assert following[i, 1:].tolist() == task[3 + 4 * expected : 7 + 4 * expected]
            assert terminated[i].item() == (expected == int(task[1]))
            assert reward[i].item() == pytest.approx((expected == int(task[1])) - STEP_COST)


def test_shifted_controls_go_the_other_way() -> None:
    """In a shifted task a move does what its opposite does in the same maze of the distribution."""
    family = Maze(4)
    true, turned = family.sample(100, generator(2)), family.shifted(100, generator(2))
    for move in range(4):
        one = family.step(true, family.reset(true), torch.full((100,), move), generator())[0]
        other = family.step(turned, family.reset(turned), torch.full((100,), (move + 2) % 4), generator())[0]
        assert torch.equal(one, other)


def test_random_return_agrees_with_play() -> None:
    """The exact return of random moves is what playing them brings, and a return says how long an episode was."""
    family, g = Maze(4), generator(3)
    tasks = family.sample(8000, g)
    state, total = family.reset(tasks), torch.zeros(8000)
    steps, found = torch.zeros(8000), torch.zeros(8000, dtype=torch.bool)
    for _ in range(family.horizon):
        state, reward, terminated = family.step(tasks, state, torch.randint(4, (8000,), generator=g), g)
        total, steps = total + reward * ~found, steps + ~found
        found |= terminated
    read_steps, read_success = family.steps_and_success(total)
    assert torch.equal(read_steps, steps)
    assert torch.equal(read_success, found)
    assert total.mean().item() == pytest.approx(family.random_return(tasks, g).mean().item(), abs=0.03)
    assert (family.oracle_return(tasks, g) >= total - 1e-5).all()


def test_observation_shows_cell_and_walls_alone() -> None:
    """Two tasks that differ in the goal only look alike, with free leading axes."""
    family = Maze(4)
    tasks = family.sample(6, generator(4)).view(2, 3, -1)
    other = tasks.clone()
    other[..., 1] = (tasks[..., 1] + 1) % 16
    seen = family.observe(family.reset(tasks))
    assert seen.shape == (2, 3, family.observation_size)
    assert torch.equal(seen, family.observe(family.reset(other)))
    assert seen[..., :8].sum(-1).tolist() == [[2.0] * 3] * 2


def test_impossible_settings_are_refused() -> None:
    """A single cell, no step, other moves and an impossible share of loops end with a ValueError."""
    for settings in ({"size": 1}, {"horizon": 0}, {"action_size": 5}, {"loops": 1.5}):
        with pytest.raises(ValueError, match="maze"):
            Maze(**settings)
