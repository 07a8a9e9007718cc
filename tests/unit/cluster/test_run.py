"""A run's name follows from its output, its command means the same on another machine."""

import shlex

import pytest

from pipeline.cluster.run import Run
from pipeline.errors import ConfigError


def run(**values: object) -> Run:
    given = {
        "verb": "annotate",
        "arguments": ("source.uri=s3://b/in", "sink.uri=s3://b/out", "segment=[faces,text]"),
        "source": "s3://b/in",
        "sink": "s3://b/out",
        "config": {"chunk": "16"},
    }
    return Run(**{**given, **values})  # type: ignore[arg-type]


def test_one_output_has_one_place_and_what_is_done_there_a_name() -> None:
    one, slash, other = run(), run(sink="s3://b/out/"), run(sink="s3://b/out2")
    assert one.name == slash.name
    assert one.place != other.place
    again = [run(config={"chunk": "8"}), run(verb="clean"), run(source="s3://b/else")]
    assert {each.place for each in again} == {one.place}
    assert len({one.name, *(each.name for each in again)}) == 4
    assert one.name.startswith(f"{one.place}-")
    assert len(one.name) <= 40  # KubeRay and Slurm take no long names


def test_the_command_is_one_word_an_argument_and_asks_the_node_for_the_address() -> None:
    command = run(arguments=("source.uri='/data/it is $HOME; rm'", "segment=[faces]")).command("/opt/bin/python")
    assert shlex.split(command) == [
        *("/opt/bin/python", "-m", "jobs", "annotate", "source.uri='/data/it is $HOME; rm'", "segment=[faces]"),
        "execute.address=$RAY_ADDRESS",
    ]
    assert command.endswith('execute.address="$RAY_ADDRESS"')


@pytest.mark.parametrize("uri", ["/data/in", "file:///data/in", "in"])
@pytest.mark.parametrize("key", ["source", "sink"])
def test_a_disk_that_nodes_lack_is_refused_by_its_key(key: str, uri: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}\.uri={uri}: cluster=vms .* without this disk; use a bucket"):
        run(**{key: uri}).refuse_local("vms", "use a bucket")
    run().refuse_local("vms", "use a bucket")
