"""What a person sees in the terminal: each stage's own output, and nothing of Dagster's."""

import logging
import sys

import dagster as dg


class CompactFormatter(logging.Formatter):
    """One line: time, asset, what it said."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record that Dagster's log manager made."""
        meta = getattr(record, "dagster_meta", {})
        source = meta.get("step_key") or "dagster"
        return f"{self.formatTime(record, '%H:%M:%S')} {source:<22} {meta.get('orig_message', '')}"


def _is_for_people(record: logging.LogRecord) -> bool:
    """Leave out Dagster's events; a failure is told at the end, in one block."""
    return getattr(record, "dagster_meta", {}).get("dagster_event") is None


@dg.logger
def compact_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Give each stage's own output, one line per line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CompactFormatter())
    handler.addFilter(_is_for_people)
    logger = logging.Logger("stages", level=logging.INFO)
    logger.addHandler(handler)
    return logger
