"""docs/config.md and --help say what the fields of the specs say."""

import json
from pathlib import Path

import jsonschema
import pytest

from jobs import config_page
from jobs.entry import VERBS, help_text
from pipeline import build

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_is_what_the_fields_say() -> None:
    assert PAGE.read_text("utf-8") == config_page.page(), "run `make docs`"


@pytest.mark.parametrize("job", build.JOBS)
def test_every_key_of_a_job_has_a_field_that_says_what_it_is(job: str) -> None:
    keys = config_page.job_keys(job)
    config = build.flat(build.compose(job))
    leaves = {key.path for key in keys} | {"source.uri", "sink.uri"}
    unsaid = [path for path in config if not any(path == leaf or path.startswith(f"{leaf}.") for leaf in leaves)]
    assert [path for path in unsaid if not path.endswith("_target_")] == []
    assert [key.path for key in keys if not key.field.about] == []


def test_help_leaves_out_the_groups_that_a_job_does_not_use() -> None:
    annotate, anonymize = (help_text(job).splitlines() for job in ("annotate", "anonymize"))
    assert {"fill:", "audit:"} & set(annotate) == set()
    assert {"fill:", "audit:"} <= set(anonymize)


@pytest.mark.parametrize("job", build.JOBS)
def test_the_lines_of_a_group_are_aligned(job: str) -> None:
    lines = help_text(job).splitlines()
    for group, choices in build.groups().items():
        if group not in VERBS[job].unused:
            start = lines.index(f"{group}:") + 1
            columns = {
                line.index(about)
                for line, about in zip(lines[start : start + len(choices)], choices.values(), strict=True)
            }
            assert len(columns) == 1, group


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_names_all_its_keys(verb: str) -> None:
    shown = help_text(verb)
    for key in build.flat(build.compose(verb)):
        if "_target_" not in key and not key.startswith(("policy.accept", "plugins")):
            assert f"  {key}=" in shown or f"  {key.rpartition('.')[0]}=" in shown, key


def test_the_schema_takes_what_conf_holds() -> None:
    schema = json.loads(config_page.schema())
    assert {"pipeline.select.Select", "pipeline.segment.faces.Faces"} <= set(schema["$defs"])
    jsonschema.validate({"min_score": 0.5}, schema["$defs"]["pipeline.select.Select"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"min_score": 2}, schema["$defs"]["pipeline.select.Select"])
