"""Images in formats that Pillow does not write, made by the libraries of each format."""

from __future__ import annotations

import base64
import gzip
import io
import struct
from typing import Any

import nibabel
import numpy as np
import pillow_heif
import pillow_jxl
from numpy.typing import NDArray
from PIL import Image
from pillow_heif import as_plugin
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset

from tests.fakes import metadata_samples

LOSSLESS_HEIC: dict[str, Any] = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}


def noise(height: int = 37, width: int = 53, channels: int = 3, seed: int = 1) -> NDArray[np.uint8]:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def heic(*pictures: NDArray[np.uint8] | Image.Image, **options: Any) -> bytes:
    file = pillow_heif.HeifFile()
    for picture in pictures:
        file.add_from_pillow(picture if isinstance(picture, Image.Image) else Image.fromarray(picture))
    out = io.BytesIO()
    file.save(out, **{**LOSSLESS_HEIC, **options})
    return out.getvalue()


def saved_as_heic(image: Image.Image, *others: Image.Image, **options: Any) -> bytes:
    """As Pillow's `save` does with the plugin of pillow-heif, which is not registered here."""
    out = io.BytesIO()
    image.encoderinfo = {**LOSSLESS_HEIC, "append_images": others, **options}
    as_plugin._save_all_heif(image, out, "")
    return out.getvalue()


def jxl(picture: NDArray[Any], *, lossless: bool = True, **metadata: Any) -> bytes:
    image = Image.fromarray(picture)
    encoder: Any = pillow_jxl.Encoder(  # type: ignore[call-arg]
        mode=image.mode, lossless=lossless, quality=100 if lossless else 90, use_container=bool(metadata)
    )
    boxes = {"exif": None, "jumb": None, "xmp": None, "compress": False, **metadata}
    data: bytes = encoder(image.tobytes(), image.width, image.height, jpeg_encode=False, **boxes)
    return data


def jxl_of_jpeg(data: bytes, width: int, height: int) -> bytes:
    """A JPEG packed without loss, as cjxl does."""
    encoder: Any = pillow_jxl.Encoder(mode="RGB", lossless=False, quality=90)  # type: ignore[call-arg]
    packed: bytes = encoder(data, width, height, jpeg_encode=True)
    return packed


def dicom(pixels: NDArray[Any], *, frames: int = 1, syntax: str = uid.ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """pixels: (frames x) H x W (x 3). elements: by keyword, over those that the pixels say."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3.4")
    meta.TransferSyntaxUID = uid.UID(syntax)
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    picture = pixels[0] if frames > 1 else pixels
    colour = picture.ndim == 3
    defaults: dict[str, Any] = {
        "PatientName": "Planted^Secret",
        "PatientID": "PLANTED-SECRET",
        "Rows": picture.shape[0],
        "Columns": picture.shape[1],
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": 8 * pixels.dtype.itemsize,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }
    if colour:
        defaults["PlanarConfiguration"] = 0
    if frames > 1:
        defaults["NumberOfFrames"] = frames
    for name, value in {**defaults, **elements}.items():
        setattr(dataset, name, value)
    dataset.HighBit = dataset.BitsStored - 1
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    if syntax == uid.RLELossless:
        dataset.file_meta.TransferSyntaxUID = uid.UID(uid.ExplicitVRLittleEndian)
        dataset.compress(uid.RLELossless)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def nifti(voxels: NDArray[Any], *, second: bool = False, packed: bool = False, **header: Any) -> bytes:
    kind: Any = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    image = kind(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]))
    image.header["descrip"] = b"PLANTED-SECRET"
    for name, value in header.items():
        image.header[name] = value
    data: bytes = image.to_bytes()
    return gzip.compress(data, mtime=0) if packed else data


# --- with a secret in every place of metadata ------------------------------------------------------------------


def planted_heic(image: Image.Image) -> bytes:
    """EXIF with GPS and a thumbnail, XMP, and a coded thumbnail."""
    return heic(image, exif=metadata_samples.full_exif(), xmp=metadata_samples.XMP, thumbnails=[64], quality=90)


def planted_jxl(image: Image.Image) -> bytes:
    return jxl(np.asarray(image), exif=metadata_samples.full_exif().removeprefix(b"Exif\0\0"), xmp=metadata_samples.XMP)


def planted_jpeg2000(image: Image.Image) -> bytes:
    """A comment in the codestream, and boxes of EXIF, XMP and an unknown kind."""
    boxes = (
        (b"uuid", b"JpgTiffExif->JP2" + metadata_samples.full_exif().removeprefix(b"Exif\0\0")),
        (b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + metadata_samples.XMP),
        (b"free", metadata_samples.SECRET),
    )
    data = saved(image, "JPEG2000", comment=metadata_samples.SECRET)
    return data + b"".join(struct.pack(">I4s", 8 + len(body), kind) + body for kind, body in boxes)


def planted_dicom(image: Image.Image) -> bytes:
    return dicom(np.asarray(image), InstitutionName="PLANTED-SECRET", PatientComments="PLANTED-SECRET")


def planted_nifti(image: Image.Image) -> bytes:
    voxels = np.asarray(image.convert("L")).T[..., None].astype(np.int16)
    return nifti(voxels, aux_file=b"PLANTED-SECRET", intent_name=b"PLANTED-SECRET")


PLANTED = {
    "heic.heic": planted_heic,
    "jxl.jxl": planted_jxl,
    "jpeg2000.jp2": planted_jpeg2000,
    "dicom.dcm": planted_dicom,
    "nifti.nii": planted_nifti,
}


# --- colours of 12 bits ----------------------------------------------------------------------------------------

DEEP = np.array([0, 1000, 2048, 4095], np.uint16)
"""A row of each channel of `DEEP_JPEG2000`, 4 x 4: red so, green turned, blue half of it, alpha 2048."""
DEEP_JPEG2000 = {
    3: base64.b64decode(
        "/0//UQAvAAAAAAAEAAAABAAAAAAAAAAAAAAABAAAAAQAAAAAAAAAAAADCwEBCwEBCwEB/1IADAAAAAEAAAQEAAH/XAAEQGD/kAAK"
        "AAAAAABNAAH/k9/gUBFiNPlJvyWaJUKTvYMLjrjCXyX43+BUIWfzG1b9Y/YBY9K8W+dlxy++I1+P3+A0EWIsfZoHAP8MBUvmW//Z"
    ),
    4: base64.b64decode(
        "/0//UQAyAAAAAAAEAAAABAAAAAAAAAAAAAAABAAAAAQAAAAAAAAAAAAECwEBCwEBCwEBCwEB/1IADAAAAAEAAAQEAAH/XAAEQGD/"
        "kAAKAAAAAABOAAH/k9/gUBFiNPlJvyWaJUKTvYMLjrjCXyX43+BUIWfzG1b9Y/YBY9K8W+dlxy++I1+P3+A0EWIsfZoHAP8MBUvm"
        "W4D/2Q=="
    ),
}
"""Channels -> a codestream without loss that OpenJPEG wrote (Pillow and OpenCV write none of colours of this depth)."""
