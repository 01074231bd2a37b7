"""Objects by image-text similarity, and given ones."""

import pytest
import torch
import torch.nn.functional as F

from segue.methods.syntic.tagging import find_objects, gather_objects, object_names
from segue.types import InputError, Region


def test_a_picture_gets_the_names_that_it_is_near_to():
    names = torch.eye(6)
    v = F.normalize(torch.tensor([[1.0, 0, 0, 0.9, 0, 0], [0, 0, 5.0, 0, 0, 0]]), dim=-1)
    place, found = find_objects(v, 3 * names, 0.05, max_names=3)
    assert place.shape == found.shape == (2, 3)
    assert place[0, :2].tolist() == [0, 3]
    assert found.tolist() == [[True, True, False], [True, False, False]]
    assert place[1, 0] == 2


def test_of_many_like_names_none_counts_and_few_are_all_looked_at():
    place, found = find_objects(torch.ones(1, 4), torch.ones(40, 4), 1.0)
    assert not found.any()
    place, found = find_objects(torch.ones(1, 4), torch.ones(2, 4), 1.0)
    assert sorted(place[0].tolist()) == [0, 1]
    assert found.all()


def test_given_objects_are_names_once_each_and_padded():
    assert object_names(["dog", Region("cat", (0, 0, 1, 1)), "dog"]) == ["dog", "cat"]
    objects, found = gather_objects(torch.arange(6.0).reshape(3, 2), [[2], [], [0, 1]])
    assert found.tolist() == [[True, False], [False, False], [True, True]]
    assert objects[found].tolist() == [[4, 5], [0, 1], [2, 3]]
    assert gather_objects(torch.ones(3, 2), [[], []])[0].shape == (2, 0, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: object_names([""]), "objects: got ''"),
        (lambda: find_objects(torch.ones(1, 4), torch.ones(2, 5), 1.0), "names: got 5 columns, expected 4"),
        (lambda: find_objects(torch.ones(1, 4), torch.ones(2, 4), 0.0), "a temperature above 0"),
        (lambda: find_objects(torch.ones(1, 4), torch.ones(2, 4), 1.0, max_names=0), "max_names of 1 or more"),
    ],
)
def test_bad_requests_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
