"""Small task families as batched tensors: a row an environment, no loop over tasks.

A family is a frozen dataclass with `horizon`, `observation_size`, `action_size` and `discrete`, and the methods `sample`, `shifted`,
`reset`, `observe`, `step`, `random_return` and `oracle_return`. There is no base class: the algorithms ask for these names only.
"""
