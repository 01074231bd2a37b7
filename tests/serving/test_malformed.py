"""More than 200 requests as they should not be: none is answered with 5xx, and the server stays as it was."""

import base64
import io
import json
import random
import struct
import zlib

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import segue as package
from data.test_images import BROKEN_EXIF
from methods.sgdiff.toys import toy_example
from segue.data.images import index_png_bytes, png_bytes
from segue.serving import create_app
from serving.test_uploads import PNG, bomb, saved

IMAGE, PICTURE, _ = toy_example()
JSON = {"Content-Type": "application/json"}
CLASSES = np.zeros((1, 3), np.uint8)


NO_JSON = {
    "nothing": b"",
    "null": b"null",
    "a number": b"1e999",
    "text": b'"image"',
    "a list": b"[1]",
    "NaN": b"NaN",
    "bytes": bytes(range(256)),
    "deep lists": b"[" * 100_000,
    "deep lists, closed": b"[" * 5000 + b"]" * 5000,
    "deep objects": b'{"image":' * 50_000,
    "a long number": b'{"image": ' + b"9" * 10_000 + b"}",
    "Latin-1": b'{"image": "\xe9"}',
    "a form": b"image=AAAA",
    "XML": b"<image/>",
    "half a character": b'{"image": "\\ud800"}',
    "a bad escape": b'{"image": "\\x"}',
    "zeros": bytes(5000),
}
KINDS = [
    *("text/plain", "application/xml", "multipart/form-data", "multipart/form-data; boundary=x", "image/png"),
    *("application/json; charset=utf-99", "application/x-www-form-urlencoded", "nonsense", "", "é"),
]
PATHS = [
    *("%00", "a%00b", "index.html%00.png", "samples/%00.png", "%ff%fe", "%ed%a0%80", "a" * 5000, "a/" * 2000),
    *("samples/..%2f..%2fapp.py.png", "..%2f..%2fapp.py", "%2e%2e/%2e%2e/app.py", "%5c%5chost%5cshare", "C:%5c"),
    *("samples/" + "x" * 3000 + ".png", "samples/chest-9.png", "samples/chest-.png", "style.css/x"),
]


def sent(data: bytes) -> str:
    return base64.b64encode(data).decode()


SENT, LAYOUT = sent(png_bytes(IMAGE)), sent(index_png_bytes(np.zeros((32, 32), np.uint8), CLASSES))
REGIONS = [{"label": r.label, "box": list(r.box)} for r in PICTURE.regions]
GOOD = {
    "segment/note": {"image": SENT, "note": "One infected area, upper left lung.", "threshold": 0.5},
    "segment/labels": {"image": SENT, "labels": ["dog", "grass"], "background": 0.1},
    "caption": {"image": SENT, "num": 1},
    "describe": {
        "image": SENT, "box": [4, 10, 10, 12], "regions": REGIONS, "num": 1, "seed": 0, "include": [], "every": False,
        "relations": [{"subject": 0, "predicate": "left of", "object": 1}],
    },
    "draw": {"caption": "a dog on the grass", "num": 1, "seed": 0, "guidance": 2.0, "temperature": 1.0, "keep": LAYOUT},
    "caption-layout": {"layout": LAYOUT, "num": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tiny_models, tiny_model):
    models = tiny_models | {"notes": package.load(tiny_model)}
    with TestClient(create_app(models), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def stays_as_it_was(client):
    """Good requests have the same answers before and after all the bad ones."""
    before = {path: client.post(f"/{path}", json=asked) for path, asked in GOOD.items()}
    assert {path: answer.status_code for path, answer in before.items()} == dict.fromkeys(GOOD, 200)
    yield
    assert {path: client.post(f"/{path}", json=asked).json() for path, asked in GOOD.items()} == {
        path: answer.json() for path, answer in before.items()
    }


def wrong_values():
    """Every field of every job, with values that it can't have."""
    values = [True, -1, 10**30, float("nan"), float("-inf"), [], {}, [[[]]], {"$ref": "/etc/passwd"}, "x" * 1_000_000]
    for path, good in GOOD.items():
        for field in good:
            for value in [None, *values]:
                if not _allowed(path, field, value):
                    yield f"{path} {field}={str(value)[:20]}", path, json.dumps(good | {field: value})


def _allowed(path, field, value):
    return (
        (value is None and path == "draw" and field in ("guidance", "temperature"))  # the drawing's own
        or (value is None and field in ("note", "background", "threshold", "regions", "keep"))
        or (value == [] and field in ("include", "relations", "regions"))
        or (value is True and field in ("num", "seed", "guidance", "temperature"))
    )


def wrong_texts():
    """Halves of a character, characters of none, texts that are not the tokenizer's."""
    texts = ["\ud800", "dog \udfff", "\x00", "\u202e\ufeff", "🐕" * 100, "a " * 900, "?!", "�"]
    for path, field in (("segment/note", "note"), ("draw", "caption")):
        for text in texts:
            yield f"{path} {field}={text[:9]!r}", path, json.dumps(GOOD[path] | {field: text})
    for text in texts:
        yield f"labels {text[:9]!r}", "segment/labels", json.dumps(GOOD["segment/labels"] | {"labels": [text, "dog"]})
        yield f"include {text[:9]!r}", "describe", json.dumps(GOOD["describe"] | {"include": [text[:150]]})
        named = [{"label": text[:150], "box": [1, 1, 5, 5]}]
        yield f"regions {text[:9]!r}", "describe", json.dumps(GOOD["describe"] | {"regions": named, "relations": []})
        yield f"model {text[:9]!r}", "caption", json.dumps(GOOD["caption"] | {"model": text[:150]})
        yield f"key {text[:9]!r}", "caption", json.dumps(GOOD["caption"] | {text: 1})
        yield f"image {text[:9]!r}", "caption", json.dumps({"image": text})


def wrong_places():
    """Boxes, points, scribbles and graphs that can't be."""
    boxes = [[-50, -50, 10, 10], [4, 4, -3, 5], [4, 4, 0, 0], [1e6, 0, 1, 1], [0, 0, 1e7, 1], [1], ["a"] * 4]
    nowhere = [{"box": box} for box in boxes]
    nowhere += [{"box": None, "point": point} for point in ([-1, -1], [500, 3], [1, 2, 3], [None, 1])]
    nowhere += [{"box": None, "scribble": line} for line in ([], [[900, 900]], [[1]], [[0, 0]] * 2000)]
    nowhere += [
        {"box": None},
        {"point": [3, 3]},
        {"include": ["nonsenseword"]},
        {"include": ["a"] * 9},
        {"regions": []},
    ]
    nowhere += [{"regions": [{"label": "dog", "box": box}]} for box in ([-99, 0, 5, 5], [5, 5, -9, 1], [9, 9, 0, 0])]
    edges = [(0, 9), (9, 0), (-1, 0), (0.5, 1), ("0", None), (2**70, 0)]
    nowhere += [{"relations": [{"subject": a, "predicate": "on", "object": b}]} for a, b in edges]
    for more in nowhere:
        yield f"describe {str(more)[:60]}", "describe", json.dumps(GOOD["describe"] | more)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(*chunks):
    """A sound PNG with these chunks after its head."""
    return PNG[:33] + b"".join(chunk(*one) for one in chunks) + PNG[33:]


def pictures():
    """Files that are no pictures, hurt pictures, and pictures of odd kinds."""
    dice = random.Random(0)
    for kind in ("PNG", "JPEG", "WEBP"):
        data = saved(kind)
        for share in (0.02, 0.2, 0.5, 0.9, 0.99):
            yield f"{kind} cut at {share}", data[: int(share * len(data))]
        for i in range(12):
            hurt = bytearray(data)
            for _ in range(1 + i):
                hurt[dice.randrange(min(len(data), 60 if i % 2 else len(data)))] = dice.randrange(256)
            yield f"{kind} hurt {i}", bytes(hurt)
    for kind in ("GIF", "BMP", "TIFF", "PPM", "EPS", "PDF", "ICO"):
        yield kind, saved(kind)
        yield f"{kind} cut", saved(kind)[:20]
    for size in ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (0, 0), (0, 5), (2**32 - 1, 1), (9000, 1)):
        yield f"PNG that promises {size}", bomb(*size)
    huge = zlib.compress(b"\0" * 80_000_000)
    yield "PNG with a text of 80 MB", png_with((b"zTXt", b"a\0\0" + huge))
    yield "PNG with a profile of 80 MB", png_with((b"iCCP", b"a\0\0" + huge))
    yield "PNG with a broken profile", png_with((b"iCCP", b"a\0\0xx"))
    yield "PNG with broken EXIF", png_with((b"eXIf", b"II*\0\xff\xff\xff\xff"))
    for name, exif in BROKEN_EXIF.items():
        yield f"PNG with EXIF: {name}", png_with((b"eXIf", exif))
    yield (
        "PNG with EXIF of orientation 99",
        png_with((b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0")),
    )
    yield "PNG with a second head", png_with((b"IHDR", PNG[16:29]))
    yield "PNG without pixels", PNG[:33] + chunk(b"IEND", b"")
    yield "zeros", bytes(1000)
    yield "text", b"<svg xmlns='http://www.w3.org/2000/svg'/>"


def odd_pictures():
    """Sound, but rare: shapes and modes."""
    for width, height in ((1, 1), (8192, 1), (1, 8192), (2, 3), (3000, 2), (400, 20)):
        yield f"{width}x{height}", png_bytes(np.full((height, width, 3), 77, np.uint8))
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16", "CMYK"):
        buffer = io.BytesIO()
        Image.new(mode, (20, 10)).save(buffer, format="JPEG" if mode == "CMYK" else "PNG")
        yield f"mode {mode}", buffer.getvalue()


def layouts():
    """Layouts of odd shapes, with classes that are not there, or that are pictures."""
    for height, width in ((1, 1), (1, 3000), (3000, 1), (7, 5)):
        yield f"{width}x{height}", index_png_bytes(np.zeros((height, width), np.uint8), CLASSES)
    for value in (32, 200, 254, 255):
        yield f"class {value}", index_png_bytes(np.full((32, 32), value, np.uint8), CLASSES)
    yield "colours", png_bytes(IMAGE)
    yield "JPEG", saved("JPEG")
    yield "16 bits", _sixteen()


def _sixteen():
    buffer = io.BytesIO()
    Image.new("I;16", (32, 32)).save(buffer, format="PNG")
    return buffer.getvalue()


def bodies():
    """(name, content, headers): JSON that is none, and other kinds of body."""
    good = json.dumps(GOOD["caption"]).encode()
    for at in (1, 5, 9, 30, len(good) // 2, len(good) - 2, len(good) - 1):
        yield f"cut at {at}", good[:at], JSON
    for name, body in NO_JSON.items():
        yield name, body, JSON
    for name, body in {
        "a comma too many": good[:-1] + b",}",
        "twice": good + good,
        "BOM": b"\xef\xbb\xbf" + good,
    }.items():
        yield name, body, JSON
    yield "single quotes", good.replace(b'"', b"'"), JSON
    yield "UTF-16", good.decode().encode("utf-16"), JSON
    for kind in KINDS:
        yield f"as {kind}", good if "json" not in kind else good[:-9], {"Content-Type": kind.encode()}
    yield "gzip", zlib.compress(good), JSON | {"Content-Encoding": "gzip"}
    for length in ("-1", "abc", "99999999999999999999", "1_000", "²"):
        yield f"Content-Length {length}", b"{}", JSON | {"Content-Length": length.encode()}


def strange_ways():
    """(method, path): where nothing is, and how nothing is asked."""
    for path in GOOD:
        for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "OPTIONS", "NONSENSE"):
            yield method, f"/{path}"
    for path in PATHS:
        yield "GET", f"/{path}"
        yield "POST", f"/{path}"
    for path in ("models", "metrics", "health", "ready", "openapi.json", ""):
        yield "POST", f"/{path}"
        yield "DELETE", f"/{path}"


def told(client, method, path, **more):
    """The status and the error; never a trace, and whatever goes wrong is said in a sentence."""
    answer = client.request(method, path, **more)
    assert "Traceback" not in answer.text
    error = answer.json()["error"] if answer.status_code >= 400 and method != "HEAD" else "-"
    assert 0 < len(error) < 2000
    return answer.status_code, error


def posted(client, cases):
    """(name, path, body) -> {name: (status, error)}; no name occurs twice, so that none is lost."""
    cases = list(cases)
    found = {name: told(client, "POST", f"/{path}", content=body.encode(), headers=JSON) for name, path, body in cases}
    assert len(found) == len(cases)
    return found


def others(found, *expected):
    """Of the requests those that were answered otherwise than expected."""
    return {name: answer for name, answer in found.items() if answer[0] not in expected}


def test_values_that_a_field_cannot_have(client):
    found = posted(client, wrong_values())
    assert others(found, 422) == {}
    assert len(found) > 200


def test_texts_of_no_sense(client):
    assert others(posted(client, wrong_texts()), 200, 422) == {}


def test_places_that_are_not_on_the_picture(client):
    assert others(posted(client, wrong_places()), 422) == {}


@pytest.mark.parametrize(("path", "field"), [("caption", "image"), ("caption-layout", "layout"), ("draw", "keep")])
def test_broken_files(client, path, field):
    cases = [(name, path, json.dumps(GOOD[path] | {field: sent(data)})) for name, data in pictures()]
    found = posted(client, cases)
    assert others(found, 200, 422) == {}
    assert sum(status == 422 for status, _ in found.values()) > len(found) / 2
    assert len(found) > 50


@pytest.mark.parametrize("path", [path for path in GOOD if path != "caption-layout"])
def test_odd_pictures(client, path):
    cases = [(name, path, json.dumps(GOOD[path] | {"image": sent(data)})) for name, data in odd_pictures()]
    assert others(posted(client, cases), 200, 422) == {}


@pytest.mark.parametrize(("path", "field"), [("caption-layout", "layout"), ("draw", "keep")])
def test_odd_layouts(client, path, field):
    cases = [(name, path, json.dumps(GOOD[path] | {field: sent(data)})) for name, data in layouts()]
    assert others(posted(client, cases), 200, 422) == {}


def test_bodies_that_are_no_json(client):
    found = {name: told(client, "POST", "/caption", content=body, headers=headers) for name, body, headers in bodies()}
    assert {name: answer for name, answer in found.items() if not 200 <= answer[0] < 500} == {}
    assert sum(status >= 400 for status, _ in found.values()) > 35


def test_ways_that_lead_nowhere(client):
    found = {way: told(client, *way) for way in strange_ways()}
    assert {way: answer for way, answer in found.items() if not 400 <= answer[0] < 500} == {}
    assert len(found) > 90
