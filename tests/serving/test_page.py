"""The page as a person meets it: Debian's Chromium goes through every job on a server that listens."""

import base64
import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import segue as package
from segue.api.answers import mask_as_grounded_caption
from segue.data import rle
from segue.data.boxes import box_iou
from segue.data.class_colours import palette
from segue.data.export import to_coco
from segue.data.images import png_bytes
from segue.options import Decoding, DescribeOptions, DrawOptions
from segue.serving import create_app, run, samples
from segue.serving.uploads import picture
from segue.types import LayoutBox, Region, Relation
from serving.browsing import chromium, listening

TITLES = ["Caption", "Name the pixels", "Describe a box", "Outline a note", "Draw a sentence"]
UNASKED = "/#job=segment/note"  # a job without an example


@pytest.fixture(scope="module")
def models():
    """The bundled models that `segue serve` serves: name -> folder, name -> predictor."""
    folders = run._named(run._servable())
    return folders, {name: run._loaded(folder, "cpu", "float32", None, None) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def address(models):
    with listening(create_app(models[1], origins=models[0])) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def look(browser, address):
    """Open the page in a window of its own: `look(viewport=...)`. Nothing may ask another address or grumble."""
    contexts, asked, grumbled = [], [], []

    def opened(url=address, at=UNASKED, script=None, **options):
        context = browser.new_context(accept_downloads=True, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: grumbled.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: grumbled.append(str(error)))
        page.goto(url + at)
        return page

    opened.grumbled = grumbled
    yield opened
    for context in contexts:
        context.close()
    assert [
        url for url in asked if not re.match(r"http://127\.0\.0\.1:\d+/|data:|blob:http://127\.0\.0\.1:", url)
    ] == []
    assert grumbled == []


def choose(page, job, sample=None):
    page.get_by_role("tab", name=job).click()
    if sample:
        page.evaluate("document.getElementById('view').ariaLabel = ''")  # an earlier picture's is not waited for
        page.locator(f"[data-sample={sample}]").click()
        page.locator("#view[aria-label^=Picture]").wait_for()


def submit(page, job):
    """Press the job's button, wait for the answer."""
    page.locator("#form").get_by_role("button", name=job).click()
    page.locator("#save:visible, #error:not(:empty)").wait_for()
    assert page.get_by_role("alert").inner_text() == ""


def seen(page, what="#view"):
    """(H, W, 3) int: what the screen shows there."""
    return np.array(Image.open(io.BytesIO(page.locator(what).screenshot())).convert("RGB")).astype(int)


def drawn(page):
    """(H, W, 3) int: the canvas's own pixels."""
    data = page.evaluate("document.getElementById('view').toDataURL()").partition(",")[2]
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def drag(page, start, end):
    """From a pixel of the picture to another, by the mouse; the picture stands in the middle of its frame."""
    frame = page.locator("#view").bounding_box()
    width, height = page.evaluate("[document.getElementById('view').width, document.getElementById('view').height]")
    scale = min(frame["width"] / width, frame["height"] / height)
    left, top = frame["x"] + (frame["width"] - scale * width) / 2, frame["y"] + (frame["height"] - scale * height) / 2
    page.mouse.move(left + start[0] * scale, top + start[1] * scale)
    page.mouse.down()
    page.mouse.move(left + end[0] * scale, top + end[1] * scale, steps=6)
    page.mouse.up()


def changed(before, after, least=12):
    """(H, W) bool: where two pictures differ to the eye."""
    return abs(before - after).max(-1) >= least


def test_every_job_has_its_tab_and_its_samples(look):
    page = look()
    page.locator("#samples img").nth(5).wait_for()
    assert page.get_by_role("tab").all_inner_texts() == TITLES
    assert page.get_by_role("tab", selected=True).inner_text() == "Outline a note"
    assert page.title() == "Segue: words and masks"


def said(caption):
    """A caption as the page shows it, with its score in words."""
    percent = 100 * round(caption.score, 4)
    return f"{caption.text}\n{percent:.{0 if percent >= 10 else 1}f} % likely that people would say so"


def test_the_page_opens_on_a_photograph_that_is_captioned(look, models):
    page = look(at="")
    page.locator("#answer li").first.wait_for()
    assert page.get_by_role("tab", selected=True).inner_text() == "Caption"
    expected = models[1]["captions-photos"].caption(
        picture(samples.sample("photo-motorcycle_left")[1], "image"), options=Decoding(beams=3, num=3)
    )
    assert page.locator("#answer li").first.inner_text().strip() == said(expected[0])
    assert page.evaluate("location.hash") == "#job=caption&sample=photo-motorcycle_left&num=3&model=captions-photos"


def test_an_answer_has_an_address_of_its_own(look):
    page = look()
    choose(page, "Name the pixels", "photo-chelsea")
    page.get_by_label("Labels").fill("cat, sofa & wall")
    submit(page, "Name the pixels")
    address, names = page.evaluate("location.hash"), page.locator(".legend li").all_inner_texts()
    other = look(at=f"/{address}")
    other.locator(".legend li").first.wait_for()
    assert other.get_by_label("Labels").input_value() == "cat, sofa & wall"
    assert other.locator(".legend li").all_inner_texts() == names


def test_a_note_is_outlined_where_the_model_says(look, models):
    page = look()
    choose(page, "Outline a note", "chest-0")
    known, data = samples.sample("chest-0")
    assert page.get_by_role("textbox", name="Note").input_value() == known["note"]
    before, plain = seen(page), drawn(page)
    submit(page, "Outline a note")
    expected = models[1]["reclmis-chest"].segment(picture(data, "image"), known["note"])
    assert changed(before, seen(page)).mean() == pytest.approx(expected.mask.mean(), rel=0.2)
    np.testing.assert_array_equal(changed(plain, drawn(page)), expected.mask)
    assert f"{expected.area} pixels" in page.locator("#answer").inner_text()
    assert f"outlined: {known['note']}" in page.locator("#view").get_attribute("aria-label")
    origin = page.locator("#origin").inner_text()
    for said in ("reclmis-chest", "segue train reclmis", "trained on synthetic pictures only", "Not for diagnosis"):
        assert said in origin


def test_what_each_word_of_a_note_does_is_asked_for_and_seen(look, models):
    page, model = look(), models[1]["reclmis-chest"]
    choose(page, "Outline a note", "chest-0")
    note = "One infected area, upper right lung."
    page.get_by_role("textbox", name="Note").fill(note)
    page.get_by_label("Model").select_option("reclmis-chest")
    plain = drawn(page)
    submit(page, "Outline a note")
    page.get_by_role("button", name="What does each word do?").click()
    page.locator(".word").nth(5).wait_for()
    assert page.locator(".word").all_inner_texts() == ["One", "infected", "area", "upper", "right", "lung"]
    page.locator(".word", has_text="upper").focus()
    page.keyboard.press("Tab")
    right = list(model.attribute_words(picture(samples.sample("chest-0")[1], "image"), note))[4]
    told = f"right: left out, {round(100 * right.change)} % of what is outlined changes"
    assert page.evaluate("document.activeElement.ariaLabel") == told
    np.testing.assert_array_equal(changed(plain, drawn(page), 25), right.lost | right.gained)
    assert (
        page.locator("#view").get_attribute("aria-label").endswith("outlined: only with “right”, only without “right”")
    )
    page.get_by_label("Pixels at least so likely").fill("0.7")  # the words were answered at another threshold
    with page.expect_request("**/segment/note") as again:
        page.get_by_role("button", name="What does each word do?").click()
    assert again.value.post_data_json["threshold"] == 0.7
    page.locator(".word").nth(5).wait_for()
    page.get_by_role("textbox", name="Note").fill("")
    submit(page, "Outline a note")
    assert page.get_by_role("button", name="What does each word do?").count() == 0  # there is no note


def test_what_each_word_of_a_caption_rests_on_is_asked_for_and_seen(look, models):
    page = look()
    choose(page, "Caption", "photo-motorcycle_left")
    page.get_by_label("Model").select_option("captions-photos")
    page.get_by_label("How many captions").fill("2")
    submit(page, "Caption")
    plain, texts = drawn(page), [one.partition("\n")[0] for one in page.locator("#answer li").all_inner_texts()]
    page.get_by_role("button", name="What does each word rest on?").click()
    page.locator(".word").nth(5).wait_for()
    assert page.locator("#why li").all_inner_texts() == texts
    image = picture(samples.sample("photo-motorcycle_left")[1], "image")
    words = models[1]["captions-photos"].attribute_words(image, texts)
    place = [texts[0][one.start : one.end] for one in words[0]].index("motorcycle")
    page.locator(".word").nth(place).focus()
    dark = (plain - drawn(page)).sum(-1) / np.maximum(plain.sum(-1), 1)  # 0 where it stays bright
    rows, columns = (np.linspace(0, length, 13)[1::2].astype(int) for length in dark.shape)
    cells = dark[rows][:, columns]
    falls = words[0][place].falls
    assert np.corrcoef(cells.ravel(), -np.maximum(falls, 0).ravel())[0, 1] > 0.9
    assert np.unravel_index(cells.argmin(), cells.shape) == np.unravel_index(falls.argmax(), falls.shape)
    told = page.locator(".word").nth(place).get_attribute("aria-label")
    assert told.startswith(f"motorcycle: up to {np.exp(falls.max()):.1f} times less likely")
    page.locator(".word").nth(place).blur()
    np.testing.assert_array_equal(drawn(page), plain)


def test_labels_are_named_and_coloured(look):
    page = look()
    choose(page, "Name the pixels", "scene-0")
    assert page.get_by_label("Labels").input_value() == ", ".join(samples.sample("scene-0")[0]["labels"])
    page.get_by_label("Labels").fill("dog, grass,, sky ")
    assert page.get_by_label("Model").locator("option").all_inner_texts() == [
        "photos-encoder",
        "cocu-scenes",
        "groupvit-scenes",
    ]
    page.get_by_label("Model").select_option("cocu-scenes")
    before = seen(page)
    submit(page, "Name the pixels")
    assert "Answered by cocu-scenes" in page.locator("#origin").inner_text()
    assert changed(before, seen(page)).mean() > 0.9  # no background was asked for: every pixel has a name
    names = page.locator(".legend li").all_inner_texts()
    assert {name.split()[0] for name in names} <= {"dog", "grass", "sky"}
    assert sum(float(re.search(r"([\d.]+)%", name)[1]) for name in names) == pytest.approx(100, abs=0.2)


def test_of_several_models_of_a_job_the_chosen_one_answers(look, models):
    page = look()
    choose(page, "Name the pixels", "scene-2")
    page.get_by_label("Labels").fill("dog, grass, sky")
    pixels = picture(samples.sample("scene-2")[1], "image")
    shares = {}
    for name in ("groupvit-scenes", "cocu-scenes"):
        page.get_by_label("Model").select_option(name)
        with page.expect_response("**/segment/labels") as got:
            submit(page, "Name the pixels")
        assert got.value.request.post_data_json["model"] == got.value.json()["model"] == name
        page.locator("#origin", has_text=f"Answered by {name}").wait_for()
        answer = models[1][name].segment(pixels, ["dog", "grass", "sky"])
        there = [(label, (answer.index == i).mean()) for i, label in enumerate(answer.names)]
        shares[name] = [f"{label} {100 * share:.1f}%" for label, share in there if share]
        assert page.locator(".legend li").all_inner_texts() == shares[name]
    assert shares["groupvit-scenes"] != shares["cocu-scenes"]
    for job in TITLES:
        choose(page, job)
        assert page.get_by_label("Model").count() == (job != "Draw a sentence")  # which has one model


def test_an_own_model_beside_a_bundled_one_is_asked_and_names_its_data(look, models, tmp_path):
    mine = shutil.copytree(models[0]["reclmis-chest"], tmp_path / "best")
    config = json.loads((mine / "config.json").read_text())
    config["about"] |= {"data": "my-scans"}
    (mine / "config.json").write_text(json.dumps(config))
    both = {"best": package.load(mine), "reclmis-chest": models[1]["reclmis-chest"]}
    origins = {"best": mine, "reclmis-chest": models[0]["reclmis-chest"]}
    with listening(create_app(both, origins=origins)) as address:
        page = look(url=address)
        choose(page, "Outline a note", "chest-0")
        for name, data in (("reclmis-chest", "trained on synthetic pictures only"), ("best", "trained on my-scans")):
            page.get_by_label("Model").select_option(name)
            submit(page, "Outline a note")
            page.locator("#origin", has_text=f"Answered by {name} (reclmis, segue train reclmis, {data}).").wait_for()


def test_a_picture_of_ones_own_is_captioned(look, models, tmp_path):
    data = samples.sample("scene-1")[1]
    (tmp_path / "mine.png").write_bytes(data)
    page = look(viewport={"width": 1280, "height": 1100})  # all of the page: screenshots of a part would scroll it
    choose(page, "Caption")
    page.locator("#file").set_input_files(tmp_path / "mine.png")
    page.locator("#view[aria-label^=Picture]").wait_for()
    page.get_by_label("How many captions").fill("2")
    before, plain = seen(page, "#work"), drawn(page)
    submit(page, "Caption")
    assert changed(before, seen(page, "#work")[: before.shape[0]]).any()  # the words are on the screen
    np.testing.assert_array_equal(drawn(page), plain)  # nothing is outlined
    expected = models[1]["captions-photos"].caption(picture(data, "image"), options=Decoding(beams=3, num=2))
    lines = page.locator("#answer li").all_inner_texts()
    assert lines == [said(one) for one in expected]
    assert "Not for diagnosis" not in page.locator("#origin").inner_text()


def box_of(page):
    return [int(page.get_by_label(name, exact=True).input_value()) for name in ("x", "y", "width", "height")]


def phrases_of(caption):
    """The buttons of a caption: a phrase, and the mask or masks that are its own."""
    places = dict.fromkeys((one.start, one.end) for one in caption.groundings)
    groups = [[one for one in caption.groundings if (one.start, one.end) == place] for place in places]
    return [(some[0].phrase, np.any([one.mask for one in some], 0)) for some in groups]


def groundings_of(caption):
    """What a click on each button of a caption asks about: its surest mask."""
    return list({(one.start, one.end): one for one in reversed(caption.groundings)}.values())[::-1]


def test_a_box_is_drawn_and_each_phrase_lights_its_own_masks(look, models):
    page = look()
    choose(page, "Describe a box", "scene-2")
    drag(page, (60, 150), (250, 230))
    box = box_of(page)
    assert np.abs(np.subtract(box, [60, 150, 190, 80])).max() <= 1
    plain = drawn(page)
    submit(page, "Describe a box")
    captions = described(models, "scene-2", box)
    lines = page.locator("ol.grounded > li").all_inner_texts()
    assert [line.partition("\n")[0] for line in lines] == [caption.caption for caption in captions]
    page.mouse.move(0, 0)
    resting = drawn(page)
    found = [one for caption in captions for one in phrases_of(caption)]
    assert page.locator(".phrase").all_inner_texts() == [phrase for phrase, _ in found]
    assert any(len(caption.groundings) > len(phrases_of(caption)) for caption in captions)  # "two cats" has two masks
    every = np.any([mask for _, mask in found], 0)
    assert changed(plain, resting, 1)[every].mean() > 0.9  # all are lit at once, things of several captions once
    assert not changed(plain, resting, 1)[~every].any()
    for i, (phrase, mask) in enumerate(found):
        page.locator(".phrase").nth(i).hover()
        lit, others = changed(plain, drawn(page), 1), every & ~mask
        assert lit[mask].mean() > 0.97, phrase  # but where the box's rim is drawn over it
        assert lit[others].mean() < 0.35 if others.any() else True, phrase  # but their outlines, which are dim
        assert f"outlined: {phrase}" in page.locator("#view").get_attribute("aria-label")
        page.mouse.move(0, 0)
        np.testing.assert_array_equal(drawn(page), resting)


def test_a_click_on_a_phrase_asks_about_what_it_means(look, models):
    page = look()
    choose(page, "Describe a box", "scene-0")
    submit(page, "Describe a box")
    first = described(models, "scene-0", box_of(page))
    at, place, box = next(
        (at, place, box)
        for at, caption in enumerate(first)
        for place, grounding in enumerate(groundings_of(caption))
        if box_iou(np.array([box := [round(v) for v in rle.box(rle.encode(grounding.mask))]]), np.array([box_of(page)]))
        < 0.1
    )
    before, seen_before = page.locator("ol.grounded").inner_text(), seen(page, "#answer")
    with page.expect_request("**/describe") as asked:
        page.locator("ol.grounded > li").nth(at).locator(".phrase").nth(place).click()
    assert asked.value.post_data_json["box"] == box_of(page) == box
    page.locator("#form button.go:enabled").wait_for()
    assert page.locator("#error").inner_text() == ""
    assert page.locator("ol.grounded").inner_text() != before
    lines = [line.partition("\n")[0] for line in page.locator("ol.grounded > li").all_inner_texts()]
    assert lines == [caption.caption for caption in described(models, "scene-0", box)]
    after = seen(page, "#answer")
    assert after.shape != seen_before.shape or changed(seen_before, after).any()


def test_every_object_is_described_each_under_its_box(look, models, tmp_path):
    page = look()
    choose(page, "Describe a box", "scene-0")
    page.get_by_label("Captions").fill("2")
    submit(page, "Every object")
    boxes = [one["box"] for one in samples.sample("scene-0")[0]["regions"] if one["thing"]]
    assert len(boxes) > 1
    each = [described(models, "scene-0", box, 2) for box in boxes]
    lines = [line.partition("\n")[0] for line in page.locator("ol.grounded > li").all_inner_texts()]
    assert lines == [caption.caption for captions in each for caption in captions]
    held_against_the_command_line(page, tmp_path, "scene-0", [caption for captions in each for caption in captions])
    page.locator("#answer").get_by_role("button", name="the box").nth(1).click()
    assert box_of(page) == [round(v) for v in boxes[1]]
    last = page.locator(".phrase").last
    last.hover()
    assert f"outlined: {last.inner_text()}" in page.locator("#view").get_attribute("aria-label")
    page.get_by_label("What is in it").fill("dog")  # of one box only
    page.locator("#form input[name=x]").fill("")
    submit(page, "Every object")
    assert [line.partition("\n")[0] for line in page.locator("ol.grounded > li").all_inner_texts()] == lines


def test_a_sentence_is_drawn_corrected_with_a_brush_and_captioned(look, models):
    page = look(permissions=["clipboard-read", "clipboard-write"])
    choose(page, "Draw a sentence")
    page.get_by_role("textbox", name="Sentence").fill("a dog on the grass")
    submit(page, "Draw a sentence")
    pictures = page.locator(".layouts img")
    assert pictures.count() == 4
    with page.expect_download() as got:
        page.get_by_role("button", name="Download PNG").click()
    assert got.value.suggested_filename == "layout-1.png"
    assert np.array(Image.open(got.value.path())).shape == (128, 128)
    for i in range(4):
        shown = seen(page, f".layouts button:nth-child({i + 1}) img")
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 1
        assert re.match(rf"Layout {i + 1}: \w+", pictures.nth(i).get_attribute("alt"))
    pictures.nth(1).click()
    classes = models[1]["crossmodal-scenes"].classes
    before = drawn(page)
    place = next(i for i, colour in enumerate(palette(classes)[: len(classes)]) if not (before == colour).all(-1).any())
    page.get_by_label("Class of the brush").select_option(classes[place])
    page.get_by_label("Size of the brush").fill("4")
    drag(page, (40, 64), (88, 64))
    assert changed(before, drawn(page), 1).sum() > 300
    silent = seen(page, "#answer")
    with page.expect_request("**/caption-layout") as asked:
        page.get_by_role("button", name="Caption it").click()
    page.locator("#words li").nth(2).wait_for()
    assert changed(silent, seen(page, "#answer")[: len(silent)]).any() or len(seen(page, "#answer")) > len(silent)
    sent = base64.b64decode(asked.value.post_data_json["layout"].partition(",")[2])
    values = np.array(Image.open(io.BytesIO(sent)))
    assert values.shape == drawn(page).shape[:2]
    assert (values[64, 41:88] == place).all()
    expected = models[1]["crossmodal-scenes"].caption_layout(values, options=Decoding(beams=4, num=3))
    lines = page.locator("#words li").all_inner_texts()
    assert [line.strip() for line in lines] == [one.caption.strip() for one in expected]
    assert any(re.search("grass|field", line) for line in lines), lines  # most of the layout
    page.get_by_role("button", name="Copy JSON").click()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert [one["text"] for one in copied["captions"]] == [one.caption for one in expected]
    page.get_by_role("button", name="Back").click()
    page.locator(".layouts img").nth(3).wait_for()
    assert page.locator("#view").get_attribute("aria-label") == "No picture yet"  # the layout is put away


def test_the_keyboard_paints_on_a_layout(look):
    page = look()
    choose(page, "Draw a sentence")
    page.get_by_role("textbox", name="Sentence").fill("a dog on the grass")
    page.get_by_label("Layouts").fill("1")
    submit(page, "Draw a sentence")
    page.locator(".layouts img").nth(0).click()
    before = drawn(page)
    page.get_by_label("Size of the brush").fill("4")
    choose_by_keys(page, "#view", back=True)
    page.keyboard.press("ArrowLeft")
    crossed = drawn(page)
    for place in ("0", "1"):  # one of the two is not what is there
        page.get_by_label("Class of the brush").select_option(place)
        choose_by_keys(page, "#view", back=True)
        page.keyboard.press("Space")
        if changed(crossed, drawn(page), 1).sum() > 20:
            break
    painted = np.argwhere(changed(crossed, drawn(page), 1))
    assert len(painted) > 20
    assert np.abs(painted.mean(0) - (64, 60)).max() < 3  # the middle, a step to the left
    assert changed(before, crossed, 1).any()  # the cross is seen


def test_answers_are_copied_and_downloaded(look, models):
    page = look(permissions=["clipboard-read", "clipboard-write"])
    choose(page, "Outline a note", "chest-1")
    submit(page, "Outline a note")
    known, data = samples.sample("chest-1")
    expected = models[1]["reclmis-chest"].segment(picture(data, "image"), known["note"])
    page.get_by_role("button", name="Copy JSON").click()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert (copied["model"], copied["area"]) == ("reclmis-chest", expected.area)
    with page.expect_download() as got:
        page.get_by_role("button", name="Download PNG").click()
    saved = np.array(Image.open(got.value.path()).convert("RGB")).astype(int)
    np.testing.assert_array_equal(saved, drawn(page))


def coco_of(page, tmp_path):
    """What Download COCO saves: read by pycocotools, and as JSON."""
    with page.expect_download() as got:
        page.get_by_role("button", name="Download COCO").click()
    got.value.save_as(tmp_path / "coco.json")
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(tmp_path / "coco.json"), json.loads((tmp_path / "coco.json").read_text())


def held_against_the_command_line(page, tmp_path, sample, captions, categories=()):
    """The page's COCO file is the command line's, and pycocotools makes the same masks of it."""
    coco, made = coco_of(page, tmp_path)
    size = picture(samples.sample(sample)[1], "image").shape[:2]
    expected = to_coco([(f"{sample}.png", captions)], categories, as_polygons=True, sizes=[size])
    assert made["images"] == expected["images"]
    assert made["categories"] == expected["categories"]
    assert len(made["annotations"]) == len(expected["annotations"])
    for one, other in zip(made["annotations"], expected["annotations"], strict=True):
        assert one.pop("score") == pytest.approx(other["score"], abs=1e-4)
        assert one == {key: other[key] for key in one}
    masks = [grounding.mask for caption in captions for grounding in caption.groundings if grounding.mask.any()]
    for one, mask in zip(coco.loadAnns(coco.getAnnIds()), masks, strict=True):
        np.testing.assert_array_equal(coco.annToMask(one).astype(bool), mask)
    return made


def test_the_coco_file_of_a_note_is_the_command_lines(look, models, tmp_path):
    page = look()
    choose(page, "Outline a note", "chest-1")
    submit(page, "Outline a note")
    known, data = samples.sample("chest-1")
    page.get_by_role("textbox", name="Note").fill("Another note, not yet asked.")
    answer = models[1]["reclmis-chest"].segment(picture(data, "image"), known["note"])
    made = held_against_the_command_line(page, tmp_path, "chest-1", [mask_as_grounded_caption(answer)], ("described",))
    assert [one["phrase"] for one in made["annotations"]] == [known["note"]]
    assert isinstance(made["annotations"][0]["segmentation"][0], list)  # polygons, which other tools' imports read


def test_the_coco_file_of_an_empty_mask_has_no_annotation(look, models, tmp_path):
    elsewhere = "One infected area, upper right lung."
    page = look()
    choose(page, "Outline a note", "chest-1")
    page.get_by_role("textbox", name="Note").fill(elsewhere)
    submit(page, "Outline a note")
    answer = models[1]["reclmis-chest"].segment(picture(samples.sample("chest-1")[1], "image"), elsewhere)
    assert answer.area == 0  # the infection is on the left
    made = held_against_the_command_line(page, tmp_path, "chest-1", [mask_as_grounded_caption(answer)], ("described",))
    assert made["annotations"] == []


def test_the_coco_file_of_labels_is_the_command_lines(look, models, tmp_path):
    page = look()
    choose(page, "Name the pixels", "scene-2")
    page.get_by_label("Labels").fill("grass, dog, sky")
    page.get_by_label("Model").select_option("groupvit-scenes")
    submit(page, "Name the pixels")
    names = ("grass", "dog", "sky")
    answer = models[1]["groupvit-scenes"].segment(picture(samples.sample("scene-2")[1], "image"), names)
    made = held_against_the_command_line(page, tmp_path, "scene-2", [mask_as_grounded_caption(answer)], names)
    assert len(made["annotations"]) == 2  # no pixel is a dog's


def test_the_coco_file_of_grounded_captions_is_the_command_lines(look, models, tmp_path):
    page = look()
    choose(page, "Describe a box", "scene-0")
    submit(page, "Describe a box")
    captions = described(models, "scene-0", samples.sample("scene-0")[0]["regions"][0]["box"])
    held_against_the_command_line(page, tmp_path, "scene-0", captions)


def described(models, name, box, num=5):
    """The captions of a box of a sample whose objects and relations are known."""
    known, data = samples.sample(name)
    regions = [Region(one["label"], tuple(one["box"]), thing=one["thing"]) for one in known["regions"]]
    relations = [Relation(**one) for one in known["relations"]]
    pixels = picture(data, "image")
    return models[1]["describe-scenes"].describe(
        pixels, box=box, regions=regions, relations=relations, options=DescribeOptions(num=num)
    )


def test_the_keyboard_alone_goes_through_a_job(look, models):
    page = look()
    page.locator("#samples img").nth(5).wait_for()
    choose_by_keys(page, "[role=tab][aria-selected=true]")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.job") == "describe"
    page.keyboard.press("Enter")
    assert page.locator("[role=tab][tabindex='0']").all_inner_texts() == ["Describe a box"]
    panel = page.get_by_role("tabpanel")
    assert panel.get_attribute("aria-labelledby") == page.get_by_role("tab", selected=True).get_attribute("id")
    assert page.get_by_role("tab", selected=True).get_attribute("aria-controls") == panel.get_attribute("id")
    choose_by_keys(page, "[data-sample=scene-0]")
    page.keyboard.press("Enter")
    page.locator("#view[aria-label^=Picture]").wait_for()
    choose_by_keys(page, "#view", back=True)
    before = [int(page.get_by_label(name, exact=True).input_value()) for name in ("x", "width")]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowRight")
    after = [int(page.get_by_label(name, exact=True).input_value()) for name in ("x", "width")]
    assert after[0] < before[0]
    assert after[1] > before[1]
    choose_by_keys(page, "#form button.go")
    assert float(page.evaluate("getComputedStyle(document.activeElement).outlineWidth").removesuffix("px")) >= 2
    page.keyboard.press("Enter")
    page.locator("#save").wait_for()
    choose_by_keys(page, ".phrase")  # focus lights like the mouse
    phrase = page.evaluate("document.activeElement.innerText")
    assert phrase == phrases_of(described(models, "scene-0", box_of(page))[0])[0][0]
    assert page.locator("#view").get_attribute("aria-label").endswith(f"outlined: {phrase}")


def choose_by_keys(page, what, back=False):
    """Tab until the focus is there."""
    for _ in range(40):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if page.evaluate("what => document.activeElement.matches(what)", what):
            return
    pytest.fail(f"the keyboard does not reach {what}")


# ------------------------------------------------------------------------------------------------ looking closer


def slide(page, label, value):
    page.get_by_label(label).fill(str(value))


def test_a_tab_opens_on_its_example_and_keeps_what_was_done_in_it(look):
    page = look(at="")
    page.locator("#answer li").first.wait_for()
    captions = page.locator("#answer").inner_text()
    page.get_by_role("tab", name="Outline a note").click()
    page.locator("#answer", has_text="pixels").wait_for()  # nobody asked
    first = page.locator("#samples button").nth(0)
    assert first.get_attribute("data-sample") == "chest-0"  # the job's own come first
    choose(page, "Outline a note", "chest-1")
    page.get_by_role("textbox", name="Note").fill("One infected area.")
    submit(page, "Outline a note")
    answer, outlined = page.locator("#answer").inner_text(), drawn(page)
    page.get_by_role("tab", name="Draw a sentence").click()
    assert page.get_by_role("button", name="Copy JSON").is_hidden()  # on a picture of one's own choice nothing is asked
    page.get_by_role("tab", name="Outline a note").click()
    assert page.get_by_role("textbox", name="Note").input_value() == "One infected area."
    assert page.locator("#answer").inner_text() == answer
    np.testing.assert_array_equal(drawn(page), outlined)
    page.get_by_role("tab", name="Caption").click()
    assert page.locator("#answer").inner_text() == ""  # that was of another picture
    assert captions


def test_sliders_act_without_a_request(look, models):
    page = look()
    choose(page, "Outline a note", "chest-1")
    plain = drawn(page)
    submit(page, "Outline a note")
    known, data = samples.sample("chest-1")
    expected = models[1]["reclmis-chest"].segment(picture(data, "image"), known["note"])
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    slide(page, "Pixels at least so likely", 0.9)
    sure = expected.probability >= 0.9
    assert 0 < sure.sum() < expected.area
    assert changed(changed(plain, drawn(page))[..., None] * 1, sure[..., None] * 1, 1).mean() < 0.002  # 8 bits a pixel
    said = page.locator("#answer").inner_text()
    assert int(said.split()[0]) == pytest.approx(sure.sum(), abs=20)
    assert f"on average {100 * expected.probability[sure].mean():.0f} % likely" in said
    assert "SegmentOptions(threshold=0.9)" in page.locator("#code").text_content()
    slide(page, "Colour", 0)
    outline = changed(plain, drawn(page))
    assert 0 < outline.sum() < 0.5 * sure.sum()
    assert asked == []


def test_the_mask_of_a_large_picture_is_kept_coarser_and_lies_where_it_belongs(look, models):
    known, data = samples.sample("chest-1")
    large = np.array(Image.fromarray(picture(data, "image")).resize((2300, 2300)))
    page = look()
    page.locator("#file").set_input_files(
        files=[{"name": "large.png", "mimeType": "image/png", "buffer": png_bytes(large)}]
    )
    page.locator("#view[aria-label='Picture 2300 by 2300']").wait_for()
    page.get_by_role("textbox", name="Note").fill(known["note"])
    page.get_by_label("Model").select_option("reclmis-chest")
    submit(page, "Outline a note")
    mask = models[1]["reclmis-chest"].segment(large, known["note"]).mask
    assert (changed(large.astype(int), drawn(page)) != mask).mean() < 0.002
    slide(page, "Pixels at least so likely", 0.55)
    slide(page, "Pixels at least so likely", 0.5)
    assert int(page.locator("#answer").inner_text().split()[0]) == pytest.approx(mask.sum(), rel=0.01)


def test_names_that_a_picture_hardly_shows_are_told_and_can_be_hidden(look, models):
    names = ["motorcycle", "sky", "cup", "giraffe"]
    page = look()
    choose(page, "Name the pixels", "photo-astronaut")
    page.get_by_label("Labels").fill(", ".join(names))
    submit(page, "Name the pixels")
    answer = models[1]["photos-encoder"].segment(picture(samples.sample("photo-astronaut")[1], "image"), names)
    there = [i for i in range(len(names)) if (answer.index == i).any()]
    for line, i in zip(page.locator(".legend li").all_inner_texts(), there, strict=True):
        shown = float(answer.shown[i])
        assert line.endswith("hardly there" if shown < 0.1 else f"{100 * shown:.0f} % likely to be seen"), line
    assert answer.shown[names.index("giraffe")] < 0.1
    slide(page, "Names at least so likely", 0.35)
    sure = [names[i] for i in there if answer.shown[i] >= 0.35]
    assert 0 < len(sure) < len(there)
    assert page.locator("#view").get_attribute("aria-label").endswith(f"outlined: {', '.join(sure)}")
    page.locator(".legend .point").nth(0).hover()
    assert page.locator("#view").get_attribute("aria-label").endswith(f"outlined: {names[there[0]]}")


def test_the_picture_is_seen_nearer_and_a_box_is_drawn_there(look):
    page = look()
    choose(page, "Describe a box", "scene-0")
    before = page.locator("#view").bounding_box()
    page.get_by_role("button", name="Nearer").click()
    page.locator("#view").focus()
    page.keyboard.press("+")
    near = page.locator("#view").bounding_box()
    assert near["width"] == pytest.approx(2.25 * before["width"], rel=0.01)
    assert near["x"] < before["x"]  # the middle stays in the middle
    drag(page, (100, 100), (140, 130))
    assert np.abs(np.subtract(box_of(page), [100, 100, 40, 30])).max() <= 1
    page.mouse.move(*(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2))
    page.mouse.down(button="middle")
    page.mouse.move(before["x"] + before["width"] / 2 - 60, before["y"] + before["height"] / 2)
    page.mouse.up(button="middle")
    assert page.locator("#view").bounding_box()["x"] == pytest.approx(near["x"] - 60, abs=2)
    page.get_by_role("button", name="Fit").click()
    assert page.locator("#view").bounding_box() == before
    page.locator("#view").dispatch_event("wheel", {"deltaY": -100, "ctrlKey": True, "clientX": 300, "clientY": 300})
    assert page.locator("#view").bounding_box()["width"] > before["width"]


def test_several_boxes_are_described_each_by_itself(look, models):
    page = look()
    choose(page, "Describe a box", "scene-1")
    regions = [one for one in samples.sample("scene-1")[0]["regions"] if one["thing"]]
    page.get_by_label("Captions").fill("1")
    first = box_of(page)
    page.keyboard.down("Shift")
    drag(page, (20, 20), (90, 80))
    page.keyboard.up("Shift")
    assert page.locator(".which").inner_text() == "Box 2 of 2"
    x, y, width, height = min((one["box"] for one in regions), key=lambda box: box[2] * box[3])
    if [x, y, width, height] != first:
        middle = (x + width / 2, y + height / 2)
        drag(page, middle, middle)  # a click takes the object that is there
    boxes = [first, box_of(page)]
    submit(page, "Describe a box")
    lines = [line.partition("\n")[0] for line in page.locator("ol.grounded > li").all_inner_texts()]
    assert lines == [described(models, "scene-1", box, 1)[0].caption for box in boxes]
    other = look(at=f"/{page.evaluate('location.hash')}")
    other.locator("ol.grounded > li").nth(1).wait_for()
    assert [line.partition("\n")[0] for line in other.locator("ol.grounded > li").all_inner_texts()] == lines
    page.get_by_role("button", name="Remove box").click()
    assert page.locator(".which").inner_text() == ""
    assert box_of(page) == first


def test_a_finger_lights_a_phrase_before_it_asks(look):
    page = look(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    choose(page, "Describe a box", "scene-0")
    submit(page, "Describe a box")
    for inside in ("#view", "ol.grounded li:first-child"):  # picture and answer are seen together
        frame = page.locator(inside).bounding_box()
        assert 0 <= frame["y"] < frame["y"] + frame["height"] <= 844, inside
    cover = page.locator("#drop").bounding_box()
    assert page.locator("ol.grounded li:first-child").bounding_box()["y"] >= cover["y"] + cover["height"]
    phrase, asked = page.locator(".phrase").last, []
    page.on("request", lambda request: asked.append(request.url))
    phrase.tap()
    assert page.locator("#view").get_attribute("aria-label").endswith(f"outlined: {phrase.inner_text()}")
    assert asked == []
    with page.expect_request("**/describe"):
        phrase.tap()


def test_the_brush_is_undone_and_a_box_is_moved(look, models):
    page = look()
    choose(page, "Draw a sentence")
    page.get_by_role("textbox", name="Sentence").fill("a dog left of a red car on the grass")
    page.get_by_label("Layouts").fill("2")
    submit(page, "Draw a sentence")
    names = set(page.locator(".legend li").all_inner_texts())
    assert {"car", "grass"} <= names
    page.locator(".layouts button").nth(1).click()
    page.locator("#brush").wait_for()
    before = drawn(page)
    assert page.get_by_role("button", name="Undo").is_disabled()
    page.get_by_label("Class of the brush").select_option("water")
    drag(page, (20, 20), (60, 20))
    painted = drawn(page)
    page.get_by_role("button", name="Undo").click()
    np.testing.assert_array_equal(drawn(page), before)
    page.locator("#view").focus()
    page.keyboard.press("Control+Shift+Z")
    page.evaluate("document.activeElement.blur()")
    np.testing.assert_array_equal(drawn(page), painted)
    page.get_by_role("button", name="Undo").click()
    model = models[1]["crossmodal-scenes"]
    _, layout = model.draw("a dog left of a red car on the grass", options=DrawOptions(num=2, seed=0))
    at = next(i for i, one in enumerate(layout.boxes) if one.label == "car")
    x, y, width, height = layout.boxes[at].box
    page.get_by_label("Move boxes").check()
    with page.expect_request("**/draw") as asked:
        drag(page, (x + width / 2, y + height / 2), (x + width / 2, y + height / 2 - 30))
    sent = asked.value.post_data_json
    moved = [one["box"] for one in sent["boxes"]]
    i = next(i for i, (one, box) in enumerate(zip(layout.boxes, moved, strict=True)) if list(one.box) != box)
    assert moved[i][1] == pytest.approx(layout.boxes[i].box[1] - 30, abs=1.5)
    page.locator("#moving:enabled").wait_for()
    boxes = [LayoutBox(one["label"], tuple(one["box"])) for one in sent["boxes"]]
    (expected,) = model.draw(sent["caption"], boxes=boxes, options=DrawOptions(num=1, seed=sent["seed"]))
    page.get_by_label("Move boxes").uncheck()
    np.testing.assert_array_equal(drawn(page), palette(model.classes)[expected.labels])
    page.get_by_role("button", name="Undo").click()
    np.testing.assert_array_equal(drawn(page), before)


def test_two_notes_are_seen_side_by_side(look):
    page = look()
    choose(page, "Outline a note", "chest-1")
    for note in ("One infected area, upper right lung.", samples.sample("chest-1")[0]["note"]):
        page.get_by_role("textbox", name="Note").fill(note)
        submit(page, "Outline a note")
        page.get_by_role("button", name="Keep to compare").click()
        page.locator("figure", has_text=note).wait_for()
    figures = page.locator("figure")
    assert figures.count() == 2
    left, right = (figures.nth(i).bounding_box() for i in range(2))
    assert left["y"] == right["y"]
    assert left["x"] < right["x"]
    assert "pixels" in figures.nth(0).inner_text()
    figures.nth(0).get_by_role("button", name="Remove").click()
    assert figures.count() == 1
    figures.nth(0).get_by_role("button", name="Remove").click()
    assert page.locator("#kept").is_hidden()


def code_of(page):
    """The answer's question as [Python, curl, command]."""
    return [page.locator("#code pre").nth(i).text_content() for i in range(3)]


def test_an_answer_is_had_again_by_its_python_curl_and_command(look, models, segue, tmp_path, monkeypatch, capsys):
    page = look(permissions=["clipboard-read", "clipboard-write"])
    choose(page, "Outline a note", "chest-1")
    page.get_by_role("textbox", name="Note").fill("One infected area, the patient's left lung.")
    submit(page, "Outline a note")
    python, curl, command = code_of(page)
    page.locator("#code summary").click()
    page.get_by_role("button", name="Copy curl").click()
    assert page.evaluate("navigator.clipboard.readText()") == curl
    (tmp_path / "chest-1.png").write_bytes(samples.sample("chest-1")[1])
    monkeypatch.chdir(tmp_path)
    area = int(page.locator("#answer").inner_text().split()[0])
    exec(compile(python, "copied", "exec"), {})
    assert json.loads(capsys.readouterr().out)["area"] == area
    done = subprocess.run(["bash", "-c", curl], capture_output=True, cwd=tmp_path, timeout=60, check=True)
    assert json.loads(done.stdout)["area"] == area
    status, out, error = segue(*shlex.split(command)[1:], "--json")
    assert (status, error) == (0, error)
    assert json.loads(out)["area"] == area


def ask_for_layouts(page, sentence, count):
    """What the tab that draws asks, of no picture."""
    page.get_by_role("button", name="No picture").click()
    page.get_by_role("textbox", name="Sentence").fill(sentence)
    page.get_by_label("Layouts").fill(str(count))


def test_every_job_is_told_as_code(look, segue, tmp_path, monkeypatch, capsys):
    page = look()
    monkeypatch.chdir(tmp_path)
    for job, sample in ANSWERED.items():
        choose(page, job, sample)
        if sample is None:
            ask_for_layouts(page, "a man's dog on the sand", 1)
        else:
            (tmp_path / f"{sample}.png").write_bytes(samples.sample(sample)[1])
        submit(page, job)
        python, curl, command = code_of(page)
        *before, command = command.split("\n")
        assert curl.count("curl") == 1
        for line in before:
            subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
        exec(compile(python, job, "exec"), {})
        capsys.readouterr()
        status, out, error = segue(*shlex.split(command)[1:], "--json")
        assert status == 0, error
        if job == "Describe a box":
            words = [line.partition("\n")[0] for line in page.locator("ol.grounded > li").all_inner_texts()]
            assert [one["caption"] for one in json.loads(out)["prompts"][0]["captions"]] == words
        if job == "Caption":
            words = [line.partition("\n")[0] for line in page.locator("#answer li").all_inner_texts()]
            assert [one["text"] for one in json.loads(out)["captions"]] == words


def test_how_much_is_done_is_seen_and_a_drawing_is_cancelled(look):
    page = look()
    choose(page, "Draw a sentence")
    page.get_by_role("textbox", name="Sentence").fill("a dog on the grass")
    page.evaluate("""() => {
        const bar = document.getElementById("progress");
        window.told = [];
        new MutationObserver(() => told.push(bar.value)).observe(bar, { attributeFilter: ["value"] });
    }""")
    submit(page, "Draw a sentence")
    told = page.evaluate("told")
    assert len(told) > 2
    assert told == sorted(told)
    go = held(page, "draw")
    page.locator("#form button.go").click()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#form button.go:enabled").wait_for()
    assert page.get_by_role("alert").inner_text() == ""
    assert page.locator("#way").is_hidden()
    go()
    assert page.locator(".layouts img").count() == 4  # the answer before


# ------------------------------------------------------------------------------------------------ every screen

ANSWERED = {
    "Outline a note": "chest-2",
    "Name the pixels": "scene-1",
    "Caption": "scene-2",
    "Describe a box": "scene-1",
    "Draw a sentence": None,
}


def through_all(page):
    """Each job in turn, answered; for the last one the brush too."""
    page.locator("#samples img").nth(5).wait_for()
    for job, sample in ANSWERED.items():
        choose(page, job, sample)
        if sample is None:
            ask_for_layouts(page, "a man on the sand", 2)
        if job == "Name the pixels":
            page.get_by_label("Labels").fill("dog, grass, sky")
        submit(page, job)
        yield job
    page.locator(".layouts button").first.click()
    page.get_by_role("button", name="Caption it").click()
    page.locator("#words li").nth(2).wait_for()
    yield "brush"


# Each text's contrast to what is behind it, by WCAG; what stands on pictures has no text.
CONTRASTS = """() => {
  const shown = [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && e.tagName !== "OPTION"
    && [...e.childNodes].some((c) => c.nodeType === 3 && c.data.trim()) && !e.disabled);
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const page = matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(18, 18, 18)" : "white";
  const over = (...layers) => { for (const c of layers) { pen.fillStyle = c; pen.fillRect(0, 0, 1, 1); } return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = (rgb) => rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  return shown.map((e) => {
    const behind = [];
    for (let at = e; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
    const [a, b] = [light(over(page, ...behind)), light(over(page, ...behind, getComputedStyle(e).color))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), `${e.tagName} ${e.className || e.id}: ${e.textContent.trim().slice(0, 30)}`];
  });
}"""  # noqa: E501
NAMELESS = """() => [...document.querySelectorAll("img, input, textarea, select, button, canvas, nav, section")]
  .filter((e) => e.checkVisibility() && !(e.alt || e.labels?.length || e.ariaLabel || e.textContent.trim() || e.querySelector("img[alt]")))
  .map((e) => e.outerHTML)"""  # noqa: E501


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_and_all_can_be_read_and_has_a_name(look, scheme):
    page = look(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    for job in through_all(page):
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1] == 390, job
        page.evaluate("document.getElementById('error').textContent = 'What goes wrong.'")
        pale = [(round(ratio, 2), what) for ratio, what in page.evaluate(CONTRASTS) if ratio < 4.5]
        assert pale == [], job
        assert page.evaluate(NAMELESS) == [], job
        assert page.locator("#view").get_attribute("aria-label").startswith(("Picture", "Layout", "No picture")), job
    screen = np.array(Image.open(io.BytesIO(page.screenshot())).convert("L"))
    assert (np.median(screen) < 64) == (scheme == "dark")


def swiped(page, start, end):
    """A finger goes from one point of the window to another, as the browser itself gets it."""
    finger = page.context.new_cdp_session(page)
    way = np.linspace(start, end, 12)
    for kind, at in [("touchStart", way[0]), *(("touchMove", at) for at in way[1:]), ("touchEnd", None)]:
        points = [] if at is None else [{"x": float(at[0]), "y": float(at[1])}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(20)


def test_a_finger_draws_a_box_and_scrolls_where_nothing_is_drawn(look):
    page = look(viewport={"width": 390, "height": 500}, has_touch=True, is_mobile=True)
    page.locator("#samples img").nth(5).wait_for()
    choose(page, "Caption", "scene-0")
    page.evaluate("scrollTo(0, 0)")
    frame = page.locator("#view").bounding_box()
    middle = (frame["x"] + frame["width"] / 2, 450)
    swiped(page, middle, (middle[0], 200))
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") > 100
    choose(page, "Describe a box")
    page.locator("#view").scroll_into_view_if_needed()
    before = box_of(page)
    frame, scrolled = page.locator("#view").bounding_box(), page.evaluate("scrollY")
    scale = min(frame["width"], frame["height"]) / 256
    left = frame["x"] + (frame["width"] - 256 * scale) / 2
    swiped(page, *[(left + x * scale, frame["y"] + y * scale) for x, y in ((40, 60), (160, 130))])
    assert box_of(page) != before
    assert np.abs(np.subtract(box_of(page), [40, 60, 120, 70])).max() <= 1
    assert page.evaluate("scrollY") == scrolled
    submit(page, "Describe a box")
    assert page.locator(".grounded li").count() == 5


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_what_the_server_refuses_is_said(look):
    page = look()
    choose(page, "Outline a note")
    page.locator("#form button.go").click()
    assert page.get_by_role("alert").inner_text() == "First choose a picture, or a sample."
    page.locator("#file").set_input_files(files=[{"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}])
    page.locator("#error", has_text="That file is no picture").wait_for()
    choose(page, "Describe a box")
    mine = png_bytes(np.full((40, 60, 3), 90, np.uint8))
    page.locator("#file").set_input_files(files=[{"name": "b.png", "mimeType": "image/png", "buffer": mine}])
    page.locator("#view[aria-label='Picture 60 by 40']").wait_for()
    page.locator("#form button.go").click()
    page.locator("#error", has_text="say in one word what is in the box").wait_for()  # and no option of the command
    assert page.locator("#save").is_hidden()
    page.get_by_label("What is in it").fill("dog")
    submit(page, "Describe a box")
    assert page.locator(".grounded li").count() == 5


def test_a_picture_is_dropped_onto_the_page(look):
    page = look()
    choose(page, "Outline a note")
    page.evaluate("""async () => {
        const canvas = new OffscreenCanvas(50, 30);
        canvas.getContext("2d").fillRect(0, 0, 9, 9);
        const data = new DataTransfer();
        data.items.add(new File([await canvas.convertToBlob()], "c.png", { type: "image/png" }));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }""")  # noqa: E501
    page.locator("#view[aria-label='Picture 50 by 30']").wait_for()
    submit(page, "Outline a note")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_several_pictures_are_dropped_or_pasted(look, kind):
    page = look()
    page.locator("#samples img").nth(12).wait_for()
    page.evaluate(
        """async (kind) => {
        const data = new DataTransfer();
        for (const [name, width] of [["a.png", 50], ["b.png", 40]]) {
            const canvas = new OffscreenCanvas(width, 30);
            canvas.getContext("2d").fillRect(0, 0, 9, 9);
            data.items.add(new File([await canvas.convertToBlob()], name, { type: "image/png" }));
        }
        const about = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
        document.getElementById("drop").dispatchEvent(new (kind === "drop" ? DragEvent : ClipboardEvent)(kind, about));
    }""",
        kind,
    )
    page.locator("#view[aria-label='Picture 50 by 30']").wait_for()
    page.locator("[data-sample='b.png']").click()
    page.locator("#view[aria-label='Picture 40 by 30']").wait_for()
    assert page.locator("[data-sample='b.png']").get_attribute("aria-pressed") == "true"


def chosen_files(*names):
    """Samples as files of one's own, among them one that is no picture."""
    wrong = {"name": "broken.png", "mimeType": "image/png", "buffer": b"nothing"}
    found = [{"name": f"{one}.png", "mimeType": "image/png", "buffer": samples.sample(one)[1]} for one in names]
    return [found[0], wrong, *found[1:]]


def test_one_question_is_asked_of_all_dropped_pictures(look, models):
    page, names = look(), ("chest-0", "chest-1")
    choose(page, "Outline a note")
    assert page.locator("#several").is_hidden()
    letter = {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"Dear all"}
    page.locator("#file").set_input_files([*chosen_files(*names), letter])
    page.locator("#error", has_text="No picture, and left out: letter.txt").wait_for()
    note = "One infected area, upper right lung."
    page.get_by_role("textbox", name="Note").fill(note)
    page.get_by_role("button", name="Ask this of all 3 pictures").click()
    page.get_by_role("status").filter(has_text="2 of 3 pictures answered, 1 not").wait_for()
    assert page.locator("#way").is_hidden()
    assert page.locator(".strip figcaption strong").all_inner_texts() == ["chest-0.png", "broken.png", "chest-1.png"]
    assert "is no picture that can be read" in page.locator(".strip figure").nth(1).inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all answers").click()
    told = json.loads(download.value.path().read_text())
    assert (told["job"], told["question"][0]["note"]) == ("segment/note", note)
    assert [one["file"] for one in told["answers"]] == ["chest-0.png", "broken.png", "chest-1.png"]
    assert told["answers"][1]["error"].startswith("is no picture")
    for name, one in zip(names, told["answers"][::2], strict=True):
        expected = models[1]["reclmis-cxr"].segment(picture(samples.sample(name)[1], "image"), note)
        mask = np.array(Image.open(io.BytesIO(base64.b64decode(one["mask"])))) > 0
        np.testing.assert_array_equal(mask, expected.mask)
        assert (one["area"], "probability" in one) == (expected.area, False)
    page.locator(".thumbnail").nth(1).click()
    page.locator("#save:visible").wait_for()
    assert f"{expected.area} pixels" in page.locator("#answer").inner_text()
    assert page.locator("[data-sample='chest-1.png']").get_attribute("aria-pressed") == "true"
    page.get_by_role("tab", name="Describe a box").click()
    assert page.locator("#several").is_hidden()  # a box is of one picture
    page.get_by_role("button", name="Close").click()
    assert page.locator("#every").is_hidden()


def test_asking_all_pictures_is_cancelled_and_what_was_answered_stays(look):
    page = look()
    choose(page, "Caption")
    page.locator("#file").set_input_files(chosen_files("photo-chelsea", "photo-coffee"))
    go = held(page, "caption")
    page.get_by_role("button", name="Ask this of all 3 pictures").click()
    page.wait_for_timeout(300)
    go()
    page.locator(".strip .wrong").wait_for()
    page.wait_for_timeout(300)  # the third is asked
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("status").filter(has_text="1 of 3 pictures answered, 1 not, then stopped").wait_for()
    assert page.locator(".strip .thumbnail").count() == 1
    assert page.get_by_role("alert").inner_text() == ""
    go()


def held(page, path):
    """Answers to `path` wait until the function that comes back is called."""
    from playwright.sync_api import Error

    waiting = []
    page.route(f"**/{path}", lambda route: waiting.append(route))

    def go():
        with contextlib.suppress(Error):  # of a question that the page has taken back
            waiting.pop().continue_()
        page.wait_for_timeout(300)

    return go


@pytest.mark.parametrize("away", ["tab", "picture"])
def test_an_answer_that_comes_late_is_not_shown_with_another_question(look, away):
    page = look()
    choose(page, "Outline a note", "chest-0")
    go = held(page, "segment/note")
    page.locator("#form button.go").click()
    if away == "tab":
        choose(page, "Name the pixels")
    else:
        choose(page, "Outline a note")
        page.locator("[data-sample=chest-1]").click()
    page.wait_for_timeout(100)
    before = drawn(page)
    go()
    assert page.get_by_role("alert").inner_text() == ""
    assert page.locator("#answer").inner_text() == ""
    np.testing.assert_array_equal(drawn(page), before)
    assert page.locator("#form button.go").is_enabled()


def test_the_answer_is_copied_where_the_address_is_not_safe_enough_for_a_clipboard(look):
    page = look(script="Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    choose(page, "Outline a note", "chest-1")
    submit(page, "Outline a note")
    page.get_by_role("button", name="Copy JSON").click()
    page.get_by_role("textbox", name="Note").fill("")
    page.get_by_role("textbox", name="Note").focus()
    page.keyboard.press("Control+v")
    assert json.loads(page.get_by_role("textbox", name="Note").input_value())["model"] == "reclmis-chest"


def test_the_requests_are_told_without_the_network(look):
    page = look(at="/api.html")
    page.locator("#api section").nth(5).wait_for()
    told = page.request.get(page.url.replace("api.html", "openapi.json")).json()
    assert set(page.locator("#api h2").all_inner_texts()) == {
        f"{method.upper()} {path}" for path, methods in told["paths"].items() for method in methods
    }
    note = page.locator("#api section", has=page.locator("h2", has_text="POST /segment/note"))
    fields = note.locator("tbody tr td:first-child").all_inner_texts()
    assert fields == list(told["components"]["schemas"]["NoteRequest"]["properties"])
    row = note.locator("tr", has_text="threshold").first.inner_text()
    assert "number, 0 to 1" in row
    assert "0.5" in row


def test_a_token_is_asked_for_and_used(look, models):
    with listening(create_app(models[1], token="correct horse", origins=models[0])) as address:
        page = look(url=address)
        page.get_by_label("Token").fill("correct horse")
        page.keyboard.press("Enter")
        page.locator("#samples img").nth(5).wait_for()
        choose(page, "Outline a note", "chest-0")
        submit(page, "Outline a note")
        assert "pixels" in page.locator("#answer").inner_text()
    assert all("401" in said for said in look.grumbled)
    look.grumbled.clear()
