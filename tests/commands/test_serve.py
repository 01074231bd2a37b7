"""`segue serve`: where the token comes from, and what is told when packages are missing."""

import builtins

import pytest

from segue.commands import serve as command
from segue.commands.serve import ServeOptions, serve
from segue.types import InputError


@pytest.fixture
def asked(monkeypatch):
    """Serve nothing: what the server would have been asked for."""
    import segue.serving

    found = {}
    monkeypatch.setattr(segue.serving, "serve", lambda models, **options: found.update(options))
    monkeypatch.delenv("SEGUE_TOKEN", raising=False)
    return found


@pytest.mark.parametrize(
    ("given", "environment", "in_file", "token"),
    [
        (None, None, None, None),
        (None, "of the environment", None, "of the environment"),
        (None, "", None, ""),  # refused where tokens are looked at: an empty secret is a mistake, not a wish for none
        ("of the line", "of the environment", None, "of the line"),
        (None, "of the environment", b"of the file\n", "of the file"),
        (None, None, b"of the file\r\nmore\n", "of the file"),
        (None, None, b"", ""),
        (None, None, b"\xff\xfe\xff", "\ufffd\ufffd\ufffd"),  # refused as no ASCII
    ],
)
def test_the_token_of_the_line_of_a_file_or_of_the_environment(
    asked, monkeypatch, tmp_path, given, environment, in_file, token
):
    path = None
    if environment is not None:
        monkeypatch.setenv("SEGUE_TOKEN", environment)
    if in_file is not None:
        path = tmp_path / "token"
        path.write_bytes(in_file)
    serve(token=given, token_file=path)
    assert asked["token"] == token


def test_two_tokens_are_refused(asked, tmp_path):
    with pytest.raises(InputError, match="--token and --token-file: got both"):
        serve(token="a", token_file=tmp_path / "token")


def test_a_token_that_is_no_token_is_refused_whatever_it_came_from(segue, monkeypatch, tmp_path):
    monkeypatch.setenv("SEGUE_TOKEN", "")
    assert "token: got 0 characters, expected 8 or more" in segue("serve")[2]
    (tmp_path / "token").write_bytes(b"\xff" * 9)
    status, _, error = segue("serve", "--token-file", tmp_path / "token")
    assert (status, "of ASCII and without spaces" in error) == (2, True)
    status, _, error = segue("serve", "--token-file", tmp_path / "none")
    assert (status, error) == (2, f"segue: {tmp_path / 'none'}: No such file or directory\n")


def test_the_help_tells_that_a_token_of_the_line_is_seen(segue):
    help_text = " ".join(segue("serve", "--help")[1].split())
    assert "SEGUE_TOKEN" in help_text
    assert "list of processes" in help_text


def test_options_reach_the_server(asked):
    serve(allowed_hosts=("segue.example.org",), limits=ServeOptions(connections=9, waiting=3))
    assert asked["allowed_hosts"] == ("segue.example.org",)
    assert (asked["limits"].connections, asked["limits"].waiting) == (9, 3)


def test_missing_packages_are_named(monkeypatch):
    there = command.find_spec
    monkeypatch.setattr(command, "find_spec", lambda name: None if name in ("fastapi", "uvicorn") else there(name))
    with pytest.raises(InputError, match=r'serving needs fastapi, uvicorn: pip install "(\.|segue)\[serve\]"'):
        serve()


def test_another_error_of_an_import_is_not_taken_for_a_missing_package(monkeypatch):
    """A fault of ours, or of a package that is there, is shown as what it is."""
    whole = builtins.__import__

    def broken(name, *more):
        if name == "segue.serving":
            raise ImportError("cannot import name 'Limits'")
        return whole(name, *more)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(ImportError, match="cannot import name 'Limits'"):
        serve()
