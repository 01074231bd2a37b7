"""Reading COCO's files is measured on files that are read whole."""

from segue.data.formats import check, read_pictures
from segue.lab.bench import data
from segue.lab.bench.data import measure_coco


def test_cocos_files_take_time_and_memory():
    found = measure_coco(50)
    assert {*found} == {"read_s", "read_gb", "check_s", "check_gb"}
    assert all(value > 0 for value in found.values())


def test_what_is_measured_reads_all_of_the_train_split(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MOST_LINKS", 20)
    seen, checked = [], []
    monkeypatch.setattr(data, "read_pictures", lambda *rest: seen.append(read_pictures(*rest)) or seen[-1])
    data._write_coco(tmp_path, 50)
    data._work_once(tmp_path, check=False)
    val, train = (one.pictures for one in seen)
    assert (len(val), len(train)) == (1, 50)
    assert {(len(one.regions), len(one.captions)) for one in train} == {(7, 5)}
    assert all(region.mask is not None for one in train for region in one.regions)
    assert train[-1].load().shape == (480, 640, 3)
    monkeypatch.setattr(check, "_check_regions", lambda report, split, picture: checked.append(picture.name))
    data._work_once(tmp_path, check=True)
    assert checked == [one.name for one in train]
