"""errors.py: every error survives the way between two processes."""

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


def test_an_error_of_others_becomes_one_line() -> None:
    assert errors.one_line(ValueError("a\n  b\tc")) == "a b c"
    assert errors.one_line(ValueError("x" * 500)) == "x" * 300
    assert errors.one_line(ValueError("x y z"), 3) == "x y"
    assert errors.one_line(TimeoutError()) == "TimeoutError"
