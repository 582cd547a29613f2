"""Where samples come from; one file per source, each fills `data/`."""
