"""What a file says beside its pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from PIL.ExifTags import Base

from napari_car.files.exif import PREFIX, exif_block, exif_dpi, load_tags, sane_dpi, value_of
from napari_car.files.extended_xmp import joined
from napari_car.files.iptc import from_hex, resources_within, within_segments

# PNG has no IPTC chunk; ImageMagick's hexadecimal text chunk is what others read. EXIF was kept so, too.
PNG_IPTC, PNG_PHOTOSHOP = "Raw profile type iptc", "Raw profile type 8bim"
_PNG_EXIF = "Raw profile type exif"
PNG_XMP = "XML:com.adobe.xmp"


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels; whatever is absent is empty.

    Parameters
    ----------
    exif
        EXIF block: a TIFF structure, without the ``Exif`` prefix of JPEG.
    icc
        ICC profile.
    xmp
        XMP packet.
    iptc
        IPTC-IIM records.
    photoshop
        Photoshop's image resources beside those records, such as clipping paths.
    dpi
        Pixels per inch, horizontal and vertical.
    comment
        The comment of a JPEG, GIF or PNG.
    text
        Other text of a PNG: pairs of keyword and text.
    colour
        What else a PNG says of its colours: pairs of the kind of a chunk and its body.
    page_exif
        Of a stack, the EXIF block of each page, where they say different things; ``exif`` is that of the first.

    Examples
    --------
    >>> Metadata(comment="a boat").orientation
    1
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    photoshop: bytes = b""
    dpi: tuple[float, float] | None = None
    comment: str = ""
    text: tuple[tuple[str, str], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()
    page_exif: tuple[bytes, ...] = ()

    @property
    def orientation(self) -> int:
        """EXIF orientation 1–8 of the stored pixels; 1, upright, where nothing is said."""
        value = value_of(exif_tags(self), Base.Orientation) if self.exif else 1
        return int(value) if value in range(1, 9) else 1

    def upright(self) -> Metadata:
        """Return what is said of pixels that have been turned upright."""
        return replace(self, exif=_upright(self.exif), page_exif=tuple(map(_upright, self.page_exif)))

    def strip(self) -> Metadata:
        """Return only what the picture needs to look the same: what its colours are, and orientation."""
        tags = Image.Exif()
        tags[Base.Orientation] = self.orientation
        is_turned = self.orientation != 1
        return Metadata(exif=exif_block(tags) if is_turned else b"", icc=self.icc, colour=self.colour)


def _upright(exif: bytes) -> bytes:
    """Return a block without orientation."""
    tags = load_tags(exif)
    if Base.Orientation not in tags:
        return exif
    del tags[Base.Orientation]
    return exif_block(tags)


def exif_tags(metadata: Metadata) -> Image.Exif:
    """Return the EXIF tags, empty where the block is damaged."""
    return load_tags(metadata.exif)


def metadata_of(image: Image.Image) -> Metadata:
    """Return what a Pillow image, already loaded, says beside its pixels."""
    info = image.info
    text = {k: str(v) for k, v in getattr(image, "text", {}).items()}
    segments = getattr(image, "applist", ())  # of a JPEG
    records = from_hex(text.pop(PNG_IPTC, ""))  # or Photoshop's block with them
    block = from_hex(text.pop(PNG_PHOTOSHOP, "")) or within_segments(body for kind, body in segments if kind == "APP13")
    (iptc, resources), (further_iptc, further_resources) = resources_within(records), resources_within(block)
    comments = [body for kind, body in segments if kind == "COM"]  # info has the last
    comments = comments or [text.pop("Comment", None) or info.get("comment", "")]
    text.pop(PNG_XMP, None)
    exif = from_hex(text.pop(_PNG_EXIF, "")) or info.get("exif", b"")
    metadata = Metadata(
        exif=exif.removeprefix(PREFIX).removeprefix(PREFIX),
        icc=info.get("icc_profile") or b"",
        xmp=joined(_as_bytes(info.get("xmp", b"")), (body for kind, body in segments if kind == "APP1")),
        iptc=iptc or (b"" if resources else records) or further_iptc,
        photoshop=further_resources or resources,
        comment="\n".join(filter(None, map(_as_text, comments))),
        text=tuple(text.items()),
    )
    dpi = _jfif_dpi(info) if image.format in ("JPEG", "MPO") else info.get("dpi")
    return replace(metadata, dpi=sane_dpi(dpi) or exif_dpi(exif_tags(metadata)))


def _jfif_dpi(info: dict[Any, Any]) -> tuple[float, float] | None:
    """Return the resolution that a JPEG states outside of its EXIF; Pillow makes up 72 dpi where there is none."""
    # Source: ITU-T T.871, 10.1: unit 1 is dots per inch, 2 per centimetre, 0 none
    per_inch = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0))
    if per_inch is None:
        return None
    x, y = info["jfif_density"]
    return x * per_inch, y * per_inch


def _as_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _as_text(value: Any) -> str:
    """Return a comment as text; JPEG and GIF leave its encoding open, and some end it as C does."""
    if isinstance(value, str):
        return value.rstrip("\0")
    try:
        return bytes(value).rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return bytes(value).rstrip(b"\0").decode("latin-1")
