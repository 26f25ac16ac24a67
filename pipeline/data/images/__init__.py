"""Pictures as inputs: how one becomes values, and folders and archives of them."""

from netsurgeon.pipeline.data.images.decoding import check_fits, decode, picture_values
from netsurgeon.pipeline.data.images.folder import SUFFIXES, files_in, open_pictures
from netsurgeon.pipeline.data.images.options import PictureOptions

__all__ = ["SUFFIXES", "PictureOptions", "check_fits", "decode", "files_in", "open_pictures", "picture_values"]
