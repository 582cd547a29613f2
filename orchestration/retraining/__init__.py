"""Retraining works in a git worktree of its own, on the branch `retraining`.

So a person who edits code, parameters or data never races with it: it runs what is committed, takes
from the person's `data/` a copy at its start, and ends with one commit on its branch. The person's
files, index and branch stay as they are; `git merge retraining` brings over what came of it. The two
trees share DVC's cache, the embedding store and weights, so nothing is computed or kept twice.

A run carries the tag `mm/worktree`, which job `retrain` gives it. Whichever of its steps comes first
prepares the worktree (`run`); then stages run there as elsewhere; one step promotes (`promotion`), and
the last one commits (`commit`). Every part of that may be killed and is done again.
"""
