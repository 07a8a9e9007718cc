"""The one command line, `segfill VERB ...` or `python -m jobs.VERB ...`: help, config, exit codes, one line for what
went wrong, no secret on the screen.

Every verb has its conf/VERB.yaml, which Hydra composes with what is typed. What is slow to import is imported late.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TextIO

import conf
from pipeline import __version__, life
from pipeline.credentials import redact
from pipeline.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_REJECTED,
    ConfigError,
    RefusedError,
    SegfillError,
    TooManyRejected,
    nearest,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig

EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT, as a shell has it."""
EXIT_PIPE: Final = 141
"""128 + SIGPIPE: whoever read the output left, as `head` does."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """usage: what is typed behind the verb. words: the keys that bare words stand for, in order. again: what to do when
    storage or the user ended it. job: it runs a flow, with groups and keys; any other verb is the module of its name:
    `KEYS` is the spec of its keys, `run` takes the composed config. unused: groups that the --help of a
    job leaves out; groups: those of another verb."""

    usage: str
    words: tuple[str, ...] = ()
    again: str = "try again"
    job: bool = False
    unused: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


_JOB: Final = Verb(
    usage="IN OUT [group=choice ...] [key=value ...]",
    words=("source.uri", "sink.uri"),
    again="the same command resumes the run",
    job=True,
)
VERBS: Final = {
    "annotate": replace(_JOB, unused=("fill", "audit", "cluster")),
    "clean": replace(_JOB, unused=("audit", "cluster")),
    "anonymize": replace(_JOB, unused=("cluster",)),
    "submit": Verb(
        usage="JOB IN OUT cluster=CHOICE [cluster.key=value ...] [group=choice ...] [key=value ...]",
        words=("source.uri", "sink.uri"),
        again="the same command attaches to the run, or resumes it",
        groups=("cluster",),
    ),
    "estimate": Verb(usage="JOB IN [group=choice ...] [key=value ...]", words=("source.uri", "sink.uri")),
    "watch": Verb(usage="OUT [--once] [key=value ...]", words=("uri",)),
    "audit": Verb(usage="OUT [key=value ...]", words=("uri",)),
    "verify": Verb(usage="OUT", words=("uri",)),
    "export": Verb(
        usage="OUT DIR [format=FORMAT] [key=value ...]",
        words=("uri", "to"),
        again="the same command resumes the export",
    ),
    "evaluate": Verb(usage="OUT truth=TRUTH | against=OUTPUT [key=value ...]", words=("uri",)),
    "train_fill": Verb(
        usage="data=[{uri:PHOTOS,licence:CC0-1.0}] folder=RUN [key=value ...]", again="the same command goes on"
    ),
    "demo": Verb(usage="[FOLDER]", words=("folder",)),
}


def segfill(arguments: Sequence[str] | None = None) -> int:
    """The console script. Without a verb, or with --help, it lists the verbs."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name == "status":
        name, rest = "watch", [*rest, "once=true"]
    if name in VERBS:
        return main(name, rest)
    return guarded("segfill", lambda: _without_a_verb(name))


def main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit codes: 0 all well, 1 it could not go on, 2 refused before it began, 3 too many rejected, or
    faults found."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if name == "watch":
        given = ["once=true" if each == "--once" else each for each in given]
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacted("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=os.environ.get("SEGFILL_LOG", "WARNING"), handlers=[handler])
    return guarded(name, lambda: _run(name, given), again=VERBS[name].again)


def guarded(name: str, work: Callable[[], int], *, again: str = "try again") -> int:
    """The exit code of `work`, or of the error that ended it. Quiet when the reader of the output has left."""
    try:
        code = _exit_code(name, work, again)
        sys.stdout.flush()  # here and not at the interpreter's exit, which would complain
    except BrokenPipeError:
        for stream in _unread():
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return EXIT_PIPE
    return code


def say(name: str, error: object, code: int) -> int:
    """One line on stderr; returns `code`."""
    life.say(redact(f"{name}: {' '.join(str(error).split())}"), sys.stderr)
    return code


def compose(name: str, arguments: Sequence[str]) -> DictConfig:
    """The config of a verb. Raises ConfigError."""
    from pipeline import build

    verb = VERBS[name]
    build.refuse_secrets(arguments)
    if verb.job:
        of_job, of_cluster = _divided(_keyed(verb, arguments))
        if of_cluster:
            raise ConfigError(f"{of_cluster[0]}: segfill submit {name} ... sends a job to a cluster")
        return build.compose(name, of_job)
    try:
        if name in ("estimate", "submit"):
            job, *overrides = arguments or ["nothing"]
            if job not in build.JOBS:
                raise ConfigError(f"expected a job first ({', '.join(build.JOBS)}), got {job}")
            if name == "estimate":
                return build.compose(job, _keyed(verb, overrides), also=name)
            return _submission(job, *_divided(_keyed(verb, overrides)))
        return build.compose(name, _keyed(verb, arguments))
    except ConfigError as error:
        raise ConfigError(f"{error}; expected {verb.usage}") from error


def _submission(job: str, of_job: list[str], of_cluster: list[str]) -> DictConfig:
    """The cluster's config, and what its driver is called with. Raises ConfigError for either."""
    from omegaconf import open_dict

    from pipeline import build

    config = build.compose("submit", of_cluster)
    build.compose(job, of_job)
    with open_dict(config):
        config.arguments = [job, *of_job]
    return config


def _divided(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments of a job, and those of the cluster that it is sent to."""
    of_cluster = [each for each in arguments if re.match(r"[+~]*cluster\b", each)]
    return [each for each in arguments if each not in of_cluster], of_cluster


def _keyed(verb: Verb, arguments: Sequence[str]) -> list[str]:
    """`key=value` for each argument: bare words are the values of the verb's own keys. Raises ConfigError."""
    from pipeline import build, typed

    groups = {*build.groups(), "hydra"}
    words = [each for each in arguments if typed.is_word(each, groups)]
    others = [each for each in arguments if not typed.is_word(each, groups)]
    if len(words) > len(verb.words):
        taken = f"; bare words are {' and '.join(verb.words)}" if verb.words else ""
        raise ConfigError(f"expected key=value, got {words[len(verb.words)]}{taken}")
    given = {path[0] for each in others if (path := typed.path_of(each))}
    for key, word in zip(verb.words, words, strict=False):
        if key in given:
            raise ConfigError(f"{key} is given twice: {word} and {key}=...; give one")
    return [*(f"{key}={word}" for key, word in zip(verb.words, words, strict=False)), *others]


def help_text(name: str) -> str:
    """Of a job: every choice of the groups that it uses, and its keys. Of another verb: its keys."""
    from jobs import config_page
    from pipeline import build

    verb = VERBS[name]
    lines = [f"segfill {name} {verb.usage}", "", conf.about(name), ""]
    if verb.job:
        lines += ["--cfg job   show the composed config and stop", "--help      this page", ""]
        lines += _choices([group for group in build.groups() if group not in verb.unused])
        keys = config_page.job_keys(name)
    else:
        module = importlib.import_module(f"jobs.{name}")
        lines += [(module.__doc__ or "").partition("\n")[2].strip("\n")]
        lines += ["", *_choices(verb.groups)] if verb.groups else []
        keys = config_page.verb_keys(name, module.KEYS)
    lines += ["", f"Config of {name} (change any with key=value; ??? must be given):", ""]
    return "\n".join([*lines, *config_page.help_lines(keys)])


def _choices(names: Sequence[str]) -> list[str]:
    from pipeline import build

    lines = ["Choices (group=choice):"]
    for group, choices in build.groups().items():
        if group in names:
            width = max(map(len, choices))
            lines += ["", f"{group}:", *(f"  {choice:<{width}}  {about}" for choice, about in choices.items())]
    return lines


def _without_a_verb(word: str) -> int:
    if word == "--version":
        print(f"segfill {__version__}")
        return EXIT_OK
    if word not in ("--help", "-h"):
        raise RefusedError(f"there is no verb {word}{nearest(word, VERBS)}; segfill --help lists them")
    print("segfill VERB ...: segment, fill and rewrite large image datasets\n")
    for name in VERBS:
        print(f"  {name:<11} {conf.about(name)}")
    print("\nsegfill VERB --help shows its keys, segfill VERB ... --cfg job the composed config.")
    return EXIT_OK


def _run(name: str, arguments: list[str]) -> int:
    if {"--help", "-h"} & set(arguments):
        print(help_text(name))
        return EXIT_OK
    from pipeline.report.progress import showing

    overrides, show = _split(arguments)
    with showing(sys.stderr):
        if not show:
            life.phase("starting")
        config = compose(name, overrides)
        if show:
            from omegaconf import OmegaConf

            print(OmegaConf.to_yaml(config), end="")
            return EXIT_OK
        if VERBS[name].job:
            from pipeline import build, driver

            return driver.run(build.build(config), sys.stdout, sys.stderr)
        return int(importlib.import_module(f"jobs.{name}").run(config))


def _split(arguments: Sequence[str]) -> tuple[list[str], bool]:
    rest = list(arguments)
    show = False
    if "--cfg" in rest:
        at = rest.index("--cfg")
        if rest[at + 1 : at + 2] != ["job"]:
            raise RefusedError("--cfg: expected `--cfg job`")
        del rest[at : at + 2]
        show = True
    for argument in rest:
        if argument.startswith("-"):
            option = argument.partition("=")[0]
            raise RefusedError(f"there is no option {option}, only --help and --cfg job; all else is key=value")
    return rest, show


def _exit_code(name: str, work: Callable[[], int], again: str) -> int:
    try:
        return work()
    except RefusedError as error:
        return say(name, error, EXIT_REFUSED)
    except TooManyRejected as error:
        return say(name, error, EXIT_REJECTED)
    except SegfillError as error:
        return say(name, error, EXIT_FAILED)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _unread():
            raise
        return say(name, f"{error}; {again}", EXIT_FAILED)
    except KeyboardInterrupt:
        return say(name, f"interrupted; {again}", EXIT_INTERRUPTED)
    except Exception:  # a fault of ours: shown whole, but whatever it quotes
        print(redact(traceback.format_exc()), file=sys.stderr)
        return EXIT_FAILED


def _unread() -> list[TextIO]:
    """Those of stdout and stderr that are pipes without a reader; a store's broken connection raises the same error."""
    found = []
    for stream in (sys.stdout, sys.stderr):
        try:
            poll = select.poll()
            poll.register(stream.fileno(), 0)  # an error is reported whatever is asked for
            if poll.poll(0):
                found.append(stream)
        except (OSError, ValueError):  # not a file, or closed
            continue
    return found


class _Redacted(logging.Formatter):
    """Other libraries log what they like."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
