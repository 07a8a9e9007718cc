"""The page stands alone, shows what the tables hold, and runs nothing that a name smuggles in."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.flow import TIMED
from pipeline.image.colours import colour_of
from pipeline.records import Committed
from pipeline.report.page import make_page
from pipeline.report.pictures import GALLERY, REJECTS, SEAMS
from pipeline.report.summary import Summary
from pipeline.storage.store import Store, open_store
from tests.fakes.commit_records import committed
from tests.fakes.report_output import HOSTILE, write_output


class Seen(HTMLParser):
    """Collects tags with their attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"

    def images(self, kind: str) -> int:
        return sum(tag == "img" and (attrs.get("alt") or "").startswith(kind) for tag, attrs in self.tags)


def page_of(
    store: Store, records: list[Committed], *, private: bool = False, exit_code: int = 0, review_seam: float = 0.0
) -> str:
    page = make_page(
        store,
        {record.unit.unit_id: record for record in records},
        Summary.of(records, seconds=4.0),
        name="anonymize",
        private=private,
        exit_code=exit_code,
        digest="0123456789abcdef",
        facts={"source": "file:///photos"},
        config={"segment.faces.min_score": "0.5"},
        review_seam=review_seam,
    )
    return page.decode()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(str(tmp_path_factory.mktemp("out")))


@pytest.fixture(scope="module")
def records(store: Store) -> list[Committed]:
    return write_output(store)


@pytest.fixture(scope="module")
def html(store: Store, records: list[Committed]) -> str:
    return page_of(store, records)


def test_nothing_is_fetched_and_nothing_runs(html: str) -> None:
    seen = Seen(html)
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "link", "iframe", "object", "form"})
    assert all(str(attrs["src"]).startswith("data:image/jpeg;base64,") for tag, attrs in seen.tags if tag == "img")
    assert all(str(attrs["href"]).startswith(("../rendered/", "#")) for tag, attrs in seen.tags if tag == "a")
    assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
    assert "url(" not in html
    policy = next(a["content"] for t, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_a_hostile_name_is_only_text(html: str) -> None:
    assert HOSTILE not in html
    assert Seen(html).text.count(HOSTILE) == 4  # two rejected images, each by its key and in its detail


def test_shows_the_numbers(html: str) -> None:
    text = re.sub(r"\s+", " ", Seen(html).text)
    assert "images in 12 2 units, 3.0 MB written 8 66.7 % unchanged 0 0.0 % rejected 4 33.3 %" in text
    assert "segments 24 2 labels images/s 3.0 12 images in 4.0 s" in text
    assert "segment 56.6 % 12 s 1000.0" in text
    assert "decode: truncated 4" in text
    assert "run 0123456789ab" in text
    assert "segment.faces.min_score 0.5" in text


def test_every_stage_has_its_time(html: str) -> None:
    timings = html.partition("<h2>Time by stage</h2>")[2].partition("</section>")[0]
    assert re.findall(r"&#9632;</span> (\w+)</td>", timings) == list(TIMED)
    assert {"crop", "commit"} < set(TIMED)
    text = re.sub(r"\s+", " ", Seen(timings).text)
    assert "crop 4.7 % 1.0 s 83.3" in text
    assert "commit 2.8 % 0.6 s 50.0" in text


def test_histograms_are_of_the_mask_tables(html: str) -> None:
    text = re.sub(r"\s+", " ", Seen(html).text)
    assert "face 16 segments" in text
    assert "text 8 segments" in text
    assert "Taken from all segments." in text
    bins = re.findall(r'<div class="bins">(.*?)</div>', html)
    assert [bar.count("<i") for bar in bins] == [20, 20]
    assert re.findall(r"height:([\d.]+)%", bins[1]) == ["0"] * 19 + ["100.0"]  # every text has score 1


def test_gallery_and_rejects(html: str) -> None:
    seen = Seen(html)
    assert [seen.images(word) for word in ("before: ", "mask: ", "after: ")] == [8, 8, 8]
    assert seen.images("a-0/") + seen.images("b-0/") == 2  # one of the two rejected of each unit has a picture
    assert seen.text.count("no picture") == 2
    assert "3 bytes are missing" in seen.text


def test_gallery_is_bounded_and_spread_over_the_units(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    html = page_of(store, write_output(store, images=GALLERY, rejected=1))
    shown = re.findall(r"<figcaption><bdi>(.)-0/picture-(\d+)", html)
    assert [unit for unit, _ in shown] == ["a"] * 12 + ["b"] * 12
    riskiest = [str(number) for number in range(GALLERY - 13, GALLERY - 1)]
    assert [number for _, number in shown] == riskiest * 2


def test_filled_images_come_first_and_the_others_only_after_them(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    html = page_of(store, write_output(store, images=5, rejected=0, unfilled=3))
    shown = [key.rpartition("/")[2] for key in re.findall(r"<figcaption><bdi>(.*?)</bdi>", html)]
    others = [f"picture-{number}" for number in range(3)]
    assert [name for name in shown if name in others] == shown[4:] == others * 2


def test_each_picture_says_what_was_found_and_where_its_files_are(html: str) -> None:
    sample = html.partition("<h2>A sample: before, mask, after</h2>")[2].partition("</section>")[0]
    captions = [
        re.sub(r"\s+", " ", Seen(part).text).strip()
        for part in re.findall("<figcaption>.*?</figcaption>", sample, re.S)
    ]
    assert captions[0] == ("a-0/picture-0 face 1, 1 not selected text 1 filled: rendered/filled/a-0/picture-0 1#.jpg")
    assert captions[4] == "b-0/picture-0 face 1, 1 not selected text 1 filled: rendered/filled/b-0.tar: b-0/picture-0"
    links = re.findall(r'<a href="([^"]*)">', sample)
    assert links == [f"../rendered/filled/a-0/picture-{number}%201%23.jpg" for number in range(4)]


def test_a_label_has_the_colour_of_its_pictures_in_the_legend(html: str) -> None:
    legend = re.findall(r'<p class="legend">(.*?)</p>', html)[0]
    chips = re.findall(r'<i style="border-color:([^;"]*)(;background[^"]*)?"></i><bdi>(.*?)</bdi>', legend)
    assert [(text, bool(full)) for _, full, text in chips] == [
        ("face", True),
        ("text", True),
        ("selected", True),
        ("found, not selected: outline only", False),
        ("margin that is filled, too", True),
    ]
    assert [colour for colour, *_ in chips[:2]] == [
        "#{:02x}{:02x}{:02x}".format(*colour_of(n)) for n in ("face", "text")
    ]


def test_the_riskiest_are_named_first(store: Store, records: list[Committed], html: str) -> None:
    def first(page: str) -> list[str]:
        part = page.partition("<h2>Look at these first</h2>")[2].partition("</ul>")[0]
        return [re.sub(r"\s+", " ", Seen(one).text).strip() for one in re.findall("<li>(.*?)</li>", part, re.S)]

    loose, packed = "filled: rendered/filled/a-0/picture-{0} 1#.jpg", "filled: rendered/filled/b-0.tar: b-0/picture-{0}"
    assert first(html) == [
        f"a-0/picture-0 : 50.0% filled {loose.format(0)}",
        f"b-0/picture-0 : 50.0% filled {packed.format(0)}",
        f"a-0/picture-1 : 49.0% filled {loose.format(1)}",
        "4 rejected , most at decode: truncated",
    ]
    assert first(page_of(store, records, review_seam=2))[:4] == [
        f"b-0/picture-3 : seam 3.5, 47.0% filled {packed.format(3)}",
        f"a-0/picture-3 : seam 3.0, 47.0% filled {loose.format(3)}",
        f"b-0/picture-2 : seam 2.5, 48.0% filled {packed.format(2)}",
        f"a-0/picture-0 : 50.0% filled {loose.format(0)}",
    ]
    assert 'href="#rejected"' in html
    assert 'id="rejected"' in html


class Bucket(Store):
    """An output that no browser can follow a relative link to."""

    is_local = False


def test_files_in_a_bucket_are_named_without_a_link(store: Store, records: list[Committed]) -> None:
    page = page_of(Bucket(store.uri), records)
    assert "rendered/filled/a-0/picture-0 1#.jpg" in page
    assert 'href="../' not in page


def review_of(html: str) -> str:
    return html.partition("<h2>Visible seams, for review</h2>")[2].partition("</section>")[0]


def test_visible_seams_are_listed_the_worst_first_with_their_pictures(store: Store, records: list[Committed]) -> None:
    review = review_of(page_of(store, records, review_seam=2))
    shown = re.findall(r"<figcaption><bdi>(.*?)</bdi>: seam ([\d.]+)\s", review)
    assert shown == [("b-0/picture-3", "3.5"), ("a-0/picture-3", "3.0"), ("b-0/picture-2", "2.5")]
    assert "3 of 8 filled images have a seam above 2;" in review
    assert [Seen(review).images(f"{word}: {key}") for key, _ in shown for word in ("before", "after")] == [1] * 6


def test_a_visible_seam_without_a_preview_is_still_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    records = write_output(store)
    store.delete([info.path for info in store.list("_previews/")])
    review = review_of(page_of(store, records, review_seam=3.2))
    assert "<bdi>b-0/picture-3</bdi>: seam 3.5" in review
    assert "<img" not in review


def test_no_visible_seam_is_said_and_nobody_is_told_who_did_not_ask(store: Store, records: list[Committed]) -> None:
    assert "0 of 8 filled images have a seam above 4;" in review_of(page_of(store, records, review_seam=4))
    assert "Visible seams" not in page_of(store, records)


def test_the_worst_of_many_seams_are_listed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    review = review_of(page_of(store, write_output(store, images=SEAMS, rejected=0), review_seam=1))
    scores = [float(score) for score in re.findall(r"</bdi>: seam ([\d.]+)\s", review)]
    assert scores == [23.5 - i / 2 for i in range(SEAMS)]
    assert f"The worst {SEAMS}; images/ has every seam." in review


def test_rejects_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    each = REJECTS // 2 + 20
    html = page_of(store, write_output(store, images=each, rejected=each))
    assert html.count('class="thumb"') == REJECTS
    assert "And 40 more rejected images" in html


@pytest.mark.parametrize(("exit_code", "badge"), [(0, "finished"), (3, "needs review")])
def test_exit_state(tmp_path: Path, exit_code: int, badge: str) -> None:
    records = [committed(written=2, rejected=1, rejects=(("decode", "truncated", 1),))]
    html = page_of(open_store(str(tmp_path)), records, exit_code=exit_code)
    assert f">{badge}</span>" in html


def test_a_private_run_says_that_it_shows_no_original(store: Store, records: list[Committed], html: str) -> None:
    assert "No original is shown" not in html
    assert "No original is shown" in page_of(store, records, private=True)


def test_failed_shards_and_names_that_are_not_utf8(tmp_path: Path) -> None:
    record = committed(
        rejected=1, shard="bad-\udcff.tar", failure="tar_truncated", rejects=(("read", "tar_truncated", 1),)
    )
    html = page_of(open_store(str(tmp_path)), [record], exit_code=3)
    assert "Shards that could not be read to their end: 1" in html
    assert "bad-\\udcff.tar" in html


def test_an_empty_output(tmp_path: Path) -> None:
    html = page_of(open_store(str(tmp_path)), [])
    assert "No segment was found." in html
    assert "No previews were kept." in html


def test_deleted_previews_do_not_stop_the_page(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    records = write_output(store)
    store.delete([info.path for info in store.list("_previews/")])
    html = page_of(store, records)
    assert "No previews were kept." in html
    assert html.count('class="thumb"') == 4


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    records = write_output(store)
    store.delete([info.path for info in store.list("images/")])
    with pytest.raises(FileNotFoundError):
        page_of(store, records)
