"""Reading media named by the sample table: inside the data folder, bounded in size."""

from __future__ import annotations

from pathlib import Path

from mm_assets.contracts.errors import BadSampleError


def read_media(cell: object, folder: Path, *, max_megabytes: float) -> bytes:
    """Read the file that a cell names.

    Args:
        cell: A path relative to the data folder.
        folder: The data folder. Symbolic links are followed first and judged by where they lead.
        max_megabytes: Size limit, in 10^6 bytes.

    Returns:
        The whole file.

    Raises:
        BadSampleError: ``path_not_text``, ``path_outside_data``, ``file_missing``,
            ``file_unreadable``, ``file_empty`` or ``file_too_large``.
    """
    if not isinstance(cell, str):
        raise BadSampleError(
            "path_not_text", f"the cell must hold a path as text, got {type(cell).__name__}"
        )
    try:
        path = (folder / cell).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise BadSampleError(
                "path_outside_data",
                f"{cell!r} leads outside the data folder; give a path relative to it",
            )
        if not path.is_file():  # a folder, device or pipe neither
            raise BadSampleError("file_missing", f"there is no file {cell!r} in the data folder")
        size = path.stat().st_size
        if size > max_megabytes * 1e6:
            raise BadSampleError(
                "file_too_large",
                f"{cell!r} has {size / 1e6:.1f} MB, the limit is {max_megabytes:g} MB",
            )
        data = path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:  # no permission, NUL in it, a link loop
        why = getattr(error, "strerror", None) or "it is no legal path"
        raise BadSampleError("file_unreadable", f"{cell!r} cannot be read: {why}") from None
    if not data:
        raise BadSampleError("file_empty", f"{cell!r} has no bytes")
    return data
