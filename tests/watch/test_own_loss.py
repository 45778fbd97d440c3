"""The loss is found among a model's outputs, in whatever form it is given."""

from __future__ import annotations

import torch

from gacheck.watch.own_loss import find_loss


def test_a_loss_in_a_list_of_one_is_that_one() -> None:
    found = find_loss({"loss": torch.ones(1, requires_grad=True) * 3})
    assert found is not None
    assert (found.shape, found.item(), found.requires_grad) == ((), 3, True)


def test_a_loss_for_every_row_is_none() -> None:
    assert find_loss({"loss": torch.ones(2)}) is None
