"""A receipt's verdict, its table, and its way through a file."""

import pytest

from pipeline.audit.receipt import AuditLimits, Canaries, Finding, Receipt, read
from pipeline.errors import RunError


def face(image: str, side: int, score: float = 0.99) -> Finding:
    return Finding(image=image, what=f"a face of {side} px", side=side, score=score, x=5, y=6)


RECEIPT = Receipt(
    published=1000,
    containers=80,
    opened=64,
    audited=100,
    limits=AuditLimits(sample=100, max_residual=0.01),
    faces=(face("a.jpg", 40), face("a.jpg", 200), face("b.jpg", 25)),
    small=(face("c.jpg", 12),),
    metadata=(Finding(image="d.jpg", what="Exif (90 bytes)"),),
    canaries=Canaries(planted=10, left=1, note=""),
)


@pytest.mark.parametrize("sample", [100, 0.5, 1.0])
def test_a_receipt_survives_its_file(sample: float) -> None:
    receipt = Receipt(published=3, audited=3, limits=AuditLimits(sample=sample), faces=RECEIPT.faces)
    found = read(receipt.json(), "out/audit/receipt.json")
    assert found == receipt
    assert type(found.limits.sample) is type(sample)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"{", b""),
        (b'"published": 1000', b'"x": 1'),
        (b'"score": 0.95', b'"score": 95'),
        (b'"limits": {', b'"limits": {"x": 1, '),
    ],
)
def test_a_damaged_receipt_is_named(old: bytes, new: bytes) -> None:
    data = RECEIPT.json()
    assert old in data
    with pytest.raises(RunError, match=r"out/audit/receipt\.json: .*delete it"):
        read(data.replace(old, new, 1), "out/audit/receipt.json")


def test_every_reason_not_to_pass_is_given() -> None:
    faces, canaries, metadata = RECEIPT.problems()
    assert faces.startswith("MTCNN still finds a face in 2 of 100 images, more than audit.max_residual=0.01")
    assert "a face of 200 px in a.jpg" in faces  # the largest
    assert canaries.startswith("1 of 10 canary faces")
    assert "d.jpg: Exif (90 bytes)" in metadata
    assert (
        Receipt(published=9, audited=9, limits=AuditLimits(max_residual=0.2), faces=(face("a", 40),)).problems() == ()
    )


def test_sizes_are_counted_in_buckets_above_the_smallest_face_that_counts() -> None:
    assert {name: (faces, images) for name, (faces, images, _) in RECEIPT.sizes().items()} == {
        "< 20 px": (1, 1),
        "20 to 31 px": (1, 1),
        "32 to 63 px": (1, 1),
        "64 to 127 px": (0, 0),
        ">= 128 px": (1, 1),
    }


def test_the_table_says_how_much_was_inspected_and_no_name_steers_the_terminal() -> None:
    text = Receipt(published=1, audited=1, unreadable=(Finding(image="x\x1b[2J\n.png", what="truncated"),)).text()
    assert "x?[2J?.png: truncated" in text
    assert "100 of 1,000 images in 64 of 80 files" in RECEIPT.text()
    assert "9 of 10 faces removed" in RECEIPT.text()
