import shutil
import subprocess

import pytest

from optional import skip

TRY = """
COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _segue; echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    from contextlib import redirect_stdout

    from segue.commands.completion import completion

    path = tmp_path_factory.mktemp("completion") / "segue.bash"
    with path.open("w") as file, redirect_stdout(file):
        completion("bash")
    return path.read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("segue cap", "caption caption-layout"),
        ("segue train sgdiff-", "sgdiff-coco sgdiff-scenes"),
        ("segue train reclmis --lr 1 --lambda-v", "--lambda-v2t"),
        ("segue train reclmis --dr", "--dry-run"),
        ("segue data show --sp", "--split"),
        ("segue segment picture.png --no", "--note --notes"),
        ("segue segment my", ""),
    ],
)
def test_bash_completes_commands_recipes_and_options(script, line, words):
    if shutil.which("bash") is None:
        skip("no program `bash` here")
    run = subprocess.run(["bash", "-c", script + TRY.format(line=line)], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == (words, "")


def test_zsh_reads_it_as_bash_does(segue):
    status, output, _ = segue("completion", "zsh")
    assert (status, output.splitlines()[0]) == (0, "autoload -U +X bashcompinit && bashcompinit")
