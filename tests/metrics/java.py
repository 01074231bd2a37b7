"""Parity with Java programs: where there is no Java a test is skipped and says so, but fails in CI."""

import os
import shutil

import pytest


def need_java() -> None:
    if shutil.which("java"):
        return
    if os.environ.get("CI") or os.environ.get("SEGUE_CI"):
        pytest.fail("no program `java` here, and CI must compare with pycocoevalcap: install default-jre-headless")
    pytest.skip("no program `java`; parity with pycocoevalcap's tokeniser and METEOR is not tested")
