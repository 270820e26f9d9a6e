#!/usr/bin/env python3
"""What a million connections cost, on one machine: docs/performance.md has results.

    cargo build --release --bin resound --example broadcast
    python3 benches/million/million.py                          # a million, in a guest: 12 GiB of memory, an hour
    python3 benches/million/million.py --connections 100000     # a tenth of it
    python3 benches/million/million.py --here --connections 5000    # without a guest, within the limit of open files

A million connections with both ends on one machine need two million descriptors and more ports than one address has. So this
runs in User-Mode Linux, a Linux kernel that is an ordinary process (Debian's package user-mode-linux). It needs no privileges and
changes nothing on the host: its root is the host's, read-only.

It starts `resound serve` and opens the connections in this process, which also measures. The exit code is 0 if all
connections were served to the end, 1 if not, and 2 if something that it needs is missing.
"""

import argparse
import array
import ctypes
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent

# Connections that are opened, or have a frame in flight, at once: fewer than a backlog holds.
BATCH = 64
# Connections from one address of 127.0.0.0/8. Where nearly all ports are in use, the kernel takes long to find a free one.
PER_SOURCE = 10_000
BUSY = 50
# How long the server may take to answer a batch.
PATIENCE = 120
# What the guest's kernel needs for a connection with both ends, in bytes, and for itself and the programs.
GUEST_EACH = 11 * 1024
GUEST_BASE = 1 << 30
# IP_BIND_ADDRESS_NO_PORT (ip(7)), which Python has no name for.
BIND_ADDRESS_NO_PORT = 24

FRAME = struct.pack("<I", 4) + b"ping"
WELCOME = b"welcome\n"
NEWS = b"news for all of you\n"


class Failed(Exception):
    """A measurement that could not be made."""


def main():
    options = arguments()
    try:
        if options.inside:
            boot(options.connections)
            run(options)
        elif options.here:
            check_programs(options)
            check_limit(options.connections)
            run(options)
        else:
            check_programs(options)
            sys.exit(run_guest(options))
    except Failed as failure:
        print(f"million: {failure}", file=sys.stderr, flush=True)
        sys.exit(1)


def arguments():
    parser = argparse.ArgumentParser(description="Measure what a million connections cost.")
    parser.add_argument("--connections", type=int, default=1_000_000, metavar="N", help="how many [default: 1000000]")
    parser.add_argument("--here", action="store_true", help="without a guest, within this machine's limits")
    parser.add_argument("--resound", type=Path, default=REPOSITORY / "target/release/resound", metavar="FILE")
    parser.add_argument(
        "--broadcast", type=Path, default=REPOSITORY / "target/release/examples/broadcast", metavar="FILE"
    )
    parser.add_argument(
        "--folder", default="/dev/shm", help="where the guest's memory is kept, on a tmpfs [default: /dev/shm]"
    )
    parser.add_argument("--grace", type=int, metavar="SECONDS", help="of resound serve [default: 60, and 1 for each 1000]")
    parser.add_argument("--busy", type=float, default=5, metavar="SECONDS", help="each busy run [default: 5]")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="busy runs beside each number [default: 3]")
    parser.add_argument("--idle", type=float, default=10, metavar="SECONDS", help="how long to be idle [default: 10]")
    parser.add_argument("--at-most", type=int, default=3 * 3600, metavar="SECONDS", help="for all [default: 3 h]")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 2000 <= options.connections <= 4_000_000:
        parser.error("--connections: write a number from 2000 to 4000000")
    options.grace = options.grace or 60 + options.connections // 1000
    return options


# What it needs.


def missing(what):
    print(f"million: {what}", file=sys.stderr)
    sys.exit(2)


def check_programs(options):
    for program in (options.resound, options.broadcast):
        if not os.access(program, os.X_OK):
            missing(f"{program} is not there: cargo build --release --bin resound --example broadcast")


def check_limit(connections):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < connections + 200:
        missing(
            f"{connections} connections need more than the limit of {most} open files: raise it (ulimit -Hn), ask for "
            f"--connections {most - 200}, or leave --here out"
        )
    raise_limit(most)


def raise_limit(most):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# The guest.


def run_guest(options):
    kernel = shutil.which("linux.uml") or shutil.which("linux")
    if kernel is None:
        missing("there is no linux.uml here: apt-get install user-mode-linux, or use --here with fewer connections")
    memory = GUEST_BASE + options.connections * GUEST_EACH
    check_memory(options.folder, memory)
    inside = ["--inside"]
    for name in ("connections", "grace", "busy", "rounds", "idle"):
        inside += [f"--{name}", str(getattr(options, name))]
    for name in ("resound", "broadcast"):
        inside += [f"--{name}", str(getattr(options, name).resolve())]
    command = [kernel, f"mem={memory >> 20}M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "loglevel=1"]
    # Tables of connections for twice as many as there are ends.
    command += [f"thash_entries={4 * options.connections}", "console=tty0", "con=null", "con0=fd:0,fd:1", f"init={sys.executable}"]
    command += ["--", str(Path(__file__).resolve()), *inside]
    environment = dict(os.environ, TMPDIR=options.folder)
    guest = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, process_group=0, text=True,
        errors="replace",
    )

    def end(*_):
        # The kernel has processes of its own for those of the guest.
        os.killpg(guest.pid, signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    watchdog = threading.Timer(options.at_most, end)
    watchdog.daemon = True
    watchdog.start()
    outcome = None
    for line in guest.stdout:
        line = line.rstrip()
        outcome = line.removeprefix("million ends: ") if line.startswith("million ends: ") else outcome
        print(line, flush=True)
    guest.wait()
    try:
        end()
    except ProcessLookupError:
        pass
    if outcome is None:
        print(f"million: the guest was ended, or took longer than {options.at_most} s", file=sys.stderr)
    return 0 if outcome == "all served" else 1


def check_memory(folder, memory):
    room = os.statvfs(folder)
    free = {"memory": meminfo()["MemAvailable"], folder: room.f_bavail * room.f_frsize}
    for where, bytes_free in free.items():
        if bytes_free < memory:
            missing(
                f"the guest may need {memory >> 20} MiB, and {where} has {bytes_free >> 20} MiB left; ask for fewer "
                "--connections, or name another tmpfs with --folder"
            )


def boot(connections):
    """Makes the guest what it has to be, of which this is the first process."""
    try:
        mount("proc", "/proc")
        mount("sysfs", "/sys")
        network = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # SIOCSIFFLAGS of netdevice(7): IFF_UP and IFF_RUNNING.
        fcntl.ioctl(network, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
        descriptors = connections + 10_000
        for name, value in {
            "fs/file-max": 2 * descriptors + 100_000,
            "fs/nr_open": descriptors + descriptors % 8,
            "net/ipv4/ip_local_port_range": "1024 65535",
            "net/core/somaxconn": 4096,
            # Keepalive probes of many connections are due at once, and loopback drops what does not fit this queue. The
            # kernel gives up a connection whose probes are all lost.
            "net/core/netdev_max_backlog": descriptors,
            "net/ipv4/tcp_max_syn_backlog": 4096,
            # Above it, connections that a server has closed and their peers have not are reset.
            "net/ipv4/tcp_max_orphans": descriptors,
        }.items():
            Path("/proc/sys", name).write_text(str(value))
        raise_limit(descriptors)
    except OSError as error:
        print(f"million: cannot set the guest up: {error}", flush=True)
        power_off("not set up")


def mount(kind, folder):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), folder.encode(), kind.encode(), 0, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {folder}")


def power_off(outcome):
    print(f"million ends: {outcome}", flush=True)
    # RB_POWER_OFF (reboot(2)).
    ctypes.CDLL(None).reboot(0x4321FEDC)
    time.sleep(60)


def run(options):
    """All measurements, one after the other."""
    outcome = "not all served"
    signal.signal(signal.SIGALRM, give_up)
    try:
        if measure(options):
            outcome = "all served"
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"million: {error}", flush=True)
    if options.inside:
        power_off(outcome)
    print(f"million ends: {outcome}", flush=True)
    sys.exit(0 if outcome == "all served" else 1)


# What the kernel knows.


def meminfo():
    fields = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {field[0].rstrip(":"): int(field[1]) * 1024 for field in fields}


def status(pid, field):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise Failed(f"/proc/{pid}/status has no {field}")


def kernel_memory(*pids):
    """Memory that is in use and belongs neither to files nor to these processes."""
    now = meminfo()
    used = now["MemTotal"] - now["MemFree"] - now["Buffers"] - now["Cached"]
    return used - sum(status(pid, "RssAnon") for pid in pids)


def processor_seconds(pid):
    """All threads of a process: the first field of /proc/PID/task/TID/schedstat is in nanoseconds."""
    times = (Path(task, "schedstat").read_text().split()[0] for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int(nanoseconds) for nanoseconds in times) / 1e9


# The servers.


class Server:
    """A program that says on standard output where it listens."""

    def __init__(self, command, places=1):
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid
        lines = [self.process.stdout.readline() for _ in range(places)]
        if not all(line.startswith("listening on ") for line in lines):
            self.process.kill()
            raise Failed(f"{command[0]} does not listen: {''.join(lines)!r}")
        self.ports = [int(line.rpartition(":")[2].strip(" /\n")) for line in lines]

    def fetch(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[-1]}{path}", timeout=60) as answer:
            return answer.read().decode()

    def turns(self):
        """How many turns of the loop took at most how many seconds, by the wall clock."""
        buckets = {}
        for line in self.fetch("/metrics").splitlines():
            if line.startswith("resound_turn_duration_seconds_bucket"):
                bound = line.partition('le="')[2].partition('"')[0]
                buckets[float(bound.replace("+Inf", "inf"))] = float(line.split()[-1])
        return buckets

    def wait(self, seconds):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"process {self.pid} has not ended within {seconds} s") from None
        if code != 0:
            raise Failed(f"process {self.pid} ended with exit code {code}")


# The connections.


class Connections:
    """Client sockets, kept as descriptors: a socket object each would need more memory than the kernel's share of it."""

    def __init__(self, port):
        self.port = port
        self.descriptors = array.array("i")

    def open(self, count, greet):
        """Opens `count` more; `greet` makes sure that the server has accepted a batch of them."""
        for first in range(0, count, BATCH):
            signal.alarm(PATIENCE)
            batch = [self.connect() for _ in range(min(BATCH, count - first))]
            greet(batch)
            self.descriptors.extend(batch)
        signal.alarm(0)

    def connect(self):
        one = socket.socket()
        source = len(self.descriptors) // PER_SOURCE + 2
        one.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        one.bind((socket.inet_ntoa(struct.pack(">I", 0x7F000000 + source)), 0))
        one.connect(("127.0.0.1", self.port))
        return one.detach()

    def batches(self):
        for first in range(0, len(self.descriptors), BATCH):
            signal.alarm(PATIENCE)
            yield self.descriptors[first:first + BATCH]
        signal.alarm(0)


def echo(batch):
    """Sends a frame on each, and returns how many of them come back."""
    for descriptor in batch:
        os.write(descriptor, FRAME)
    return sum(receives(descriptor, FRAME) for descriptor in batch)


def greet_echo(batch):
    if echo(batch) != len(batch):
        raise Failed("a new connection does not echo")


def greet_welcome(batch):
    if not all(receives(descriptor, WELCOME) for descriptor in batch):
        raise Failed("a new connection is not greeted")


def receives(descriptor, expected):
    """Whether these bytes come next."""
    left = expected
    while left:
        try:
            some = os.read(descriptor, len(left))
        except ConnectionError:
            return False
        if not some or not left.startswith(some):
            return False
        left = left[len(some):]
    return True


def give_up(*_):
    raise Failed(f"the server did not answer within {PATIENCE} s")


def ends_in_order(descriptor):
    """Whether the server ends the connection, with FIN and not with RST. Closes it."""
    try:
        return os.read(descriptor, 1) == b""
    except ConnectionError:
        return False
    finally:
        os.close(descriptor)


# The measurements.


def measure(options):
    count = options.connections
    print(f"{count:,} connections, Linux {os.uname().release}\n", flush=True)
    is_good = echoes(options, count)
    is_good &= broadcast(options, count)
    return is_good


def echoes(options, count):
    server = Server(
        [options.resound, "serve", "--log-level", "warn", "--listen", "frames://127.0.0.1:0", "--admin", "127.0.0.1:0", "--grace",
         f"{options.grace}s"],
        places=2,
    )
    say("resident memory, nothing open yet", f"{status(server.pid, 'VmRSS') >> 10:,} KiB")
    connections = Connections(server.ports[0])
    busy(options, server, 0)
    # The memory that the first connections need once is no part of what others cost.
    connections.open(100, greet_echo)
    kernel_before, resident_before = kernel_memory(server.pid, os.getpid()), status(server.pid, "VmRSS")
    before = server.turns()
    tenth = count // 10
    for part in range(1, 11):
        start = time.monotonic()
        opened = (count if part == 10 else part * tenth) - len(connections.descriptors)
        connections.open(opened, greet_echo)
        took = time.monotonic() - start
        say(f"opened {len(connections.descriptors):,}", f"{opened / took:,.0f} connections/s")
        if part == 1:
            busy(options, server, len(connections.descriptors))
    say("longest turn of the loop until then", longest(before, server.turns()))
    resident = status(server.pid, "VmRSS")
    say("resident memory", f"{resident >> 10:,} KiB, at most {status(server.pid, 'VmHWM') >> 10:,} KiB")
    say("resident memory of each connection", f"{(resident - resident_before) / (count - 100):.0f} bytes")
    kernel = kernel_memory(server.pid, os.getpid()) - kernel_before
    if options.inside:
        # Elsewhere other processes change it, too.
        say("kernel memory, both ends", f"{kernel >> 20:,} MiB, {kernel / (count - 100):,.0f} bytes each")
    busy(options, server, count)
    idle_is_free = idle(options, server)
    listing(server)
    before, start = server.turns(), time.monotonic()
    echoed = sum(map(echo, connections.batches()))
    say("echoed a frame on each", f"{echoed:,} of {count:,} in {time.monotonic() - start:.1f} s")
    say("longest turn of the loop meanwhile", longest(before, server.turns()))
    return drain(options, server, connections) and echoed == count and idle_is_free


def busy(options, server, beside):
    """Processor time of the server for each frame of some busy connections; the median of some runs."""
    costs, rates, slowest = [], [], []
    for _ in range(options.rounds):
        before = processor_seconds(server.pid)
        output = subprocess.run(
            [str(options.resound), "bench", f"127.0.0.1:{server.ports[0]}", "-c", str(BUSY), "-z",
             f"{options.busy:.0f}s", "--warm-up", "0s", "--json", "-"],
            capture_output=True, check=False,
        )
        if output.returncode != 0:
            raise Failed(f"resound bench: {output.stderr.decode().strip()}")
        report = json.loads(output.stdout)
        costs.append((processor_seconds(server.pid) - before) / report["frames"] * 1e6)
        rates.append(report["frames_per_s"])
        slowest.append(report["latency_us"]["max"] / 1000)
    middle = sorted(zip(costs, rates, slowest))[len(costs) // 2]
    say(
        f"{BUSY} busy beside {beside:,} idle",
        f"{middle[0]:.2f} µs of CPU for each frame ({min(costs):.2f} to {max(costs):.2f}), {middle[1]:,.0f} frames/s, "
        f"the slowest in {middle[2]:.1f} ms",
    )


def idle(options, server):
    # What is given back after the load has its own time.
    deadline = time.monotonic() + 60
    while True:
        before = processor_seconds(server.pid)
        time.sleep(options.idle)
        spent = processor_seconds(server.pid) - before
        if spent == 0 or time.monotonic() > deadline:
            say("CPU while all are idle", f"{spent * 1e6:,.0f} µs in {options.idle:.0f} s")
            return spent == 0


def listing(server):
    before, start = server.turns(), time.monotonic()
    try:
        listed = json.loads(server.fetch("/connections?limit=256"))
    except OSError as error:
        say("GET /connections", str(error))
        return
    say("GET /connections", f"{listed['total']:,} looked at in {time.monotonic() - start:.2f} s")
    say("longest turn of the loop meanwhile", longest(before, server.turns()))


def drain(options, server, connections):
    start = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    in_order = sum(sum(map(ends_in_order, batch)) for batch in connections.batches())
    all_ended = time.monotonic() - start
    server.wait(options.grace + 10)
    took, count = time.monotonic() - start, len(connections.descriptors)
    say("SIGTERM: connections ended in order", f"{in_order:,} of {count:,} in {all_ended:.1f} s")
    say("SIGTERM: the process has ended", f"after {took:.1f} s, --grace {options.grace}s")
    return in_order == count and took <= options.grace


def broadcast(options, count):
    """One line to all, from the example `broadcast`, which lists the connections and speaks to each."""
    server = Server([options.broadcast, "127.0.0.1:0"])
    connections, start = Connections(server.ports[0]), time.monotonic()
    connections.open(count, greet_welcome)
    say("opened for the broadcast", f"{count / (time.monotonic() - start):,.0f} connections/s")
    before, start = processor_seconds(server.pid), time.monotonic()
    server.process.stdin.write(NEWS.decode())
    server.process.stdin.flush()
    first = None
    got = 0
    for batch in connections.batches():
        got += sum(receives(descriptor, NEWS) for descriptor in batch)
        first = first or time.monotonic() - start
    took, spent = time.monotonic() - start, processor_seconds(server.pid) - before
    say(
        "broadcast of a line to all",
        f"{got:,} of {count:,} in {took:.1f} s, the first batch after {first * 1000:.0f} ms, "
        f"{spent / count * 1e6:.1f} µs of CPU for each",
    )
    # The end of its input stops it.
    server.process.stdin.close()
    in_order = sum(sum(map(ends_in_order, batch)) for batch in connections.batches())
    server.wait(PATIENCE)
    return got == count and in_order == count


def longest(before, now):
    """The bound of the highest bucket that has more turns now than before. What other processes took of a turn counts."""
    counts = [(bound, now[bound] - before.get(bound, 0)) for bound in sorted(now)]
    all_turns = counts[-1][1]
    if all_turns == 0:
        return "none"
    bound = next(bound for bound, counted in counts if counted == all_turns)
    return f"at most {bound:g} s"


def say(what, value):
    print(f"{what:<46} {value}", flush=True)


main()
