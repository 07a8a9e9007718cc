"""`segfill submit JOB IN OUT cluster=ray cluster.address=http://HEAD:8265`: a job on a cluster.

JOB is annotate, clean or anonymize; all its group=choice and key=value may follow. The config is composed and checked
here first, exactly as the job itself does it. cluster=ray sends it to a Ray cluster that is up, follows its log and
exits with its code; Ctrl-C detaches, the same command attaches again. cluster=slurm, kuberay and vms print the
script or manifest that starts a cluster, and with cluster.apply=true submit it. Credentials do not travel: nodes have
their own.

Exit codes: those of the run; 130 detached, 1 the cluster was lost or did not take it, 2 refused.
"""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from typing import Final, cast

from omegaconf import DictConfig, OmegaConf

from jobs import entry
from pipeline import build, typed
from pipeline.cluster.run import Cluster, Run
from pipeline.errors import ConfigError
from pipeline.spec import spec
from pipeline.storage.store import open_store


@spec
class SubmitKeys:
    """The keys of conf/submit.yaml, which are all in the group cluster."""


KEYS: Final = SubmitKeys
main = partial(entry.main, "submit")
_GROUP: Final = "cluster"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_PLAIN: Final = re.compile(r"[\w./:@+*-]*")


def run(config: DictConfig) -> int:
    job, *arguments = cast("list[str]", OmegaConf.to_container(config.arguments, resolve=False))
    keys = build.plain(OmegaConf.masked_copy(config, [_GROUP]))
    cluster = cast("Cluster", build.construct(keys[_GROUP], _GROUP, ("pipeline",)))
    return cluster.launch(described(job, arguments))


def described(job: str, arguments: list[str]) -> Run:
    """The run as its driver gets it. arguments: `key=value` each. Raises RefusedError as the job itself does, and for
    what would not run on the cluster."""
    config = build.compose(job, arguments)
    built = build.build(config)
    target = str(OmegaConf.select(config, "execute._target_", default=""))
    if "address" not in config.execute:
        raise ConfigError(
            f"execute: {target.rpartition('.')[2]} would run on the cluster's head alone; choose execute=auto, "
            "execute=ray or execute=staged"
        )
    if config.execute.address:
        raise ConfigError("execute.address: submit names the cluster by itself; give cluster.address only")
    return Run(
        verb=job,
        arguments=tuple(_sent(config, each) for each in arguments if not each.startswith("execute.address=")),
        source=built.flow.source.uri,
        sink=open_store(built.flow.sink.uri).uri,
        config=built.config,
    )


def _sent(config: DictConfig, argument: str) -> str:
    """An argument as it means the same on another machine: paths are absolute, and text only."""
    path = typed.path_of(argument)
    if not path:
        return argument
    value = OmegaConf.select(config, path[0])
    if not OmegaConf.is_list(value):
        return f"{path[0]}={_quoted(path[0], str(value))}"
    return f"{path[0]}=[{','.join(_quoted(path[0], str(each)) for each in value)}]"


def _quoted(key: str, text: str) -> str:
    """An absolute path in quotes as pipeline/typed.py reads them, so that nothing in it has another meaning. Raises
    ConfigError for one that cannot be quoted."""
    if text and (os.path.lexists(text) or not _SCHEME.match(text)):
        listed = "@" if text.startswith("@") and not os.path.lexists(text) else ""
        text = listed + os.path.abspath(os.path.expanduser(text.removeprefix(listed)))
    if _PLAIN.fullmatch(text):
        return text
    quote = "'" if "'" not in text else '"'
    if quote in text or "${" in text:
        raise ConfigError(f"{key}={text}: a name with ${{ or with both kinds of quotes cannot travel; use a link to it")
    slashes = len(text) - len(text.rstrip("\\"))
    return f"{quote}{text}{chr(92) * slashes}{quote}"


if __name__ == "__main__":
    sys.exit(main())
