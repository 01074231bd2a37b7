import pytest

from segue.nn.devices import check_device
from segue.types import InputError


def test_the_cpu_is_always_there():
    assert check_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_not_there_is_reported(name):
    with pytest.raises(InputError, match=r"not there .*expected cpu, or cuda"):
        check_device(name)
