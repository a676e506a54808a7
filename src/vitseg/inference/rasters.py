# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Files that rasterio (GDAL) reads in parts, however large they are."""

import itertools
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import EXTRASAMPLES, TiffImageFile

from ..extras import require
from ..images import check_size, open_header
from ..label_maps import ignored_id
from ..models.images import to_rgb
from .turning import Turn


# Megabytes of decoded blocks that GDAL keeps.
CACHE = 64
# No compression of pictures makes more pixels of a byte; a file that claims more holds nothing, or means harm.
MOST_PIXELS_PER_BYTE = 1024
# A block is decoded whole; larger ones than so many bytes are not.
LARGEST_BLOCK = 2**28
# What TIFF calls an opacity that colours are multiplied with.
PREMULTIPLIED = 1
# In its metres, which grow towards the poles, nothing can be measured.
WEB_MERCATOR = 3857


class Raster:
    """
    A file of which parts are read by rasterio.

    Args:
        dataset: as rasterio opens it.
        bands: which of its bands are red, green and blue (or the one that is grey), from 1; by default the file says.
        value_range: the numbers that are black and white; by default 0 and 255, of bytes.
    """

    def __init__(
        self, dataset: Any, bands: Sequence[int] | None = None, value_range: tuple[float, float] | None = None
    ):
        self.dataset = dataset
        self.turn = Turn(_orientation(dataset), dataset.shape)
        self.height, self.width = self.turn.size
        self.value_range = value_range
        self.bands, self.palette = _chosen_bands(dataset, bands)
        self._check_values()
        self._check_size()
        # Colours may be faded already, to black.
        extra = _tag(dataset, EXTRASAMPLES) or ()
        self.is_premultiplied = len(self.bands) == 4 and PREMULTIPLIED in extra
        flags = {flag.name for band in self.bands for flag in dataset.mask_flag_enums[band - 1]}
        # What is called opacity may be another band; whoever names the bands knows.
        self.is_partial = "nodata" in flags or ("per_dataset" in flags and not ("alpha" in flags and bands))

    def read(self, rows: slice, columns: slice) -> torch.Tensor:
        values = self._read_stored(*self.turn.stored(rows, columns))
        return to_rgb(torch.from_numpy(self.turn.upright(self._to_bytes(values)))).contiguous()

    def valid(self, rows: slice, columns: slice) -> np.ndarray | None:
        if not self.is_partial:
            return None
        with _named_errors():
            mask = self.dataset.dataset_mask(window=_window(*self.turn.stored(rows, columns)))
        return self.turn.upright(mask) > 0

    def overview(self, width: int, height: int) -> Image.Image:
        rgb = to_rgb(torch.from_numpy(self._to_bytes(self._read_smaller(width, height))))
        return Image.fromarray(rgb.permute(1, 2, 0).numpy())

    def ground_resolution(self) -> tuple[float, float]:
        crs, transform = self.dataset.crs, self.dataset.transform
        if crs is None or transform.is_identity:
            raise ValueError("it does not say where on Earth it is: give --scale instead of --gsd")
        if not crs.is_projected or crs.to_epsg() == WEB_MERCATOR:
            unit = "in degrees" if crs.is_geographic else f"not in metres on the ground ({crs.to_string()})"
            raise ValueError(
                f"its pixels are measured {unit}: reproject it, as with `rio warp IN.tif OUT.tif --dst-crs "
                f"{self._utm_zone()}`, or give --scale instead of --gsd"
            )
        metres = crs.linear_units_factor[1]
        return math.hypot(transform.b, transform.e) * metres, math.hypot(transform.a, transform.d) * metres

    @property
    def place(self) -> dict[str, Any]:
        place = {"crs": self.dataset.crs}
        if not self.dataset.transform.is_identity:
            place["transform"] = self.dataset.transform
        if self.dataset.gcps[0]:
            place["gcps"], place["crs"] = self.dataset.gcps
        return place

    def save_polygons(self, label_map: str, names: Sequence[str], path: str) -> None:
        """
        Write the areas of a label map, which `save_tiff` wrote, as GeoJSON: longitude and latitude where it is known
        where on Earth they are, and otherwise pixels, from the upper left corner.
        """
        import rasterio
        from rasterio.features import shapes
        from rasterio.warp import transform_geom

        crs = self.dataset.crs
        with rasterio.open(label_map) as file, Path(path).open("w", encoding="utf-8") as out:
            out.write('{"type": "FeatureCollection", "features": [')
            separator = "\n"
            for geometry, value in shapes(rasterio.band(file, 1), transform=file.transform):
                if value == ignored_id(len(names)):
                    continue
                if crs:
                    geometry = transform_geom(crs, "EPSG:4326", geometry, precision=7)
                feature = {
                    "type": "Feature",
                    "properties": {"id": int(value), "name": names[int(value)]},
                    "geometry": _right_handed(geometry),
                }
                out.write(separator + json.dumps(feature, ensure_ascii=False))
                separator = ",\n"
            out.write("\n]}\n")

    def _utm_zone(self) -> str:
        """The zone of the middle of the picture."""
        from rasterio.warp import transform

        x, y = self.dataset.xy(self.height / 2, self.width / 2)
        (longitude,), (latitude,) = transform(self.dataset.crs, "EPSG:4326", [x], [y])
        return f"EPSG:{(326 if latitude >= 0 else 327) * 100 + int((longitude + 180) // 6) % 60 + 1}"

    def _read_stored(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of its bands as it is stored."""
        with _named_errors():
            return self.dataset.read(self.bands, window=_window(rows, columns))

    def _read_smaller(self, width: int, height: int) -> np.ndarray:
        """All of its bands, upright and made smaller."""
        from rasterio.enums import Resampling

        # Positions in a palette have no mean.
        resampling = Resampling.nearest if self.palette is not None else Resampling.average
        stored_size = Turn(self.turn.orientation, (height, width)).size
        with _named_errors():
            values = self.dataset.read(self.bands, out_shape=(len(self.bands), *stored_size), resampling=resampling)
        return self.turn.upright(values)

    def _to_bytes(self, values: np.ndarray) -> np.ndarray:
        if self.palette is not None:
            return np.moveaxis(self.palette[values[0]], -1, 0)
        if self.is_premultiplied:
            return np.minimum(values[:-1], values[-1:]) + (255 - values[-1:])  # on white
        if self.value_range is None:
            return values
        black, white = self.value_range
        scaled = (values.astype(np.float32) - black) * (255 / (white - black))
        return np.nan_to_num(scaled).clip(0, 255).round().astype(np.uint8)

    def _check_values(self) -> None:
        band = self.bands[0]
        dtype, bits = self.dataset.dtypes[band - 1], self.dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS")
        self._check_type()
        are_bytes = dtype == "uint8" and bits in (None, "8")
        if self.palette is None and self.value_range is None and not are_bytes:
            kind = f"{bits} bits" if bits else dtype
            raise ValueError(
                f"it holds numbers of type {kind}, which do not say what is black and what is white: say it, as in "
                "--value-range 0 3000"
            )

    def _check_type(self) -> None:
        dtype = self.dataset.dtypes[self.bands[0] - 1]
        if np.dtype(dtype).kind not in "uif":
            raise ValueError(f"it holds numbers of type {dtype}, which are no picture")

    def _check_size(self) -> None:
        encoded = Path(self.dataset.name).stat().st_size
        if self.height * self.width > MOST_PIXELS_PER_BYTE * encoded:
            check_size((self.width, self.height))
        block = math.prod(self.dataset.block_shapes[0]) * len(self.dataset.indexes)
        if block * np.dtype(self.dataset.dtypes[0]).itemsize > LARGEST_BLOCK:
            height, width = self.dataset.block_shapes[0]
            raise ValueError(
                f"it is stored in blocks of {width} x {height} pixels, which do not fit into the memory: store it in "
                "smaller ones, as with `rio convert IN.tif OUT.tif --co tiled=yes`"
            )


@contextmanager
def open_raster(
    path: Path,
    driver: str,
    bands: Sequence[int] | None = None,
    value_range: tuple[float, float] | None = None,
) -> Iterator[Raster]:
    """
    A file of which parts are read.

    Args:
        path, driver: see `open_dataset`.
        bands, value_range: see `Raster`.

    Raises:
        ValueError: if it is no image, or damaged, or of numbers that do not say what is black and what is white.
        MissingExtraError: if rasterio is not installed.
    """
    with open_dataset(path, driver) as dataset:
        yield Raster(dataset, bands, value_range)


@contextmanager
def open_dataset(path: Path, driver: str) -> Iterator[Any]:
    """
    A file as rasterio opens it.

    Args:
        path: the file.
        driver: what GDAL calls its format.

    Raises:
        ValueError: if it is no image, or damaged.
        MissingExtraError: if rasterio is not installed.
    """
    require("geo")
    import rasterio

    # What is missing of a JPEG would be grey, and a warning.
    with rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_ERROR_ON_LIBJPEG_WARNING=True), without_georeference_warnings():
        with _named_errors():
            dataset = rasterio.open(path, driver=driver)
        with dataset:
            yield dataset


@contextmanager
def without_georeference_warnings() -> Iterator[None]:
    """rasterio warns of every file that does not say where on Earth it is."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def _named_errors() -> Iterator[None]:
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        raise ValueError(f"Cannot decode the image: {error.__cause__ or error}") from error
    except UnicodeEncodeError as error:
        raise ValueError("its name, or a folder's, is not UTF-8, as those are that GDAL reads: rename it") from error


def _right_handed(geometry: dict[str, Any]) -> dict[str, Any]:
    """A polygon or several, as GeoJSON asks for them: outer rings counter-clockwise, those of holes clockwise."""
    is_single = geometry["type"] == "Polygon"
    polygons = [
        [ring if (_area(ring) > 0) == (index == 0) else ring[::-1] for index, ring in enumerate(polygon)]
        for polygon in ([geometry["coordinates"]] if is_single else geometry["coordinates"])
    ]
    return {"type": geometry["type"], "coordinates": polygons[0] if is_single else polygons}


def _area(ring: Sequence[Sequence[float]]) -> float:
    """Twice the area in a ring, which is positive if it runs counter-clockwise."""
    return sum((last_x - x) * (last_y + y) for (last_x, last_y), (x, y) in itertools.pairwise(ring))


def _orientation(dataset: Any) -> int:
    """As TIFF has it, see `Turn`; 1 where the file says how it lies on Earth."""
    is_placed = dataset.crs or dataset.gcps[0] or not dataset.transform.is_identity
    orientation = 1 if is_placed else _tag(dataset, ExifTags.Base.Orientation)
    return int(orientation) if orientation in range(1, 9) else 1


def _tag(dataset: Any, tag: int) -> Any:
    """What a TIFF file says that GDAL does not pass on."""
    try:
        with open_header(dataset.name) as image:
            return image.tag_v2.get(tag) if isinstance(image, TiffImageFile) else None
    except Exception:  # whatever a file leads Pillow to that it does not know
        return None


def _window(rows: slice, columns: slice) -> Any:
    from rasterio.windows import Window

    return Window.from_slices((rows.start, rows.stop), (columns.start, columns.stop))


def _chosen_bands(dataset: Any, bands: Sequence[int] | None) -> tuple[list[int], np.ndarray | None]:
    """The bands that make the picture, and the colours of a palette `(256, 4)`."""
    if bands:
        missing = [band for band in bands if not 1 <= band <= dataset.count]
        if missing:
            raise ValueError(f"it has {dataset.count} bands, and --bands names {missing[0]}")
        return list(bands), None
    meanings = [interpretation.name for interpretation in dataset.colorinterp]
    opacity = [meanings.index("alpha") + 1] if "alpha" in meanings else []
    if {"red", "green", "blue"} <= {*meanings}:
        return [meanings.index(color) + 1 for color in ("red", "green", "blue")] + opacity, None
    if meanings == ["palette"]:
        table = np.zeros((2 ** (8 * np.dtype(dataset.dtypes[0]).itemsize), 4), np.uint8)
        for position, color in dataset.colormap(1).items():
            table[position] = color
        return [1], table
    if meanings[0] == "gray" and len(meanings) - len(opacity) == 1:
        return [1, 1, 1, *opacity] if opacity else [1], None
    raise ValueError(
        f"its {dataset.count} bands are {', '.join(meanings)}: say which are red, green and blue, as in --bands 3 2 1"
    )
