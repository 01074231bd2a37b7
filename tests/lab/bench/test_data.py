"""Reading COCO's files is measured on files that are read whole."""

from segue.data.formats import read_pictures
from segue.lab.bench import data
from segue.lab.bench.data import measure_coco


def test_a_picture_of_cocos_files_takes_time_and_memory():
    found = measure_coco(50)
    assert found["read_us"] > 0 <= found["growth_kb"]
    assert found["again_read_us"] > 0 <= found["again_growth_kb"]


def test_what_is_measured_reads_all_of_the_train_split(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "elsewhere")
    seen = []
    monkeypatch.setattr(data, "read_pictures", lambda *rest: seen.append(read_pictures(*rest)) or seen[-1])
    data._write_coco(tmp_path, 50)
    data._read_once(tmp_path)
    val, train = (one.pictures for one in seen)
    assert (len(val), len(train)) == (1, 50)
    assert {(len(one.regions), len(one.captions)) for one in train} == {(7, 5)}
    assert all(region.mask is not None for one in train for region in one.regions)
