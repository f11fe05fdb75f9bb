"""
System calls from inside a running process, as an intruder would make them (x86-64): the process is stopped by ptrace, its registers are set on a
`syscall` instruction that it has, one step is done, and all is put back. It then goes on as if nothing had been.
"""
import ctypes
import os
import platform
import re
import signal
import struct

POSSIBLE = platform.machine() == "x86_64" and os.geteuid() == 0

NUMBERS = {
    "read": 0, "open": 2, "mmap": 9, "mprotect": 10, "socket": 41, "listen": 50, "clone": 56, "fork": 57, "execve": 59, "kill": 62, "rename": 82, "mkdir": 83,
    "unlink": 87, "chmod": 90, "ptrace": 101, "setuid": 105, "getppid": 110, "chroot": 161, "mount": 165, "openat": 257, "unlinkat": 263, "setns": 308,
    "process_vm_readv": 310, "bpf": 321,
}

SEIZE, INTERRUPT, SINGLESTEP, DETACH, GETREGSET, SETREGSET = 0x4206, 0x4207, 9, 17, 0x4204, 0x4205
NT_PRSTATUS, WALL = 1, 0x40000000
REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()
SCRATCH = 1024          # below the red zone of the stack: for texts

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Died(Exception):
    """The call was the end of the process, by this signal."""


def trace(request, pid, addr=None, data=None):
    if libc.ptrace(request, pid, addr, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


def get_registers(pid):
    block = ctypes.create_string_buffer(8 * len(REGISTERS))
    trace(GETREGSET, pid, NT_PRSTATUS, ctypes.byref(Iovec(ctypes.addressof(block), len(block))))
    return dict(zip(REGISTERS, struct.unpack(f"{len(REGISTERS)}Q", block.raw)))


def set_registers(pid, registers):
    block = ctypes.create_string_buffer(struct.pack(f"{len(REGISTERS)}Q", *(registers[r] & (1 << 64) - 1 for r in REGISTERS)))
    trace(SETREGSET, pid, NT_PRSTATUS, ctypes.byref(Iovec(ctypes.addressof(block), 8 * len(REGISTERS))))


def wait_stop(pid):
    _, status = os.waitpid(pid, WALL)
    if os.WIFSIGNALED(status):
        raise Died(signal.Signals(os.WTERMSIG(status)))
    if os.WIFEXITED(status):
        raise Died(f"exit status {os.WEXITSTATUS(status)}")
    return os.WSTOPSIG(status), status >> 16


def find_syscall(pid):
    """The address of a `syscall` instruction in what the process can execute."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-xp .*(?:\[vdso\]|libc[.-])", line)
            if m:
                mem.seek(int(m[1], 16))
                at = mem.read(int(m[2], 16) - int(m[1], 16)).find(b"\x0f\x05")
                if at >= 0:
                    return int(m[1], 16) + at
    raise LookupError("no syscall instruction")


class Inside:
    """with Inside(pid) as inside: inside.call("open", b"/etc/passwd", 0): what the kernel answers, -errno; Died if that was its end."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        trace(SEIZE, self.pid)
        trace(INTERRUPT, self.pid)
        wait_stop(self.pid)
        self.saved = get_registers(self.pid)
        self.gadget = find_syscall(self.pid)
        self.below = (self.saved["rsp"] - SCRATCH) & ~15
        self.mem = os.open(f"/proc/{self.pid}/mem", os.O_RDWR)
        self.bytes = os.pread(self.mem, SCRATCH // 2, self.below)
        self.alive = True
        return self

    def call(self, name, *args):
        at, values = self.below, []
        for a in args:
            if isinstance(a, bytes):
                os.pwrite(self.mem, a + b"\0", at)
                values.append(at)
                at += (len(a) + 16) & ~15
            else:
                values.append(a)
        registers = dict(self.saved, rax=NUMBERS[name], orig_rax=-1, rip=self.gadget)
        registers.update(zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), [*values, 0, 0, 0, 0, 0, 0][:6]))
        set_registers(self.pid, registers)
        try:
            trace(SINGLESTEP, self.pid)
            stopped, _ = wait_stop(self.pid)
        except Died:
            self.alive = False
            raise
        assert stopped == signal.SIGTRAP, stopped
        rax = get_registers(self.pid)["rax"]
        return rax - (1 << 64) if rax >> 63 else rax

    def __exit__(self, *_):
        if self.alive:
            os.pwrite(self.mem, self.bytes, self.below)
            set_registers(self.pid, self.saved)
            trace(DETACH, self.pid)
        os.close(self.mem)
