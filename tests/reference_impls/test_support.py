import pytest
import torch

from reference_impls.tasks.support import Support


def test_the_right_answer_is_the_best():
    """The right answer is paid 0, any other less, and it depends on the question and on the category."""
    family, generator = Support(5), torch.Generator().manual_seed(0)
    tasks, question = family.catalogue(), torch.randn(5, 4, generator=generator)
    right = family.right_answer(tasks, question)
    assert torch.allclose(family.step(tasks, question, right, generator)[1], torch.zeros(5), atol=1e-6)
    assert (family.step(tasks, question, right + 0.1, generator)[1] < -0.05).all()
    assert not torch.allclose(right, family.right_answer(tasks, -question))
    assert not torch.allclose(
        family.right_answer(tasks[:1], question[:1]), family.right_answer(tasks[1:2], question[:1])
    )


def test_the_list_is_the_same_for_everybody():
    """The categories are one list, whatever the seed, each with its number; those off the list lie farther out and have none."""
    family = Support()
    assert torch.equal(family.catalogue(), Support().catalogue())
    assert family.ids(family.catalogue()).tolist() == list(range(200))
    far = family.shifted(50, torch.Generator().manual_seed(0))
    assert (far[:, :2].abs().amax(-1) >= 1).all() and (family.ids(far) == -1).all()


def test_references():
    """The oracle of a known category loses nothing, random answers cost about a distance each, and moving keeps the numbers."""
    family, generator = Support(20), torch.Generator().manual_seed(0)
    tasks = family.catalogue()
    assert torch.allclose(family.oracle_return(tasks, generator), torch.zeros(20), atol=1e-4)
    assert (family.random_return(tasks, generator) < -7).all()
    assert torch.equal(family.moved(1.0).catalogue()[:, :2], 2 * tasks[:, :2])
    assert torch.equal(family.ids(family.moved(1.0).catalogue()), family.ids(tasks))
    with pytest.raises(ValueError, match="at least one"):
        Support(0)
