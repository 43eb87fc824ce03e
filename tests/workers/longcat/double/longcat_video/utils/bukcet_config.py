"""The sizes of the double: those of the card. The file's name is spelled as the authors do."""

from service.domain.models.catalog import LONGCAT


def get_bucket_config(resolution, scale_factor_spatial):
    assert scale_factor_spatial in (16, 32)
    (found,) = (known for known in LONGCAT.resolutions if known.name == resolution)
    return {f"{height / width:.2f}": ([height, width], 1) for width, height in found.sizes}
