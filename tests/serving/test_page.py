"""The page as a person meets it: Debian's Chromium goes through every job on a server that listens."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import segue as package
from segue.data import rle
from segue.data.images import png_bytes
from segue.data.layouts import palette
from segue.serving import create_app, samples
from segue.serving.uploads import picture
from serving.browsing import chromium, listening

BUNDLED = ("reclmis-chest", "syntic-scenes")
TITLES = ["Outline a note", "Name the pixels", "Caption", "Explain a box", "Draw a sentence"]


@pytest.fixture(scope="module")
def models(tiny_folders):
    """The bundled models, and tiny ones for the jobs without: name -> folder, name -> predictor."""
    folders = {name: package.api.find(name) for name in BUNDLED}
    folders |= {f"{name}-scenes": tiny_folders[name] for name in ("names", "stories", "layouts")}
    return folders, {name: package.load(folder) for name, folder in folders.items()}


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
    """Open the page in a window of its own: `look(width=...)`. Nothing may ask another address or grumble."""
    contexts, asked, grumbled = [], [], []

    def opened(url=address, script=None, **options):
        context = browser.new_context(accept_downloads=True, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: grumbled.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: grumbled.append(str(error)))
        page.goto(url)
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
    assert page.get_by_role("tab", selected=True).inner_text() == TITLES[0]
    assert page.title() == "Segue: words and masks"


def test_a_note_is_outlined_where_the_model_says(look, models):
    page = look()
    choose(page, "Outline a note", "chest-0")
    known, data = samples.sample("chest-0")
    assert page.get_by_label("Note").input_value() == known["note"]
    before, plain = seen(page), drawn(page)
    submit(page, "Outline a note")
    expected = models[1]["reclmis-chest"].segment(picture(data, "image"), known["note"])
    assert changed(before, seen(page)).mean() == pytest.approx(expected.mask.mean(), rel=0.2)
    np.testing.assert_array_equal(changed(plain, drawn(page)), expected.mask)
    assert f"{expected.area} pixels" in page.locator("#answer").inner_text()
    assert f"outlined: {known['note']}" in page.locator("#view").get_attribute("aria-label")
    origin = page.locator("#origin").inner_text()
    for said in ("reclmis-chest", "segue train reclmis", "trained on drawn pictures only", "Not for diagnosis"):
        assert said in origin


def test_labels_are_named_and_coloured(look):
    page = look()
    choose(page, "Name the pixels", "scene-0")
    assert page.get_by_label("Labels").input_value() == ", ".join(samples.sample("scene-0")[0]["labels"])
    page.get_by_label("Labels").fill("dog, grass,, sky ")
    before = seen(page)
    submit(page, "Name the pixels")
    assert changed(before, seen(page)).mean() > 0.9  # no background was asked for: every pixel has a name
    names = page.locator(".legend li").all_inner_texts()
    assert {name.split()[0] for name in names} <= {"dog", "grass", "sky"}
    assert sum(float(re.search(r"([\d.]+)%", name)[1]) for name in names) == pytest.approx(100, abs=0.2)


def test_a_picture_of_ones_own_is_captioned(look, models, tmp_path):
    data = samples.sample("scene-1")[1]
    (tmp_path / "mine.png").write_bytes(data)
    page = look()
    choose(page, "Caption")
    page.locator("#file").set_input_files(tmp_path / "mine.png")
    page.get_by_label("How many captions").fill("2")
    submit(page, "Caption")
    expected = models[1]["syntic-scenes"].caption(picture(data, "image"), 2)
    told = page.locator("#answer li").all_inner_texts()
    assert [line.rsplit(" ", 1)[0] for line in told] == [one.text for one in expected]
    assert "Not for diagnosis" not in page.locator("#origin").inner_text()


def test_a_box_is_drawn_and_a_phrase_lights_its_mask(look):
    page = look()
    choose(page, "Explain a box", "scene-0")
    drag(page, (40, 60), (160, 130))
    box = [int(page.get_by_label(name, exact=True).input_value()) for name in ("x", "y", "width", "height")]
    assert np.abs(np.subtract(box, [40, 60, 120, 70])).max() <= 1
    submit(page, "Explain a box")
    stories = page.locator("ol.stories > li")
    assert stories.count() == 5
    phrase = page.locator(".phrase").first
    assert phrase.inner_text()
    page.mouse.move(0, 0)
    before = seen(page)
    phrase.hover()
    assert changed(before, seen(page)).mean() > 0.5  # the tiny model's masks are the whole picture
    assert f"outlined: {phrase.inner_text()}" in page.locator("#view").get_attribute("aria-label")
    page.mouse.move(0, 0)
    assert changed(before, seen(page)).mean() < 0.01
    with page.expect_request("**/explain") as asked:
        phrase.click()
    assert asked.value.post_data_json["box"] != box  # asks about what was clicked
    page.locator("#form button:enabled").wait_for()
    assert page.locator("#error").inner_text() == ""


def test_a_sentence_is_drawn_corrected_with_a_brush_and_told(look, models):
    page = look(permissions=["clipboard-read", "clipboard-write"])
    choose(page, "Draw a sentence")
    page.get_by_label("Sentence").fill("a dog on the grass")
    submit(page, "Draw a sentence")
    pictures = page.locator(".layouts img")
    assert pictures.count() == 4
    with page.expect_download() as got:
        page.get_by_role("button", name="Download PNG").click()
    assert got.value.suggested_filename == "layout-1.png"
    assert np.array(Image.open(got.value.path())).shape == (32, 32)
    for i in range(4):
        shown = seen(page, f".layouts button:nth-child({i + 1}) img")
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 1
        assert re.match(rf"Layout {i + 1}: \w+", pictures.nth(i).get_attribute("alt"))
    pictures.nth(1).click()
    classes = models[1]["layouts-scenes"].classes
    before = drawn(page)
    place = next(i for i, colour in enumerate(palette(len(classes))) if not (before == colour).all(-1).any())
    page.get_by_label("Class of the brush").select_option(classes[place])
    page.get_by_label("Size of the brush").fill("4")
    drag(page, (10, 16), (22, 16))
    assert changed(before, drawn(page), 1).sum() > 50
    with page.expect_request("**/tell") as asked:
        page.get_by_role("button", name="Tell it").click()
    page.locator("#words li").nth(2).wait_for()
    sent = base64.b64decode(asked.value.post_data_json["layout"].partition(",")[2])
    values = np.array(Image.open(io.BytesIO(sent)))
    assert values.shape == drawn(page).shape[:2]
    assert (values[16, 10:22] == place).all()
    expected = models[1]["layouts-scenes"].tell(values, num=3)
    told = page.locator("#words li").all_inner_texts()
    assert [line.rsplit(" ", 1)[0].strip() for line in told] == [one.caption.strip() for one in expected]
    page.get_by_role("button", name="Copy JSON").click()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert [one["text"] for one in copied["captions"]] == [one.caption for one in expected]
    page.get_by_role("button", name="Back").click()
    page.locator(".layouts img").nth(3).wait_for()
    assert page.locator("#view").get_attribute("aria-label") == "No picture yet"  # the layout is put away


def test_the_keyboard_paints_on_a_layout(look):
    page = look()
    choose(page, "Draw a sentence")
    page.get_by_label("Sentence").fill("a dog on the grass")
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
    assert np.abs(painted.mean(0) - (16, 12)).max() < 3  # the middle, a step to the left
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
    page.get_by_label("Note").fill("Another note, not yet asked.")
    with page.expect_download() as got:
        page.get_by_role("button", name="Download COCO").click()
    coco = json.loads(got.value.path().read_text())
    (one,) = coco["annotations"]
    mask = rle.decode(rle.from_json(one["segmentation"], expected.mask.shape, "mask"))
    np.testing.assert_array_equal(mask, expected.mask)
    assert one["bbox"] == list(rle.box(rle.encode(expected.mask)))
    assert isinstance(one["segmentation"][0], list)  # polygons, which other tools' imports read
    assert coco["images"][0]["file_name"] == "chest-1.png"
    assert coco["categories"][0]["name"] == known["note"]


def test_the_keyboard_alone_goes_through_a_job(look):
    page = look()
    page.locator("#samples img").nth(5).wait_for()
    choose_by_keys(page, "[data-job=explain]")
    page.keyboard.press("Enter")
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
    plain = seen(page)
    choose_by_keys(page, ".phrase")  # focus lights like the mouse
    assert changed(plain, seen(page)).mean() > 0.5


def choose_by_keys(page, what, back=False):
    """Tab until the focus is there."""
    for _ in range(40):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if page.evaluate("what => document.activeElement.matches(what)", what):
            return
    pytest.fail(f"the keyboard does not reach {what}")


# ------------------------------------------------------------------------------------------------ every screen

ANSWERED = {
    "Outline a note": "chest-2",
    "Name the pixels": "scene-1",
    "Caption": "scene-2",
    "Explain a box": "scene-1",
    "Draw a sentence": None,
}


def through_all(page):
    """Each job in turn, answered; for the last one the brush too."""
    page.locator("#samples img").nth(5).wait_for()
    for job, sample in ANSWERED.items():
        choose(page, job, sample)
        if sample is None:
            page.get_by_role("button", name="No picture").click()
            page.get_by_label("Sentence").fill("a man on the sand")
        if job == "Name the pixels":
            page.get_by_label("Labels").fill("dog, grass, sky")
        submit(page, job)
        yield job
    page.locator(".layouts button").first.click()
    page.get_by_role("button", name="Tell it").click()
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


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_what_the_server_refuses_is_said(look):
    page = look()
    choose(page, "Outline a note")
    page.locator("#form button").click()
    assert page.get_by_role("alert").inner_text() == "First choose a picture, or a sample."
    page.locator("#file").set_input_files(files=[{"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}])
    page.locator("#error", has_text="That file is no picture").wait_for()
    choose(page, "Explain a box")
    mine = png_bytes(np.full((40, 60, 3), 90, np.uint8))
    page.locator("#file").set_input_files(files=[{"name": "b.png", "mimeType": "image/png", "buffer": mine}])
    page.locator("#view[aria-label='Picture 60 by 40']").wait_for()
    page.locator("#form button").click()
    page.locator("#error", has_text="no scene graph").wait_for()
    assert page.locator("#save").is_hidden()
    assert "422" in look.grumbled.pop()  # the browser notes what was refused
    page.get_by_label("What is in it").fill("dog")
    submit(page, "Explain a box")
    assert page.locator(".stories li").count() == 5


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


def held(page, path):
    """Answers to `path` wait until the function that comes back is called."""
    waiting = []
    page.route(f"**/{path}", lambda route: waiting.append(route))

    def go():
        with page.expect_response(f"**/{path}") as got:
            waiting.pop().continue_()
        got.value.finished()
        page.wait_for_timeout(100)

    return go


@pytest.mark.parametrize("away", ["tab", "picture"])
def test_an_answer_that_comes_late_is_not_shown_with_another_question(look, away):
    page = look()
    choose(page, "Outline a note", "chest-0")
    go = held(page, "segment/note")
    page.locator("#form button").click()
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
    assert page.locator("#form button").is_enabled()


def test_the_answer_is_copied_where_the_address_is_not_safe_enough_for_a_clipboard(look):
    page = look(script="Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    choose(page, "Outline a note", "chest-1")
    submit(page, "Outline a note")
    page.get_by_role("button", name="Copy JSON").click()
    page.get_by_label("Note").fill("")
    page.get_by_label("Note").focus()
    page.keyboard.press("Control+v")
    assert json.loads(page.get_by_label("Note").input_value())["model"] == "reclmis-chest"


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
