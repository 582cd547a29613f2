"""Which model is in use, which ones stand for it, and what happened before.

A model's files are a folder that DVC tracks (`dvc add`), so that equal files are kept once, and
`dvc push` and `dvc pull` carry them. What was decided is `registry/registry.json`, small, versioned
and in git, where a change of champion is a diff that can be reviewed. GTO would keep both in git
tags instead: each candidate would need a commit, which a person who presses *Materialize* does not
make, and a tag has no room for the reasons of a refusal.
"""
