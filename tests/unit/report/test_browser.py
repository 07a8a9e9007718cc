"""The report page in a real browser, with code in place of every name: none runs, nothing is fetched."""

from __future__ import annotations

import dataclasses
import html
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from pipeline.records import Counts
from pipeline.report import page as pages
from pipeline.report.page import Page, render

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
PROMISE = "names on the report page are text: no script runs, nothing is fetched"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs chromium, chromium-browser or google-chrome on PATH"),
]

RUN = "document.title='pwned'"
PAYLOADS = [
    f"<img src=x onerror={RUN}>",
    f"<img src=x onerror=\"{RUN}\">",
    f"</script><script>{RUN}</script>",
    f"</title></head><script>{RUN}</script>",
    f"</style><script>{RUN}</script>",
    f"</code></bdi></td><script>{RUN}</script>",
    f"--><script>{RUN}</script>",
    f"]]><script>{RUN}</script>",
    f"\"><script>{RUN}</script>",
    f"'><svg onload={RUN}>",
    f"\" onload=\"{RUN}\" x=\"",
    f"x' autofocus onfocus={RUN} tabindex=1 '",
    f"<body onload={RUN}>",
    f"<details open ontoggle={RUN}>",
    f"<video><source onerror={RUN}></video>",
    f"<input autofocus onfocus={RUN}>",
    f"<iframe srcdoc=\"<script>parent.{RUN}</script>\"></iframe>",
    f"<iframe src=\"javascript:parent.{RUN}\"></iframe>",
    f"<object data=\"javascript:{RUN}\"></object>",
    f"<math><mtext><script>{RUN}</script>",
    f"<template><script>{RUN}</script></template>",
    f"<noscript><p title=\"</noscript><img src=x onerror={RUN}>\">",
    f"javascript:{RUN}",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"\u2028<script>{RUN}</script>",
    f"\u202e<script>{RUN}</script>",
    f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",
    f"{{{{ cycler.__init__.__globals__.os.popen('true') }}}}<script>{RUN}</script>",
    "{% include '/etc/passwd' %}",
]  # fmt: skip
FETCHING = [
    "<img src=HOST/img>",
    "<script src=HOST/script></script>",
    "<link rel=stylesheet href=HOST/css>",
    "<link rel=preload as=image href=HOST/preload>",
    "<iframe src=HOST/frame></iframe>",
    "<object data=HOST/object></object>",
    "<embed src=HOST/embed>",
    "<style>@import url(HOST/import); body { background: url(HOST/background) }</style>",
    "<p style='background: url(HOST/style)'>x",
    "<svg><image href=HOST/svg /></svg>",
    "<video src=HOST/video poster=HOST/poster></video>",
    "<audio src=HOST/audio></audio>",
    "<input type=image src=HOST/input>",
]
LEAVING = ["<base href=HOST/>", "<meta http-equiv=refresh content='0;url=HOST/refresh'>"]


class Host(http.server.ThreadingHTTPServer):
    """Serves one page and notes every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.page = b""
        self.frame = b""
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Host)
        server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write({"/page": server.page, "/frame": server.frame}.get(self.path, b""))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def shown(host: Host, page: str, folder: Path, at: str = "page") -> tuple[str, str, list[str]]:
    """The page as the browser built it, its title, and all that it asked for beside the page itself. at: `frame` shows
    the host's frame around it."""
    host.page = page.encode("utf-8", "backslashreplace")
    command = [CHROMIUM, "--headless=new", "--disable-gpu", "--no-first-run", f"--user-data-dir={folder / 'profile'}"]
    command += [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
    ]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []
    command += ["--virtual-time-budget=3000", "--dump-dom", f"{host.url}/{at}"]
    done = subprocess.run(command, capture_output=True, timeout=120)
    dom = done.stdout.decode("utf-8", "replace")
    assert "<html" in dom, done.stderr.decode("utf-8", "replace")[-1000:]
    titles = re.findall(r"<title>(.*?)</title>", dom, re.DOTALL)
    return dom, titles[0] if titles else "", sorted(set(host.asked) - {"/page"})


def hostile_page(host: Host) -> tuple[Page, list[str]]:
    """A page whose every string, now and in days to come, is code."""
    codes = [code.replace("HOST", host.url) for code in PAYLOADS + FETCHING + LEAVING]
    page = made(Page, codes)
    assert isinstance(page, Page)
    return dataclasses.replace(page, rows=len(codes)), codes


def made(hint: Any, codes: list[str]) -> object:
    """Anything of a type. A single string is all codes at once, each string of a sequence is one of them."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Counts:
        return Counts(images=9, written=4, unchanged=1, rejected=4)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        hints = get_type_hints(hint)
        return hint(**{field.name: made(hints[field.name], codes) for field in dataclasses.fields(hint)})
    if origin is tuple and inner[1:] == (...,):
        return tuple(made(inner[0], [code]) for code in codes)
    if origin is tuple:
        return tuple(made(part, codes) for part in inner)
    if origin is Mapping:
        return {made(inner[0], [code]): made(inner[1], codes) for code in codes}
    return " ".join(codes) if hint is str else hint(1)


@pytest.mark.promise(PROMISE)
def test_code_in_the_place_of_any_name_is_only_shown(
    host: Host, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    page, codes = hostile_page(host)
    dom, title, asked = shown(host, render(page), tmp_path)
    text = html.unescape(re.sub(r"<[^>]*>", "", dom))
    visible = [code for code in codes if code in text]
    record_property("tried", len(codes))
    record_property("held", len(visible) if title != "pwned" and not asked else 0)
    assert asked == []
    assert title.startswith(("Segfill <img src=x", "Segfill &lt;img"))
    assert not re.search(r"<(script|iframe|object|embed|svg|video|audio|form|input|base|link)\b", dom)
    assert not re.search(r"<[^>]*\son[a-z]+\s*=", re.sub(r'"[^"]*"', '""', dom))
    assert visible == codes


@pytest.mark.promise(PROMISE)
def test_where_a_name_were_not_escaped_the_policy_would_still_hold(host: Host, tmp_path: Path) -> None:
    """The second wall, alone."""
    page = made(Page, ["@@@"])
    assert isinstance(page, Page)
    codes = "".join(f"<div>{code.replace('HOST', host.url)}</div>" for code in FETCHING + PAYLOADS[:3] + PAYLOADS[7:24])
    head, _, body = render(page).partition("<main>")
    assert "@@@" in body
    _, title, asked = shown(host, f"{head}<main>{body.replace('@@@', codes, 1)}", tmp_path)
    assert title.startswith("Segfill @@@")
    assert asked == []


def test_without_both_walls_the_browser_does_run_and_fetch_them(host: Host, tmp_path: Path) -> None:
    """Or the tests above would prove nothing."""
    codes = "".join(f"<div>{code.replace('HOST', host.url)}</div>" for code in FETCHING + PAYLOADS[:1])
    _, title, asked = shown(host, f"<!doctype html><title>calm</title><body>{codes}", tmp_path)
    assert title == "pwned"
    assert len(asked) >= 8


MEASURE = """<!doctype html><title>not measured</title><iframe id=f width=WIDTH height=2000 src=/page></iframe><script>
f.onload = () => {
  const page = f.contentDocument, all = [...page.querySelectorAll(".chip, .file, figcaption, .legend, .first li")];
  document.title = JSON.stringify({
    wide: page.documentElement.scrollWidth,
    texts: all.length,
    smallest: Math.min(...all.map(one => parseFloat(getComputedStyle(one).fontSize))),
    furthest: Math.max(...all.map(one => one.getBoundingClientRect().right)),
    picture: Math.min(...[...page.querySelectorAll(".three span")].map(one => one.getBoundingClientRect().width)),
  });
};
</script>"""


@pytest.mark.parametrize("width", [390, 1280])
def test_labels_can_be_read_on_a_phone_and_on_a_desk(host: Host, tmp_path: Path, width: int) -> None:
    page = made(Page, ["an-unbroken-name-" * 12, "face"])
    assert isinstance(page, Page)
    host.frame = MEASURE.replace("WIDTH", str(width + 4)).encode()  # and the frame's border
    _, title, _ = shown(host, render(page), tmp_path, at="frame")
    found = json.loads(html.unescape(title))
    assert found["texts"] > 20
    assert found["smallest"] >= 13
    assert max(found["wide"], found["furthest"]) <= width
    assert found["picture"] >= 130


def test_the_policy_is_the_strictest_the_page_can_live_with() -> None:
    template = Path(pages.__file__).with_name("page.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', template)
    assert policy is not None
    assert policy[1].split("; ") == [
        "default-src 'none'", "style-src 'unsafe-inline'", "img-src data:", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    before = template[: template.index("Content-Security-Policy")]
    assert "{{ page" not in before[before.index("<!doctype") :]  # nothing from outside stands before it
