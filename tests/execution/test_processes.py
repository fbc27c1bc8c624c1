import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from thrifty.core.errors import UsageError
from thrifty.execution import process_tree, processes
from thrifty.execution.executor import Executor
from thrifty.execution.job import Ended, Job, Reported
from thrifty.execution.processes import ProcessExecutor
from thrifty.testing.executors import ExecutorContract, collect, counts, updates

HERE = str(Path(__file__).parent)


class TestProcessExecutor(ExecutorContract):
    def make(self, cores: int) -> Executor:
        return ProcessExecutor(cores)


@pytest.fixture(scope="module")
def shared():
    """One executor whose server lives through the tests of this file."""
    os.environ["THRIFTY_TEST_MARK"] = "shared"
    sys.path.insert(0, HERE)
    with ProcessExecutor(2) as executor:
        yield executor
    sys.path.remove(HERE)


def run(executor: ProcessExecutor, name: str, arguments: dict | None = None, **resources) -> Ended:
    executor.submit(Job(f"process_jobs:{name}", arguments or {}, **resources))
    ended = collect(executor)[-1]
    assert isinstance(ended, Ended)
    return ended


def gone(pids: list[int], seconds: float = 5.0) -> bool:
    """Whether the processes end within that time; zombies have ended."""
    until = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_child_that_segfaults_ends_alone_and_says_where(shared):
    ended = run(shared, "segfault")
    assert (ended.outcome, ended.result) == ("crashed", None)
    assert "SIGSEGV" in ended.why
    assert "Segmentation fault" in ended.why
    assert "in segfault" in ended.why
    assert run(shared, "names").outcome == "done"


def test_a_child_that_exits_without_a_result_is_quoted(shared):
    ended = run(shared, "exits", {"code": 7})
    assert ended.outcome == "crashed"
    assert "exit code 7" in ended.why
    assert "last words" in ended.why


def test_a_child_killed_from_outside_crashed(shared):
    ended = run(shared, "kills_itself")
    assert (ended.outcome, ended.why) == ("crashed", "was ended by SIGKILL without a result")


def test_sys_exit_is_a_failure(shared):
    ended = run(shared, "sys_exits")
    assert ended.outcome == "failed"
    assert ended.why.startswith("SystemExit: 3")


def test_a_child_that_hangs_and_ignores_signals_is_ended_at_its_limit(shared):
    ended = run(shared, "hangs", seconds=0.4)
    assert ended.outcome == "timeout"
    assert "limit of 0.4 s" in ended.why
    assert 0.4 <= ended.seconds < 2.0


def test_limits_hold_while_the_coordinator_is_busy(shared):
    handle = shared.submit(Job("process_jobs:reports_pid_and_hangs", seconds=0.3))
    (reported,) = shared.wait(10.0)
    assert isinstance(reported, Reported)
    time.sleep(1.0)
    assert not alive(reported.message["pid"])
    assert [update.handle for update in collect(shared)] == [handle]


def test_a_child_that_outgrows_its_memory_is_ended(shared):
    ended = run(shared, "takes_memory", {"bytes": 400_000_000}, memory_bytes=150_000_000)
    assert ended.outcome == "memory"
    assert "limit of 150 MB" in ended.why


def test_memory_of_grandchildren_counts(shared):
    ended = run(shared, "grandchild_takes_memory", {"bytes": 400_000_000}, memory_bytes=150_000_000)
    assert ended.outcome == "memory"


def test_files_that_a_child_maps_are_not_memory_that_it_holds(shared, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 200_000_000)
    ended = run(shared, "maps_file", {"file": str(tmp_path / "file")}, memory_bytes=100_000_000)
    (tmp_path / "file").unlink()
    assert (ended.outcome, ended.why) == ("done", "")


def test_a_memory_error_is_an_outcome_of_memory(shared):
    ended = run(shared, "asks_too_much_memory")
    assert ended.outcome == "memory"
    assert ended.why.startswith("MemoryError")


def test_peak_memory_is_seen_between_two_looks(shared):
    peak = run(shared, "takes_memory", {"bytes": 100_000_000, "seconds": 0}).peak_memory_bytes
    assert 95_000_000 < peak < 150_000_000


def test_all_jobs_together_are_bounded_and_the_largest_goes():
    sys.path.insert(0, HERE)
    with ProcessExecutor(2, memory_bytes=250_000_000) as executor:
        small = executor.submit(Job("process_jobs:takes_memory", {"bytes": 80_000_000, "seconds": 2.5}))
        large = executor.submit(Job("process_jobs:takes_memory", {"bytes": 200_000_000, "seconds": 20}))
        outcomes = {update.handle: update.outcome for update in collect(executor) if isinstance(update, Ended)}
    sys.path.remove(HERE)
    assert outcomes == {small: "done", large: "memory"}


def test_grandchildren_end_with_their_job_even_in_sessions_of_their_own(shared):
    ended = run(shared, "leaves_grandchildren")
    assert ended.outcome == "done"
    assert gone(ended.result["pids"])


def test_children_read_nothing_ignore_ctrl_c_and_are_single_threaded_groups(shared):
    result = run(shared, "describes").result
    assert result["stdin"] == ""
    assert result["main"] == "-c"
    assert result["leads_group"]
    assert result["interrupt_ignored"]
    assert result["threads"] == {"server": "1", "child": "1"}


def test_threads_are_those_of_the_job(shared):
    result = run(shared, "describes", preload=("process_jobs",), cores=2).result
    assert result["threads"] == {"server": "1", "child": "2"}
    assert set(result["blas_threads"]) <= {2}


def test_a_preload_is_imported_once_in_the_server(shared):
    first, second = (run(shared, "names", preload=("process_jobs",)).result for _ in range(2))
    assert first["imported_in"] == second["imported_in"] != first["pid"]
    assert run(shared, "names").result["imported_in"] != first["imported_in"]


def test_a_preload_that_cannot_be_imported_fails_its_jobs_with_the_reason(shared):
    ended = run(shared, "names", preload=("no_such_module",))
    assert ended.outcome == "failed"
    assert "ModuleNotFoundError: No module named 'no_such_module'" in ended.why


def test_a_preload_that_imports_onnxruntime_is_refused(shared, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    ended = run(shared, "names", preload=("onnxruntime",))
    assert ended.outcome == "failed"
    assert "onnxruntime" in ended.why


def test_a_server_that_dies_takes_its_jobs_with_it_and_is_started_again(shared):
    handle = shared.submit(Job("process_jobs:reports_pid_and_hangs"))
    (reported,) = shared.wait(10.0)
    server = int(Path(f"/proc/{reported.message['pid']}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(server, signal.SIGKILL)
    (ended,) = collect(shared)
    assert (ended.handle, ended.outcome) == (handle, "crashed")
    assert "server was ended by SIGKILL" in ended.why
    assert gone([server, reported.message["pid"], reported.message["grandchild"]])
    assert run(shared, "names").outcome == "done"


def test_a_job_that_waits_for_its_server_can_be_stopped_at_once():
    sys.path.insert(0, HERE)
    with ProcessExecutor(1) as executor:
        handle = executor.submit(Job("process_jobs:names", preload=("slow_to_import",)))
        executor.stop(handle)
        (ended,) = executor.wait(0.0)
        assert (ended.outcome, ended.why) == ("stopped", "stopped before it began")
    sys.path.remove(HERE)


def test_a_job_that_ends_without_having_looked_keeps_its_result(shared):
    handle = shared.submit(Job("process_jobs:reports_and_returns"))
    assert isinstance(shared.wait(10.0)[0], Reported)
    shared.stop(handle, grace_seconds=10.0)
    ended = collect(shared)[-1]
    assert (ended.outcome, ended.result) == ("done", {"never": "looked"})


def test_functions_cross_and_main_is_not_run(tmp_path):
    pytest.importorskip("cloudpickle")
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from thrifty.execution.job import Job
        from thrifty.execution.processes import ProcessExecutor
        print("main runs")
        factor = 3
        def triple(arguments, channel):
            return {"x": factor * arguments["x"]}
        executor = ProcessExecutor(1)
        executor.submit(Job(function=triple, arguments={"x": 2}))
        print(executor.wait(30)[0].result)
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["main runs", "{'x': 6}"]


def test_a_function_that_cannot_cross_is_wrong_use(shared):
    lock = __import__("threading").Lock()
    with pytest.raises(UsageError, match="cannot be sent"):
        shared.submit(Job(function=lambda arguments, channel: {"x": lock}))
    assert shared.running() == ()


def test_what_jobs_print_goes_into_their_log(tmp_path):
    with ProcessExecutor(1, log_folder=tmp_path / "logs") as executor:
        executor.submit(Job("thrifty.testing.executors:raises", label="trial 7/a"))
        collect(executor)
    (log,) = (tmp_path / "logs").glob("1-*.log")
    assert log.name == "1-trial_7_a.log"
    assert "Traceback" in log.read_text()


def test_no_log_is_written_over(tmp_path):
    said = []
    for word in ("early", "late"):
        (tmp_path / f"{word}.py").write_text(f"print('{word}', flush=True)")
        said += [f"{word}\n"]
    for _ in range(2):
        with ProcessExecutor(1, log_folder=tmp_path / "logs") as executor:
            for word in ("early", "late"):
                preload = (f"{tmp_path}/{word}.py",)
                executor.submit(Job("thrifty.testing.executors:raises", label="trees", preload=preload))
                collect(executor)
    logs = {log: log.read_text() for log in (tmp_path / "logs").iterdir()}
    assert sorted(text for log, text in logs.items() if log.name.startswith("server-")) == sorted(said * 2)
    assert sorted(log.name for log in logs if not log.name.startswith("server-")) == [
        "1-trees.log", "1-trees_2.log", "2-trees.log", "2-trees_2.log",
    ]  # fmt: skip


def test_a_server_that_still_imports_is_not_waited_for():
    sys.path.insert(0, HERE)
    executor = ProcessExecutor(1)
    executor.warm(("slow_to_import",))
    sys.path.remove(HERE)
    began = time.monotonic()
    executor.close()
    assert time.monotonic() - began < 0.5


def test_many_messages_and_a_large_result_arrive_whole(shared):
    *reports, ended = drain_slowly(shared, Job("process_jobs:floods", {"reports": 3000, "result": 2_000_000}))
    assert [update.message["i"] for update in reports] == list(range(3000))
    assert len(ended.result["text"]) == 2_000_000


def drain_slowly(executor: ProcessExecutor, job: Job) -> list:
    executor.submit(job)
    time.sleep(0.3)
    return collect(executor)


COORDINATOR = """
import sys, time
from thrifty.execution.job import Job
from thrifty.execution.processes import ProcessExecutor
executor = ProcessExecutor(2)
executor.warm(("slow_to_import",))
executor.submit(Job("process_jobs:reports_pid_and_hangs"))
executor.submit(Job("process_jobs:names", preload=("slow_to_import",)))
print("started", flush=True)
while True:
    executor.wait(0.5)
"""


@pytest.mark.parametrize("moment", [0.0, 0.03, 0.06, 0.1, 0.2, 0.5, 0.9])
def test_nothing_lives_on_when_the_coordinator_is_killed(moment):
    mark = f"{os.getpid()}-{moment}"
    environment = {**os.environ, "THRIFTY_TEST_MARK": mark, "PYTHONPATH": os.pathsep.join([HERE, *sys.path])}
    coordinator = subprocess.Popen([sys.executable, "-c", COORDINATOR], env=environment, stdout=subprocess.PIPE)
    assert coordinator.stdout is not None
    coordinator.stdout.readline()
    time.sleep(moment)
    coordinator.kill()
    coordinator.wait()
    coordinator.stdout.close()
    assert gone(marked(mark), seconds=5.0), marked(mark)
    assert marked(mark) == []


INTERRUPTED = """
import signal
from thrifty.execution.job import Ended, Job
from thrifty.execution.processes import ProcessExecutor
executor = ProcessExecutor(1)
handle = executor.submit(Job("thrifty.testing.executors:counts", {"until": 100_000}))
signal.signal(signal.SIGINT, lambda *_: executor.stop(handle, 20.0))
executor.wait(60)
print("started", flush=True)
while executor.running():
    for update in executor.wait(0.2):
        if isinstance(update, Ended):
            print(update.outcome, update.result is not None)
"""


def test_ctrl_c_reaches_the_coordinator_alone():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    coordinator = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert coordinator.stdout is not None
    coordinator.stdout.readline()
    os.killpg(coordinator.pid, signal.SIGINT)
    assert coordinator.communicate(timeout=30)[0] == "stopped True\n"


def marked(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"THRIFTY_TEST_MARK={mark}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_thread_that_starts_a_server_may_end_before_it():
    import threading

    sys.path.insert(0, HERE)
    with ProcessExecutor(1) as executor:
        starter = threading.Thread(target=executor.warm, args=[("slow_to_import",)])
        starter.start()
        starter.join()
        assert run(executor, "names", preload=("slow_to_import",)).outcome == "done"
    sys.path.remove(HERE)


def test_no_descriptors_or_processes_are_left_after_closing():
    open_before, below_before = len(os.listdir("/proc/self/fd")), process_tree.descendants(os.getpid())
    executor = ProcessExecutor(2)
    for _ in range(3):
        executor.submit(Job(f"{counts.__module__}:counts", {"until": 1}))
        next(updates(executor))
        collect(executor)
    executor.submit(Job(f"{counts.__module__}:counts", {"until": 100_000}))
    executor.wait(math.inf)
    executor.close()
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert process_tree.descendants(os.getpid()) == below_before


def test_a_server_that_hangs_is_ended_with_its_jobs(monkeypatch):
    monkeypatch.setattr(processes, "ANSWER_SECONDS", 0.3)
    with ProcessExecutor(2) as executor:
        executor.submit(Job(f"{HERE}/process_jobs.py:hangs", seconds=0.5))
        while not any(each.pid for each in executor._running.values()):
            executor.wait(0.1)
        (server,) = executor._servers.values()
        os.kill(server.process.pid, signal.SIGSTOP)
        ended = collect(executor, 10.0)[-1]
        assert isinstance(ended, Ended)
        assert ended.why == "its server hung"
        # The next job has a new server.
        executor.submit(Job(f"{HERE}/process_jobs.py:names"))
        assert collect(executor)[-1].outcome == "done"
