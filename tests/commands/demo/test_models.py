from segue.commands.demo.models import loaded
from segue.weights import bundled


def test_a_model_is_loaded_once_whether_by_its_name_or_its_folder():
    calls = []

    def load(folder):
        calls.append(folder)
        return object()

    folder = bundled()["reclmis-chest"]
    assert loaded(load, "reclmis-chest") is loaded(load, folder)
    assert calls == [folder]
