"""Retraining works in a git worktree of its own, on the branch `retraining`.

So a person who edits code, parameters or data never races with it: it runs what is committed, takes
from the person's `data/` a copy at its start, and ends with one commit on its branch. The person's
files, index and branch stay as they are; `git merge retraining` brings over what came of it. The two
trees share DVC's cache, the embedding store and weights, so nothing is computed or kept twice.

A run carries the tag `mm/worktree`, which job `retrain` gives it. Whichever of its steps comes first
prepares the worktree; every part of that may be killed and is done again.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path

import dagster as dg
from dvc.lock import LockError

from mm_assets.contracts.config import Section, read_config
from mm_assets.contracts.errors import MMAssetsError, RegistryError, StageError
from mm_assets.contracts.workspace import Workspace
from mm_assets.data.atomic import write_json
from mm_assets.data.lock import hold_lock
from mm_assets.data.mirror import mirror_folder, sign_folder
from mm_assets.registry import folders
from mm_assets.registry.git import ask_git, commit_staged, run_git
from mm_assets.registry.merging import adopt, merge_registries
from mm_assets.registry.promotion import Outcome
from mm_assets.registry.record import (
    REGISTRY_FILE,
    Registry,
    parse_registry,
    read_registry,
    write_registry,
)
from orchestration.dvc_runner import start
from orchestration.dvc_stages import DvcProject, read_stages

TAG, BATCHES, OUTCOME = "mm/worktree", "mm/batches", "mm/outcome"  # of a run
BRANCH = "retraining"
DATA, LOCK = "data.dvc", "dvc.lock"
REGISTRY = f"registry/{REGISTRY_FILE}"
WAIT_S, PATIENCE_S = 0.5, 600.0

Log = Callable[[str], None]


class RetrainingError(MMAssetsError):
    """Retraining cannot begin, or has nothing that it could commit to."""


class State(Section):
    """What is remembered of the worktree from run to run, beside it.

    Attributes:
        run: The run that it was last prepared for.
        ready: Whether that was finished.
        done: Whether the run has made its commit.
        batches: That were taken into its data.
        copied: The state of the person's `data/` when the run took a copy; none if it took none.
        persons_data: The version of the branch's data that is such a copy and has no batch in it: a
            later copy may take its place.
        persons_state: The state of the person's `data/` that has gone into the branch.
    """

    run: str = ""
    ready: bool = False
    done: bool = False
    batches: tuple[str, ...] = ()
    copied: str | None = None
    persons_data: str | None = None
    persons_state: str | None = None

    def begin(self, run: str) -> State:
        """Keep what outlives a run."""
        return State(run=run, persons_data=self.persons_data, persons_state=self.persons_state)

    def finish(self, data: str | None) -> State:
        """Remember what is on the branch now."""
        found: dict[str, object] = {"done": True}
        if self.copied is not None:
            found["persons_state"] = self.copied
            if not self.batches:
                found["persons_data"] = data
        return self.model_copy(update=found)


def is_retraining(run: dg.DagsterRun) -> bool:
    """Tell whether a run is to work in the worktree."""
    return TAG in run.tags


def choose(project: DvcProject, context: dg.AssetExecutionContext) -> DvcProject:
    """Say where a step runs its stage: in the person's own tree, or in the worktree of retraining.

    Args:
        project: As the definitions have it.
        context: Of the step.

    Raises:
        dagster.Failure: The worktree cannot be prepared.
    """
    return enter(project.root, context) if is_retraining(context.run) else project


def enter(root: Path, context: dg.AssetExecutionContext) -> DvcProject:
    """Prepare the worktree, unless that has been done for this run, and give it.

    Args:
        root: The person's tree.
        context: Of a step of a run with the tag.

    Raises:
        dagster.Failure: It cannot be prepared; says what to do.
    """
    try:
        prepare(root, context.run, context.instance, context.log.info)
    except MMAssetsError as error:
        raise dg.Failure(str(error)) from None
    return _open(root, identify(context.run))


def identify(run: dg.DagsterRun) -> str:
    """Give the id that a run shares with those that go on where it stopped."""
    return run.root_run_id or run.run_id if run.step_keys_to_execute else run.run_id


@lru_cache(maxsize=1)
def _open(root: Path, run: str) -> DvcProject:
    """Open the worktree once a run, for parsing it takes most of the time of a skipped stage."""
    main, tree = Workspace(root), Workspace(root).retraining
    path = os.pathsep.join(filter(None, [str(tree), os.environ.get("PYTHONPATH")]))
    return DvcProject(
        tree,
        environment={
            "MM_PROJECT": str(tree),
            "MM_STORE": str(main.store.absolute()),
            "MM_WEIGHTS": str(main.weights.absolute()),
            "PYTHONPATH": path,  # the code that is committed, before the person's, half edited
        },
    )


def prepare(root: Path, run: dg.DagsterRun, instance: dg.DagsterInstance, log: Log) -> None:
    """Bring the worktree to where a run starts: the person's commits, their data, the batches.

    Args:
        root: The person's tree.
        run: Has the tag; `mm/batches` may name batches.
        instance: Knows whether another run still works there.
        log: Is told what was done.

    Raises:
        RetrainingError: Git cannot be used, the branches conflict, both data have grown, or another
            run is at work.
        MMAssetsError: A batch cannot be taken, or the disk refuses.
    """
    main, tree = Workspace(root), Workspace(Workspace(root).retraining)
    require_git(root)
    with wait_for_lock(main.lock(BRANCH), what="preparing the worktree"):
        state, mine = read_state(root), identify(run)
        if state.run == mine and state.ready:
            return
        _require_turn(state, run, instance)
        state = state.begin(mine)
        _write_state(root, state)
        _ensure_worktree(root, tree.root, log)
        _clean(tree)
        _merge(main, tree, state, log)
        _share_cache(root, tree.root)
        _mend_link(main, tree)
        _require_same_stages(root, tree.root)
        copied = _bring_data(main, tree, state, log)
        batches = tuple(filter(None, run.tags.get(BATCHES, "").split(",")))
        _ingest(main, tree, batches, log)
        found = {"ready": True, "batches": batches, "copied": copied}
        _write_state(root, state.model_copy(update=found))


def promote(root: Path, run: dg.DagsterRun, log: Log) -> Outcome:
    """Judge what the worktree's pipeline made against the champion; where it wins, it is served.

    What the person promoted or rolled back meanwhile counts: theirs and the branch's registry are
    one, told by both histories. The person's own stays as it is, and only the link
    `registry/champion`, which servers read, is led to the worktree's copy of the model.

    Raises:
        MMAssetsError: There is no candidate, or nothing to compare it on.
    """
    main, tree = Workspace(root), Workspace(Workspace(root).retraining)
    _adopt(main, tree)
    before = read_registry(tree.registry)
    name = _run_promotion(_open(root, identify(run)), log)
    _adopt(main, tree)
    after = read_registry(tree.registry)
    publish(main, tree)
    told = [event for event in after.history if event not in before.history and event.model == name]
    model = after.find(name)
    what = told[-1].what if told else "taken back" if model.state == "taken_back" else "unchanged"
    return Outcome(what, name, model, after.champion)


def publish(main: Workspace, tree: Workspace) -> None:
    """Lead the person's `registry/champion` to the worktree's champion, in one step."""
    registry = read_registry(tree.registry)
    with wait_for_lock(main.lock("registry"), what="a change of the registry"):
        if registry.champion in (None, folders.published(main)):
            return
        folders.restore(tree, registry.champion, registry.find(registry.champion).files)
        main.registry.mkdir(exist_ok=True)
        folders.publish(main, registry.champion, source=tree)


def commit(root: Path, run: dg.DagsterRun) -> tuple[str | None, str]:
    """Make the run's one commit on its branch.

    Returns:
        Its short id, none where the run came to nothing new; and its message.

    Raises:
        RetrainingError: The worktree is another run's.
        RegistryError: Git refused.
    """
    main, tree = Workspace(root), Workspace(Workspace(root).retraining)
    with wait_for_lock(main.lock(BRANCH), what="committing"):
        state, mine = read_state(root), identify(run)
        if state.run != mine:
            raise RetrainingError(_moved_on())
        run_git(tree.root, "add", "--update")
        names = [LOCK, *(path.name for path in tree.root.glob("*.dvc")), "registry"]
        present = [name for name in names if (tree.root / name).exists()]
        run_git(tree.root, "add", "--", *present)
        message = _describe_run(tree, state, run)
        done = commit_staged(tree.root, message)
        if done is None and mine in run_git(tree.root, "log", "-1", "--format=%B"):
            done = run_git(tree.root, "rev-parse", "--short", "HEAD")  # made before it was killed
        if state.batches:
            from mm_assets.drift.incoming import mark_ingested

            mark_ingested(main, state.batches, run.run_id)
        _write_state(root, state.finish(folders.read_data_version(tree)))
        return done, message


def read_state(root: Path) -> State:
    """Read what is remembered of the worktree; nothing of one that never was."""
    path = _state_file(root)
    return State.model_validate_json(path.read_text("utf-8")) if path.is_file() else State()


def require_git(root: Path) -> None:
    """Require what a worktree needs.

    Raises:
        RetrainingError: The project is not the root of a git repository with a commit, or its
            current branch is the one that retraining writes to.
    """
    top = ask_git(root, "rev-parse", "--show-toplevel")
    aside = "; `make run` and job `pipeline` need none of this"
    if top is None or Path(top).resolve() != root.resolve():
        found = "there is none" if top is None else f"its repository is that of {top}"
        raise RetrainingError(
            f"retraining works in a git worktree and so needs {root} to be the root of a git "
            f"repository, but {found}; run `git init && dvc init -f && git add . && git commit` "
            f"there{aside}"
        )
    if ask_git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        raise RetrainingError(
            f"retraining starts from what is committed, and {root} has no commit yet; run "
            f"`git add . && git commit`{aside}"
        )
    if ask_git(root, "symbolic-ref", "--quiet", "--short", "HEAD") == BRANCH:
        raise RetrainingError(
            f"branch {BRANCH!r} is what retraining commits to, and is checked out in {root}; "
            "switch to your own branch: `git switch -`"
        )


@contextmanager
def wait_for_lock(path: Path, *, what: str) -> Iterator[None]:
    """Hold a lock while the block runs, after waiting for whoever holds it.

    Raises:
        StageError: It was not free within ten minutes.
    """
    until = time.monotonic() + PATIENCE_S
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(hold_lock(path, what=what))
                break
            except StageError:
                if time.monotonic() > until:
                    raise
                time.sleep(WAIT_S)
        yield


def _state_file(root: Path) -> Path:
    return Workspace(root).retraining.with_suffix(".json")


def _write_state(root: Path, state: State) -> None:
    write_json(_state_file(root), state.model_dump(mode="json"))


def _require_turn(state: State, run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Require that nobody else works there.

    Raises:
        RetrainingError: Another run does; or this one goes on where one stopped that another
            followed.
    """
    if state.run != identify(run) != run.run_id:
        raise RetrainingError(_moved_on())
    if state.done or state.run in ("", identify(run)):
        return
    alike = [
        dg.RunsFilter(run_ids=[state.run]),
        dg.RunsFilter(tags={"dagster/root_run_id": state.run}),
    ]
    others = [other for one in alike for other in instance.get_runs(one)]
    if working := [other.run_id for other in others if not other.is_finished]:
        raise RetrainingError(
            f"run {working[0]} is retraining, and two cannot share the worktree; wait until it has "
            "ended, or terminate it"
        )


def _moved_on() -> str:
    return (
        "another run has used the worktree since this one stopped, so it cannot go on there; "
        "launch `retrain` anew: what is unchanged takes seconds"
    )


def _ensure_worktree(root: Path, tree: Path, log: Log) -> None:
    """Make branch and worktree, or make them anew where a kill left half of one.

    Raises:
        RetrainingError: Somebody has switched the worktree to another branch.
    """
    _ignore_ours(root)
    if ask_git(root, "rev-parse", "--verify", "--quiet", f"refs/heads/{BRANCH}") is None:
        start = ask_git(root, "symbolic-ref", "--quiet", "--short", "HEAD")
        track = ["--track", BRANCH, start] if start else [BRANCH]
        run_git(root, "branch", *track)
        log(f"made branch {BRANCH!r} from {start or 'HEAD'}")
    if _is_whole(tree):
        at = ask_git(tree, "symbolic-ref", "--quiet", "--short", "HEAD")
        if at != BRANCH:
            raise RetrainingError(
                f"{tree} must have branch {BRANCH!r} checked out, and has {at or 'no branch'}; run "
                f"`git switch {BRANCH}` there"
            )
        return
    ask_git(root, "worktree", "remove", "--force", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)
    run_git(root, "worktree", "prune")
    run_git(root, "worktree", "add", "--quiet", "--no-checkout", str(tree), BRANCH)
    log(f"made a worktree in {tree}")


def _is_whole(tree: Path) -> bool:
    """Tell whether git finished making the worktree: until then it is locked as `initializing`."""
    top = ask_git(tree, "rev-parse", "--show-toplevel") if tree.is_dir() else None
    if top is None or Path(top).resolve() != tree.resolve():
        return False
    lock = tree / run_git(tree, "rev-parse", "--git-path", "locked")
    return not lock.exists() or lock.read_text(encoding="utf-8").strip() != "initializing"


def _ignore_ours(root: Path) -> None:
    """Keep the person's `git status` as it is, whatever their `.gitignore` says."""
    ours = [".mm/", "registry/champion"]
    lacking = [name for name in ours if ask_git(root, "check-ignore", "--quiet", name) is None]
    if lacking:
        path = root / run_git(root, "rev-parse", "--git-path", "info/exclude")
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"\n/{name}" for name in lacking) + "\n")


def _clean(tree: Workspace) -> None:
    """Put back what a run that was cut short changed, except what it decided, which is committed."""
    decided = None
    if not ask_git(tree.root, "diff", "--name-only", "--diff-filter=U"):  # no merge was interrupted
        decided = read_registry(tree.registry)
        ask_git(tree.root, "reset", "--quiet", "--", "registry")
    run_git(tree.root, "reset", "--hard", "--quiet")
    if decided is None or not decided.models:
        return
    if decided != (kept := read_registry(tree.registry)):
        write_registry(tree.registry, merge_registries(kept, decided))
    run_git(tree.root, "add", "--", "registry")  # its files may not be git's yet
    commit_staged(tree.root, "retrain: what a run decided that was cut short")


def _merge(main: Workspace, tree: Workspace, state: State, log: Log) -> None:
    """Merge the person's branch, uncommitted: it becomes part of the run's one commit.

    Which one is the branch's upstream, as `git branch -u` sets it: at first the one that was checked
    out when retraining first ran.

    Raises:
        RetrainingError: The upstream is gone, or something conflicts that only a person can settle.
    """
    theirs = _find_upstream(main.root, tree.root)
    base = run_git(tree.root, "merge-base", "HEAD", theirs)
    registries = [_show_registry(tree, commit) for commit in (base, "HEAD", theirs)]
    if ask_git(tree.root, "merge", "--no-commit", "--quiet", theirs) is None:
        in_conflict = run_git(tree.root, "diff", "--name-only", "--diff-filter=U").splitlines()
        settled = {LOCK, REGISTRY}
        if _show_data(tree.root, "HEAD") == state.persons_data:
            settled.add(DATA)  # on the branch a copy of the person's, which a later one replaces
        if not in_conflict or set(in_conflict) - settled:
            run_git(tree.root, "reset", "--hard", "--quiet")
            raise RetrainingError(_explain_conflict(tree, theirs, in_conflict))
        for name in {LOCK, DATA} & set(in_conflict):
            run_git(tree.root, "checkout", "--theirs", "--", name)
            run_git(tree.root, "add", "--", name)
    grown_from, ours, persons = registries
    if grown_from not in (ours, persons):
        write_registry(tree.registry, merge_registries(ours, persons, grown_from))
        run_git(tree.root, "add", "--", REGISTRY)
    log(f"works on {run_git(tree.root, 'rev-parse', '--short', theirs)}, as committed")


def _find_upstream(root: Path, tree: Path) -> str:
    """Give the commit that is to be merged.

    Raises:
        RetrainingError: The branch that the worktree follows is gone.
    """
    if ask_git(root, "config", f"branch.{BRANCH}.merge") is None:  # made from no branch
        return run_git(root, "rev-parse", "HEAD")
    commit = ask_git(tree, "rev-parse", "--verify", "--quiet", f"{BRANCH}@{{upstream}}")
    if commit is None:
        raise RetrainingError(
            f"branch {BRANCH!r} follows one that is gone; name the one to retrain from: "
            f"`git branch --set-upstream-to=BRANCH {BRANCH}`"
        )
    return commit


def _explain_conflict(tree: Workspace, theirs: str, names: Sequence[str]) -> str:
    if DATA in names:
        return _both_grew(tree)
    what = ", ".join(names) or "untracked files"
    return (
        f"branch {BRANCH!r} and yours conflict in {what}, which only a person can settle; run "
        f"`git merge {BRANCH}` in your own tree, settle and commit it, and launch `retrain` again"
    )


def _both_grew(tree: Workspace) -> str:
    return (
        f"your data/ and that of branch {BRANCH!r}, which has batches in it, have both grown, and "
        "only a person can make one of them; keep a copy of what you added, run `git merge "
        f"{BRANCH} && dvc checkout`, add it again, best as a batch in the drop folder, and launch "
        f"`retrain` again; the branch's data are in {tree.data}"
    )


def _show_registry(tree: Workspace, commit: str) -> Registry:
    """Read the registry as a commit has it.

    Raises:
        RegistryError: It is damaged.
    """
    text = ask_git(tree.root, "show", f"{commit}:{REGISTRY}")
    return Registry() if text is None else parse_registry(text, tree.registry / REGISTRY_FILE)


def _show_data(root: Path, commit: str) -> str | None:
    """Read the data's version as a commit has it."""
    text = ask_git(root, "show", f"{commit}:{DATA}")
    return folders.parse_data_version(text) if text else None


def _share_cache(root: Path, tree: Path) -> None:
    """Give the worktree the main tree's DVC cache, and what is set for this machine alone."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        local = repo.config.load_one("local")
        remotes = repo.config.load_one("repo")["remote"]
        cache = repo.cache.local_cache_dir
    with Repo(str(tree)) as there, there.config.edit("local") as config:
        config.update(local)
        config["cache"]["dir"] = cache
        for name, remote in remotes.items():
            if str(remote.get("url")).startswith("/"):
                # One that is given from the main tree's place; `str` forgets that it was.
                config["remote"].setdefault(name, {}).setdefault("url", str(remote["url"]))


def _require_same_stages(root: Path, tree: Path) -> None:
    """Require that Dagster's assets, made from the person's files, are those that are committed.

    Raises:
        RetrainingError: Only one of the two has some stage.
    """
    theirs, ours = ({stage.target for stage in read_stages(at)} for at in (root, tree))
    if differing := theirs ^ ours:
        raise RetrainingError(
            "retraining runs what is committed, and only one of that and the dvc.yaml and "
            f"params.yaml that lie here has {', '.join(sorted(differing))}; commit the change or "
            "take it back, and launch `retrain` again"
        )


def _bring_data(main: Workspace, tree: Workspace, state: State, log: Log) -> str | None:
    """Give the worktree the person's data as they lie there, or the branch's where it has batches.

    Returns:
        The state of what was copied; none where it was not.

    Raises:
        RetrainingError: Both have grown.
    """
    branch, committed = folders.read_data_version(tree), _show_data(main.root, "HEAD")
    now = sign_folder(main.data)
    if branch in (None, committed, state.persons_data) and now is not None:
        if branch is not None and branch == committed and _is_at_rest(main, committed):
            _check_out(tree)  # whose links into the cache need no room
        else:
            changed = mirror_folder(main.data, tree.data)
            log(f"took data/ as it lies there; {changed} files differ from before")
        return now
    if now not in (None, state.persons_state) and not _is_at_rest(main, committed):
        raise RetrainingError(_both_grew(tree))
    if branch is not None:
        _check_out(tree)
    return None


def _is_at_rest(main: Workspace, committed: str | None) -> bool:
    """Tell whether the person's `data/` is what they have committed.

    Raises:
        LockError: DVC was writing it all the time.
    """
    if committed is None or folders.read_data_version(main) != committed:
        return False
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return bool(DvcProject(main.root).read_records(DATA)[DATA].up_to_date)
        except LockError:  # DVC is writing it this moment
            if time.monotonic() > until:
                raise
            time.sleep(WAIT_S)


def _check_out(tree: Workspace) -> None:
    """Put the branch's data in place, from the cache or else a remote."""
    try:
        folders.run_dvc(tree, "checkout", "--quiet", "--force", DATA)
    except RegistryError:
        folders.run_dvc(tree, "pull", "--quiet", "--force", DATA)


def _mend_link(main: Workspace, tree: Workspace) -> None:
    """Serve the champion again where the worktree that had its files was deleted."""
    link = main.registry / folders.CHAMPION
    if link.is_symlink() and not link.exists():
        _adopt(main, tree)
        publish(main, tree)


def _ingest(main: Workspace, tree: Workspace, batches: Sequence[str], log: Log) -> None:
    """Take batches of the drop folder into the worktree's data."""
    if not batches:
        return
    from mm_assets.drift.incoming import find_batch
    from mm_assets.drift.ingestion import ingest_batch

    config = read_config(tree.params)
    for name in batches:
        log(ingest_batch(find_batch(main, config, name), tree, config).explain())


def _adopt(main: Workspace, tree: Workspace) -> None:
    """Take the person's decisions over into the branch's registry."""
    with wait_for_lock(tree.lock("registry"), what="a change of the registry"):
        adopt(tree, main)


def _run_promotion(project: DvcProject, log: Log) -> str:
    """Run `mm promote` with the worktree's code; give the model's id.

    Raises:
        RetrainingError: There is no verdict; says what it said.
    """
    script = "from mm_assets.cli.main import main; main()"
    lines = []
    with start([sys.executable, "-c", script, "promote", "--id"], project) as process:
        for raw in process.stdout or ():
            if line := raw.strip():
                lines.append(line)
                log(line)
        code = process.wait()
    if code or not lines:
        raise RetrainingError(
            "\n".join(lines).rpartition("error: ")[2] or "`mm promote` was killed"
        )
    return lines[-1]


def _describe_run(tree: Workspace, state: State, run: dg.DagsterRun) -> str:
    """Write the commit's message: what came of it and by which run."""
    known = _show_registry(tree, "HEAD").history
    after = read_registry(tree.registry)
    events = [event for event in after.history if event not in known]
    told = [f"{event.what} {event.model}" for event in events] or ["nothing promoted"]
    lines = [f"retrain: {', '.join(told)}", "", f"Dagster run: {run.run_id}"]
    if state.run != run.run_id:
        lines.append(f"which went on from: {state.run}")
    lines += [
        f"champion: {after.champion or 'none'}",
        f"data: {folders.read_data_version(tree) or 'not tracked by DVC'}",
    ]
    if state.batches:
        lines.append(f"batches: {', '.join(state.batches)}")
    for event in events:
        verdict = after.models[event.model].verdict if event.model in after.models else None
        claims = [gate.claims for gate in verdict.gates] if verdict else []
        lines += [claim.explain() for claim in (claims[0] if claims else ())]
        lines += [f"refused: {event.reason}"] if event.what == "refused" else []
    return "\n".join(lines)
