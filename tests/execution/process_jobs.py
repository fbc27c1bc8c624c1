"""Jobs that misbehave, for test_processes.py."""

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import time

IMPORTED_IN = os.getpid()
THREADS_AT_IMPORT = os.environ.get("OMP_NUM_THREADS")


def names(arguments, channel):
    return {"pid": os.getpid(), "imported_in": IMPORTED_IN}


def segfault(arguments, channel):
    ctypes.string_at(0)
    return {}


def exits(arguments, channel):
    print("last words")
    sys.stdout.flush()
    os._exit(arguments["code"])


def sys_exits(arguments, channel):
    sys.exit(3)


def kills_itself(arguments, channel):
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(arguments, channel):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(10)


def reports_pid_and_hangs(arguments, channel):
    grandchild = subprocess.Popen(["sleep", "60"])
    channel.report({"pid": os.getpid(), "grandchild": grandchild.pid})
    hangs(arguments, channel)


def reports_and_returns(arguments, channel):
    channel.report({})
    time.sleep(0.3)
    return {"never": "looked"}


def maps_file(arguments, channel):
    with open(arguments["file"], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        total = sum(pages[at] for at in range(0, len(pages), 4096))
        time.sleep(0.6)
    return {"total": total}


def takes_memory(arguments, channel):
    block = bytearray(arguments["bytes"])
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(arguments.get("seconds", 30))
    return {"bytes": len(block)}


def grandchild_takes_memory(arguments, channel):
    code = f"import time; block = bytearray(b'x') * {arguments['bytes']}; time.sleep(30)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return {}


def asks_too_much_memory(arguments, channel):
    return {"bytes": len(bytearray(1 << 60))}


def leaves_grandchildren(arguments, channel):
    plain = subprocess.Popen(["sleep", "60"])
    own_session = subprocess.Popen(["sleep", "60"], start_new_session=True)
    reader, writer = os.pipe()
    if (middle := os.fork()) == 0:  # a daemon: its parent is gone before the job ends
        os.setsid()
        if (daemon := os.fork()) == 0:
            time.sleep(60)
        os.write(writer, str(daemon).encode())
        os._exit(0)
    os.waitpid(middle, 0)
    return {"pids": [plain.pid, own_session.pid, int(os.read(reader, 20))]}


def describes(arguments, channel):
    blas_threads = []
    if channel.cores > 1:
        threadpoolctl = __import__("threadpoolctl")
        __import__("numpy")
        blas_threads = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    return {
        "stdin": sys.stdin.read(),
        "main": sys.argv[0],
        "leads_group": os.getpgid(0) == os.getpid(),
        "interrupt_ignored": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "threads": {
            "server": THREADS_AT_IMPORT if os.getpid() != IMPORTED_IN else "1",
            "child": os.environ["OMP_NUM_THREADS"],
        },
        "blas_threads": blas_threads,
    }


def floods(arguments, channel):
    for i in range(arguments["reports"]):
        channel.report({"i": i, "padding": "x" * 200})
    return {"text": "y" * arguments["result"]}
