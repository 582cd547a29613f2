"""One file per stage: read inputs, call the layers below, write outputs atomically."""
