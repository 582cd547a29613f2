import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestration.dvc_project import DvcProject
from orchestration.dvc_runner import StageFailedError, run_stage
from orchestration.dvc_stages import read_stages

RUN = (
    "import pathlib; from orchestration.dvc_runner import run_stage; "
    "from orchestration.dvc_project import DvcProject; "
    "from orchestration.dvc_stages import read_stages; root = pathlib.Path.cwd(); "
    "list(run_stage(DvcProject(root), read_stages(root)[-1], print))"
)

SLOW_STAGE = """
stages:
  slow:
    cmd: {command}
    outs: [slow.txt]
"""


def run(root, target):
    """Run one stage; return its log."""
    lines = []
    stage = next(stage for stage in read_stages(root) if stage.target == target)
    list(run_stage(DvcProject(root), stage, lines.append))
    return lines


def wait_until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.05)


def test_a_stage_that_is_up_to_date_starts_no_process(finished, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/does/not/exist")
    assert run(finished.root, "train") == ["up to date, nothing to run"]


@pytest.mark.slow
def test_a_stale_stage_runs_alone_and_leaves_dvc_with_nothing_to_do(shell):
    lines = run(shell.root, "validate")
    assert shell.runs() == ["validate"]
    # A carriage return ends a line, so that a progress bar shows step by step.
    assert [line for line in lines if line.startswith("count")] == ["counting", "counted 4"]
    assert not [line for line in lines if "git add" in line]
    assert "validate:" not in shell.dvc("status")


@pytest.mark.slow
def test_editing_a_parameter_back_takes_the_outs_from_the_run_cache(finished):
    finished.edit("params.yaml", "scale: 1", "scale: 3")
    run(finished.root, "embed@left")
    assert finished.runs() == ["embed@left"]
    finished.edit("params.yaml", "scale: 3", "scale: 1")
    assert any("is cached - skipping run" in line for line in run(finished.root, "embed@left"))
    assert finished.runs() == []
    assert "up to date" in finished.dvc("status")


def test_a_failure_carries_the_command_and_its_last_output(shell):
    (shell.root / "data" / "rows.txt").write_text("boom")
    with pytest.raises(
        StageFailedError, match=r"repro --single-item validate` exited with \d+"
    ) as e:
        run(shell.root, "validate")
    assert "error: rows.txt explodes" in str(e.value)


@pytest.mark.slow
def test_changed_data_is_versioned_as_it_lies_there(shell):
    (shell.root / "data" / "rows.txt").write_text("other words")
    run(shell.root, "data.dvc")
    assert "data.dvc" not in shell.dvc("status")


@pytest.mark.slow
def test_absent_data_is_pulled_from_its_remote(shell, tmp_path):
    shell.dvc("remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    shell.dvc("push", "-q")
    shutil.rmtree(shell.root / "data")
    shutil.rmtree(shell.root / ".dvc" / "cache")
    run(shell.root, "data.dvc")
    assert (shell.root / "data" / "rows.txt").read_text() == "one two three 4"


def test_absent_data_without_a_remote_is_asked_for(shell):
    shutil.rmtree(shell.root / "data")
    shutil.rmtree(shell.root / ".dvc" / "cache")
    with pytest.raises(StageFailedError, match=r"data\.dvc names data that is neither here nor in"):
        run(shell.root, "data.dvc")


@pytest.mark.slow
def test_a_lock_file_that_a_killed_dvc_left_empty_is_no_obstacle(shell):
    lock = shell.root / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("")
    assert "corrupted" in shell.dvc("repro", "validate", status=255)  # DVC by itself
    run(shell.root, "validate")
    assert shell.runs() == ["validate"]


@pytest.mark.slow
def test_a_stage_that_runs_at_the_shell_is_waited_for_and_not_run_again(shell):
    (shell.root / "dvc.yaml").write_text(
        SLOW_STAGE.format(command="echo slow >> runs.log && sleep 3 && touch slow.txt")
    )
    process = shell.start("repro")
    wait_until((shell.root / "runs.log").exists)
    lines = run(shell.root, "slow")
    assert process.wait() == 0
    assert lines[0].startswith("waiting for another DVC process")
    assert lines[-1] == "up to date, nothing to run"
    assert shell.runs() == ["slow"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_with_the_process_that_started_it(shell, how):
    """SIGTERM and SIGKILL leave Python no time to clean up: the watchdog alone sees to it."""
    (shell.root / "dvc.yaml").write_text(
        SLOW_STAGE.format(command="echo $$ > pid && sleep 60 && touch slow.txt")
    )
    (shell.root / "data.dvc").unlink()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=shell.root,
        env=shell.env,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_signals,
    )
    wait_until(lambda: (shell.root / "pid").exists() and (shell.root / "pid").read_text().strip())
    stage_pid = int((shell.root / "pid").read_text())
    os.kill(process.pid, how)
    process.wait()
    wait_until(lambda: not is_alive(stage_pid))
    assert not (shell.root / "slow.txt").exists()


@pytest.mark.slow
def test_a_step_ends_with_the_run_that_started_it(shell):
    """As in Dagster's multiprocess executor, whose run is killed and can stop no step any more."""
    (shell.root / "dvc.yaml").write_text(
        SLOW_STAGE.format(command="echo $$ > pid && sleep 60 && touch slow.txt")
    )
    (shell.root / "data.dvc").unlink()
    (shell.root / "run.py").write_text(
        "import multiprocessing, os\n"
        f"def step():\n    exec({RUN!r}, {{}})\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=step)\n"
        "    child.start()\n    open('step', 'w').write(str(child.pid))\n    child.join()\n"
    )
    process = subprocess.Popen([sys.executable, "run.py"], cwd=shell.root, env=shell.env)
    wait_until(lambda: (shell.root / "pid").exists() and (shell.root / "pid").read_text().strip())
    process.kill()
    process.wait()
    pids = [int((shell.root / name).read_text()) for name in ("pid", "step")]
    wait_until(lambda: not any(map(is_alive, pids)))


@pytest.mark.slow
def test_what_is_said_last_is_heard_though_the_log_is_slower_than_the_stage(shell):
    said = "printf '%0.s.\\n' $(seq 300); echo; echo 'the disk is on fire'; exit 1"
    (shell.root / "say.sh").write_text(said)
    (shell.root / "dvc.yaml").write_text(SLOW_STAGE.format(command="sh say.sh"))
    [stage] = read_stages(shell.root)
    with pytest.raises(StageFailedError, match="the disk is on fire"):
        list(run_stage(DvcProject(shell.root), stage, lambda _: time.sleep(0.01)))


@pytest.mark.slow
def test_a_stage_ends_with_a_dvc_that_was_killed(shell):
    (shell.root / "dvc.yaml").write_text(
        SLOW_STAGE.format(command="echo $$ > pid && kill -9 $PPID && sleep 60 && touch slow.txt")
    )
    with pytest.raises(StageFailedError, match=r"was killed by SIGKILL, perhaps for want of mem"):
        run(shell.root, "slow")
    wait_until(lambda: not is_alive(int((shell.root / "pid").read_text())))
    assert not (shell.root / "slow.txt").exists()  # its command was not waited for
    (shell.root / "dvc.yaml").write_text(SLOW_STAGE.format(command="touch slow.txt"))
    run(shell.root, "slow")  # nothing to mend first
    assert (shell.root / "slow.txt").exists()


@pytest.mark.slow
def test_what_a_dead_run_left_of_a_stage_is_waited_for(shell):
    """DVC and Dagster are dead, and the command takes its time to stop."""
    command = (
        "trap 'sleep 2; echo left >> runs.log' INT; echo $PPID > pid; while :; do sleep .1; done"
    )
    (shell.root / "dvc.yaml").write_text(SLOW_STAGE.format(command=f'"{command}"'))
    (shell.root / "data.dvc").unlink()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=shell.root, env=shell.env, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: (shell.root / "pid").exists() and (shell.root / "pid").read_text().strip())
    (shell.root / "dvc.yaml").write_text(
        SLOW_STAGE.format(command="echo new >> runs.log && touch slow.txt")
    )
    stage, lines = read_stages(shell.root)[-1], []
    process.kill()
    os.kill(int((shell.root / "pid").read_text()), signal.SIGKILL)
    process.wait()
    list(run_stage(DvcProject(shell.root), stage, lines.append))
    assert lines[0] == "waiting for another run of this stage"
    assert shell.runs()[-1] == "new"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("move", "named"),
    [
        ("echo more >> dep.txt", r"dep\.txt"),
        ("echo 'knob: 2' > params.yaml", r"params\.yaml: knob"),
        ("echo new > folder/new.txt", r"folder/new\.txt"),
        ("rm folder/old.txt", r"folder/old\.txt"),
    ],
)
def test_a_stage_whose_inputs_moved_while_it_ran_is_recorded_nowhere(shell, move, named):
    """Any command's, not only those of this project, which look for themselves."""
    root = shell.root
    (root / "folder").mkdir()
    for name, text in (("dep.txt", "a"), ("folder/old.txt", "b"), ("params.yaml", "knob: 1")):
        (root / name).write_text(text)
    yaml = (
        "stages:\n  slow:\n    cmd: sh move.sh\n    deps: [dep.txt, folder]\n    params: [knob]\n"
        "    outs: [slow.txt]\n"
    )
    (root / "dvc.yaml").write_text(yaml)
    (root / "move.sh").write_text(
        f"cat dep.txt params.yaml > slow.txt; {move}; echo $$ >> runs.log"
    )
    with pytest.raises(StageFailedError, match=rf"inputs that changed while it ran \({named}\)"):
        run(root, "slow")
    assert not (root / "dvc.lock").exists()
    assert len(shell.runs()) == 1
    (root / "move.sh").write_text("cat dep.txt params.yaml > slow.txt; echo $$ >> runs.log")
    run(root, "slow")
    assert len(shell.runs()) == 1  # not taken from the run cache either
    assert "slow" not in shell.dvc("status", "slow")
    assert (root / "slow.txt").read_text().endswith((root / "params.yaml").read_text())


@pytest.mark.slow
def test_stages_that_do_not_depend_on_each_other_run_at_the_same_time(shell):
    """Each waits for the other's sign, so that one after the other would never end."""
    names = ["one", "two", "three"]
    others = " && ".join(f"until [ -e {name}.sign ]; do sleep .1; done" for name in names)
    yaml = "stages:\n" + "".join(
        f"  {name}:\n    cmd: touch {name}.sign && {others} && echo {name} > {name}.txt\n"
        f"    deps: [data]\n    outs: [{name}.txt]\n"
        for name in names
    )
    (shell.root / "dvc.yaml").write_text(yaml)
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: run(shell.root, name), names))
    assert "up to date" in shell.dvc("status")


@pytest.mark.slow
def test_a_record_that_dvc_could_not_finish_writing_leaves_the_old_one(shell):
    code = (
        "import os; from orchestration.dvc_process import write_records_whole; "
        "write_records_whole(); from dvc.utils.serialize import _common, modify_yaml\n"
        "def dump(data, stream, **options): stream.write('half'); raise SystemExit(3)\n"
        "_common.dump = dump\n"
        "try: _common._dump_data('data.dvc', {}, dump)\n"
        "finally: print(open('data.dvc').read())\n"
        "with modify_yaml('data.dvc') as data: data['meta'] = {'by': 'us'}\n"
    )
    before = (shell.root / "data.dvc").read_text()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shell.root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (3, before.strip())
    assert (shell.root / "data.dvc").read_text() == before


def heed_signals():
    """Undo what a shell does to its background jobs (SIGINT) and `nohup`-like starters to theirs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with pathlib.Path(f"/proc/{pid}/stat").open() as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
