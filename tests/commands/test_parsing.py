"""A command is told as it can be given again."""

import functools
import inspect
import shlex

from segue.commands.evaluate import evaluate
from segue.commands.parsing import command_line, run_command


def test_a_command_line_calls_the_function_so_again():
    given = {}

    def record(*args, **options):
        bound = inspect.signature(evaluate).bind(*args, **options)
        bound.apply_defaults()
        given.update(bound.arguments)

    line = "segue eval m --data 'my data' --on-bad skip --json --tta --window 64 --beams 5"
    run_command(functools.wraps(evaluate)(record), "segue eval", shlex.split(line)[2:])
    assert command_line("segue eval", evaluate, given) == line
