"""What to do about a quarantined row, by the reason that it was quarantined for."""

from __future__ import annotations

from mm_assets.contracts.errors import DataContractError

_AGAIN = "replace the file by a good one (`--file MODALITY=PATH`)"
_EMPTY_CELL = "or leave the cell empty (`--set COLUMN=`) if the sample is good without it"
_WRONG_PATH = f"write the right path (`--set COLUMN=PATH`), {_EMPTY_CELL}"
_LIMIT = "or change the limit in `modalities.MODALITY.options` of params.yaml"

ADVICE = {
    "array_columns": f"write the columns as `modalities.MODALITY.options.columns` names them and {_AGAIN}, or "
    "mend that option in params.yaml",
    "array_too_large": f"cut the array and {_AGAIN}, {_LIMIT} (`max_megabytes`, `max_s`)",
    "array_unreadable": f"it is no table or array of numbers, or damaged: {_AGAIN}, {_EMPTY_CELL}",
    "audio_channels": f"mix the channels down to fewer and {_AGAIN}, {_EMPTY_CELL}",
    "audio_not_finite": f"export the recording again from its source and {_AGAIN}, {_EMPTY_CELL}",
    "audio_rate": f"export the recording at an ordinary rate, such as 16 or 48 kHz, and {_AGAIN}, {_EMPTY_CELL}",
    "audio_silent": f"listen to it; {_AGAIN}, {_EMPTY_CELL}, {_LIMIT} (`silence_db`)",
    "audio_too_long": f"cut it and {_AGAIN}, {_LIMIT} (`max_s`)",
    "audio_too_short": f"{_AGAIN}, {_EMPTY_CELL}, {_LIMIT} (`min_s`)",
    "audio_unreadable": f"it is no sound file, or damaged: {_AGAIN}, {_EMPTY_CELL}",
    "category_unreadable": f"write one text or number in the cell (`--set COLUMN=VALUE`), {_EMPTY_CELL}",
    "column_unknown": "take the value out, or name the column in `modalities.MODALITY.columns`",
    "content_duplicated": "nothing, if it is the same sample: one copy is kept; else the two rows "
    "name the same file or text by mistake, and one needs its own",
    "decoder_crashed": f"the decoder died of this file, so it is damaged or hostile: {_AGAIN}, {_EMPTY_CELL}",
    "decoder_out_of_memory": f"make the file smaller and {_AGAIN}, or raise `compute.decode_megabytes` in params.yaml",
    "decoder_timeout": f"make the file smaller and {_AGAIN}, or raise `compute.decode_s` in params.yaml",
    "event_unreadable": f"write each event as [time, type] or [time, type, value], {_EMPTY_CELL}",
    "events_too_few": f"{_EMPTY_CELL[3:]}, {_LIMIT} (`min_events`)",
    "events_too_many": f"leave the oldest events out (`--set COLUMN=VALUE`), {_LIMIT} (`max_events`)",
    "events_unreadable": f'write a list such as [[0, "view"], [3.5, "purchase", 19.9]], {_EMPTY_CELL}',
    "file_empty": f"the copy or download broke off: {_AGAIN}, {_EMPTY_CELL}",
    "file_missing": f"put the file where the cell says, or {_WRONG_PATH}",
    "file_too_large": f"make the file smaller and {_AGAIN}, {_LIMIT} (`max_megabytes`)",
    "file_unreadable": f"give yourself the right to read the file (`ls -l`), or {_WRONG_PATH}",
    "group_in_two_splits": "give all rows of the group one split, or leave `data.split` out of "
    "params.yaml and let groups be split by their name",
    "group_missing": "write the row's group (`--set COLUMN=VALUE`); a value of its own if it shares "
    "nothing with other rows",
    "id_duplicated": "give the row an id of its own (`--set COLUMN=VALUE`), or delete it if it is "
    "the same row twice",
    "id_missing": "give the row an id that no other has (`--set COLUMN=VALUE`)",
    "image_not_finite": f"save the picture again without NaN or infinite pixels and {_AGAIN}, "
    f"{_EMPTY_CELL}",
    "image_overcompressed": f"save the picture again in an ordinary way and {_AGAIN}, {_EMPTY_CELL}, "
    f"{_LIMIT} (`max_pixels_per_byte`)",
    "image_too_large": f"make the picture smaller and {_AGAIN}, {_LIMIT} (`max_megapixels`)",
    "image_too_narrow": f"cut the picture and {_AGAIN}, {_EMPTY_CELL}, {_LIMIT} (`max_aspect`)",
    "image_too_small": f"{_AGAIN}, {_EMPTY_CELL}, {_LIMIT} (`min_px`)",
    "image_truncated": f"the copy or download broke off: {_AGAIN}, {_EMPTY_CELL}",
    "image_unreadable": f"it is no picture, or damaged: {_AGAIN}, {_EMPTY_CELL}",
    "label_contradicted": "look at the rows with this content and decide which label is right; "
    "write it in each of them (`--set COLUMN=LABEL`)",
    "label_unknown": "mend the label's spelling (`--set COLUMN=LABEL`), add it to "
    "`targets.TARGET.classes` in params.yaml, or leave the cell empty (`--set COLUMN=`)",
    "no_modality": "fill at least one modality (`--set COLUMN=VALUE`), or delete the row",
    "order_missing": "write where in its group the row belongs (`--set COLUMN=VALUE`)",
    "number_not_finite": f"write a number (`--set COLUMN=VALUE`), {_EMPTY_CELL}",
    "number_unreadable": f"write a number (`--set COLUMN=VALUE`), {_EMPTY_CELL}; if the column holds "
    "names, call it `categorical` in params.yaml",
    "path_absolute": f"media lie inside data/, so that they are versioned with it: {_WRONG_PATH}",
    "path_not_text": f"the cell must hold a path inside data/: {_WRONG_PATH}",
    "path_outside_data": f"copy the file into data/ and {_WRONG_PATH}",
    "row_empty": "fill at least one of its columns (`--set COLUMN=VALUE`)",
    "row_unreadable": f"write the columns' values as a JSON object, {_EMPTY_CELL}",
    "sequence_empty": f"{_EMPTY_CELL[3:]}: a sequence has at least one vector",
    "sequence_too_long": f"cut the sequence (`--set COLUMN=VALUE`), {_LIMIT} (`max_steps`)",
    "signal_amplitude": f"look whether its unit is that of the others; {_AGAIN}, {_EMPTY_CELL}, {_LIMIT} "
    "(`max_amplitude`)",
    "signal_channels": f"record all channels and {_AGAIN}, {_EMPTY_CELL}; if all rows are found, mend "
    "`modalities.MODALITY.options.channels` or `layout` in params.yaml",
    "signal_flat": f"look at the sensor, which may have come off; {_EMPTY_CELL[3:]}, {_LIMIT} (`flat: allow`)",
    "signal_gap_too_long": f"{_AGAIN}, {_EMPTY_CELL}, {_LIMIT} (`max_gap_s`)",
    "signal_missing": f"{_AGAIN}, {_EMPTY_CELL}, {_LIMIT} (`max_missing`)",
    "signal_not_finite": f"export the signal again without infinite samples and {_AGAIN}, {_EMPTY_CELL}",
    "signal_too_long": f"cut it and {_AGAIN}, {_LIMIT} (`max_s`)",
    "signal_too_short": f"{_AGAIN}, {_EMPTY_CELL}, {_LIMIT} (`min_s`)",
    "split_unknown": "write train, validation or test (`--set COLUMN=VALUE`)",
    "text_empty": "write the text (`--set COLUMN=TEXT`), or leave the cell empty (`--set COLUMN=`)",
    "text_not_text": f"write text in the cell (`--set COLUMN=TEXT`), {_EMPTY_CELL}",
    "text_too_long": f"shorten it (`--set COLUMN=TEXT`), {_LIMIT} (`max_chars`)",
    "time_unreadable": f"write the time in seconds, or such as 2026-05-01T12:30:00, {_EMPTY_CELL}",
    "vector_length": "compute the vector again as the others were, "
    f"{_EMPTY_CELL}; if all rows are found, mend `modalities.MODALITY.options.dim` in params.yaml",
    "vector_not_finite": f"compute the vector again without NaN or infinity, {_EMPTY_CELL}",
    "vector_unreadable": f"write a list of numbers such as [0.5, 2], {_EMPTY_CELL}",
    "video_too_large": f"make the video smaller and {_AGAIN}, {_LIMIT} (`max_megapixels`)",
    "video_too_long": f"cut it and {_AGAIN}, {_LIMIT} (`max_s`)",
    "video_too_many_frames": f"cut it and {_AGAIN}, {_LIMIT} (`max_frames`)",
    "video_too_many_streams": f"export its picture and sound alone and {_AGAIN}, {_LIMIT} (`max_streams`)",
    "video_too_small": f"{_AGAIN}, {_EMPTY_CELL}, {_LIMIT} (`min_px`)",
    "video_truncated": f"the copy or download broke off: {_AGAIN}, {_EMPTY_CELL}",
    "video_unreadable": f"it is no video, or damaged: {_AGAIN}, {_EMPTY_CELL}",
    "video_without_picture": f"it holds sound alone: {_AGAIN}, or name the column in a modality of kind audio",
}


def advise(reason: str) -> str:
    """Say what to do about a row that was quarantined for `reason`.

    Raises:
        DataContractError: No rule gives that reason.
    """
    if reason not in ADVICE:
        raise DataContractError(
            f"advise needs a reason that a rule gives, got {reason!r}; known are "
            f"{', '.join(sorted(ADVICE))}"
        )
    return ADVICE[reason]
