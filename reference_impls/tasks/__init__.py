"""Small task families as batched tensors: a row an environment, no loop over tasks.

A family is a frozen dataclass with `horizon`, `observation_size`, `action_size` and `discrete`, and the methods `sample`, `shifted`,
`reset`, `observe`, `step`, `random_return` and `oracle_return`. There is no base class: the algorithms ask for these names only.
Optional: `expected_reward(tasks, state, action)`, and `teacher(action, reward)`, what an expert would have done.

`moved(distance, what)` gives a copy whose tasks are drawn elsewhere, 0 as in training and 1 farthest off, and `moves` says in words what can
move. Its tasks are of the same form, so the family itself can play them.
"""
