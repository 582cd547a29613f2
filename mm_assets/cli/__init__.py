"""`mm`, the command line: one file per group of commands, none of which imports anything heavy."""
