"""The table of captioners on synthetic scenes, with tiny models."""

from dataclasses import replace

import numpy as np
import pytest

import segue as package
from segue.api.captioner import Captioner, load_captioner
from segue.lab.tables import syntic_scenes as syntic_tables
from segue.lab.tables.syntic_scenes import syntic_moves_table, syntic_scenes_table
from segue.methods.syntic import SYSTEMS
from segue.metrics import java
from segue.metrics.java import NotComputed
from segue.recipes.syntic import train_syntic_scenes
from tiny_captioner import captioner_home, quick_settings


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return captioner_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def quick(home, tmp_path, monkeypatch):
    return quick_settings(home, tmp_path / "run", monkeypatch)


def test_scenes_train_and_their_table_has_all_rows(home, quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        java, "METRICS", {"METEOR": lambda *_: (0.5, np.zeros(4)), "SPICE": lambda *_: NotComputed("x")}
    )
    base = replace(quick, steps=2, pictures=8, support=12)
    rows = syntic_scenes_table(base)
    assert len([row for row in rows if row.experiment == "main"]) == 6 * 5 + 8 * 3 + 4
    assert {row.system for row in rows if row.experiment == "main"} > set(SYSTEMS) - {"neighbours"}
    seeds = [row.seed for row in rows if row.experiment not in ("cosines", "curve")]
    assert seeds == sorted(seeds)
    named = {row.name: row for row in rows}
    assert len(named) == len(rows)
    work = tmp_path / "work" / "syntic_scenes"
    for name in ("main/full/1", "main/clipre/0", "main/close/0"):
        found = named[name].run(named[name].work(work, home))
        assert set(found) == {"bleu4", "meteor", "rouge_l", "cider", "clipscore"}
        assert "spice: not computed: x" in capsys.readouterr().out
        assert all(np.isfinite(value) for value in found.values())
    features = tmp_path / "work" / "features"
    assert len(list(features.glob("images-*"))) == 3  # synthetic, val and test, shared by the rows
    assert len(list(features.glob("optimised-*.npy"))) == 1
    saved = train_syntic_scenes(replace(base, data=home / "scenes", images=tmp_path / "drawn"))
    assert "dog" in package.load(saved).checkpoint.object_names


def test_further_experiments_train_only_what_no_other_row_has_trained(home, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(java, "METRICS", {name: lambda *_: NotComputed("x") for name in ("METEOR", "SPICE")})
    monkeypatch.setattr(syntic_tables, "DOMAIN_B", {"train": 3, "val": 0, "test": 3, "size": 48})
    rows = syntic_scenes_table(replace(quick, steps=2, pictures=8, support=12))
    named, work = {row.name: row for row in rows}, tmp_path / "work" / "syntic_scenes"
    swapped, found = [], {}
    monkeypatch.setattr(Captioner, "with_support", lambda self, texts: swapped.append(len(texts)) or self)
    for name in ("cross_domain/full/0", "cross_domain/full-TT/0", "cross_domain/clipre/0", "cross_domain/clipre-TT/0"):
        found[name] = named[name].run(named[name].work(work, home))
    assert [p.name for p in work.glob("*/last")] == ["last"]
    assert (work / "full-0" / "last").exists()
    assert swapped == [12]  # by full-TT alone: as many captions of the other world as the support set had
    assert found["cross_domain/clipre/0"] != found["cross_domain/clipre-TT/0"]
    assert found["cross_domain/clipre/0"]["clipscore"] > 0
    for name in ("text_share/full 100 %/0", "text_share/full 60 %/0", "web_text/decap, tau of val/0"):
        named[name].run(named[name].work(work, home))
    assert {p.parent.name for p in work.glob("*/last")} == {"full-0", "full-60%-0", "decap-tau=0.02-web-0"}
    assert len(load_captioner(work / "full-60%-0" / "last").checkpoint.support) == 7
    assert any("#" in line for line in (tmp_path / "work" / "data-scenes-web.jsonl").read_text().splitlines())


def test_what_a_decoder_reads_in_training_is_as_at_the_test_where_the_own_caption_is_left_out(
    home, quick, tmp_path, monkeypatch
):
    monkeypatch.setattr(java, "METRICS", {name: lambda *_: NotComputed("x") for name in ("METEOR", "SPICE")})
    fair = "fp_fo, own left out"
    monkeypatch.setitem(syntic_tables.SYSTEMS, fair, {**syntic_tables.SYSTEMS[fair], "tau": 0.01})  # as fp_fo's
    named = {row.name: row for row in syntic_scenes_table(replace(quick, steps=4, evaluations=2, pictures=8))}
    work, found = tmp_path / "work" / "syntic_scenes", {}
    for name in ("decap, tau of val", "fp", "fp_fo", fair):
        row = named[f"cosines/{name}/0"]
        found[name] = row.run(row.work(work, home))
    assert not work.exists() or not list(work.glob("*/last"))  # nothing was trained
    assert found["decap, tau of val"]["training"] == pytest.approx(1, abs=1e-3)
    assert found["fp_fo"]["training"] > found[fair]["training"]
    assert found["fp_fo"]["test"] == found["fp"]["test"] == found[fair]["test"]
    curve = named["curve/full, own left out/0"]
    assert set(curve.run(curve.work(work, home))) == {"cider_2", "cider_4"}


def test_eq_2_moves_features_to_their_captions_and_away_from_where_they_were(home, tmp_path, monkeypatch):
    monkeypatch.setattr(syntic_tables, "MOVED", 8)
    named, work = {row.system: row for row in syntic_moves_table()}, tmp_path / "work" / "syntic_moves"
    found = [named[name].run(named[name].work(work, home)) for name in ("0 x 0", "1e-05 x 100", "0.001 x 100")]
    assert found[0]["to_itself"] == pytest.approx(1, abs=1e-3)
    assert found[0]["to_itself"] > found[1]["to_itself"] > 0.999 > found[2]["to_itself"]
    assert found[0]["to_text"] < found[1]["to_text"] < found[2]["to_text"]
    assert found[0]["r1"] <= found[2]["r1"]
