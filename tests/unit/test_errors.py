"""errors.py: every error survives pickling between processes, and its message fits one line."""

import pickle

import pytest

from pipeline import errors


def test_image_and_shard_errors_keep_all_they_say_when_pickled() -> None:
    image = pickle.loads(pickle.dumps(errors.ImageError("truncated", "73 bytes short")))
    assert (image.reason, image.detail, str(image)) == ("truncated", "73 bytes short", "truncated: 73 bytes short")
    shard = pickle.loads(pickle.dumps(errors.ShardError("tar_truncated", "no end", offset=512)))
    assert (shard.reason, shard.detail, shard.offset) == ("tar_truncated", "no end", 512)


@pytest.mark.parametrize("kind", [errors.ConfigError, errors.RunError, errors.TooManyRejected, errors.OutputError])
def test_the_others_keep_their_line(kind: type[errors.SegfillError]) -> None:
    again = pickle.loads(pickle.dumps(kind("say what to do")))
    assert (type(again), str(again)) == (kind, "say what to do")


def test_one_line_joins_cuts_and_falls_back_to_the_type() -> None:
    assert errors.one_line(ValueError("two\n  lines ")) == "two lines"
    assert errors.one_line(ValueError("long" * 99), limit=6) == "longlo"
    assert errors.one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_the_tree_in_the_docstring_names_every_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    drawn = [line.split("+-- ") for line in (errors.__doc__ or "").splitlines() if "Error" in line or "Too" in line]
    parents = {line[1].split()[0]: len(line[0]) // 4 for line in drawn if len(line) == 2}
    assert parents == {kind.__name__: len(kind.__mro__) - 4 for kind in kinds if kind is not errors.SegfillError}
