"""Parity with Java programs: where there is no Java, a test skips and says so."""

import shutil

from optional import skip


def need_java() -> None:
    if not shutil.which("java"):
        skip("no program `java` here (default-jre-headless), for parity with pycocoevalcap's tokeniser and METEOR")
