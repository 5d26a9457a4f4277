package vm

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// qemuName is the emulator, of the Debian package qemu-system-x86.
const qemuName = "qemu-system-x86_64"

// spec has the parameters of a machine.
type spec struct {
	qemu      string    // path of the emulator
	image     string    // path of the kernel
	initramfs string    // path of the initramfs
	accel     Accel     // not AccelAuto, except in arguments of chooseAccel
	thread    TCGThread // not TCGThreadAuto if accel is AccelTCG and the machine starts
	memory    string
	cpus      int
	extra     string // more kernel parameters
}

// machine is a running QEMU.
type machine struct {
	cmd     *exec.Cmd
	port    net.Conn // our end of the guest's port
	console *console
}

// findQEMU returns the path of the emulator.
func findQEMU() (string, error) {
	qemu, err := exec.LookPath(qemuName)
	if err != nil {
		return "", fmt.Errorf("%s not found; install it with: apt-get install --no-install-recommends qemu-system-x86", qemuName)
	}
	return qemu, nil
}

// arguments returns QEMU's command line. The port's socket is descriptor 3.
func (s spec) arguments() []string {
	accel, cpu := string(s.accel), "max"
	if s.accel == AccelTCG {
		accel += ",thread=" + string(s.thread)
		if s.thread == TCGThreadSingle {
			// With one thread, QEMU 7.2 leaves wrong flags after cmpxchg16b. Every
			// fourth boot of 6.12, whose allocator uses it, died of that. Kernels
			// work without this instruction.
			cpu += ",-cx16"
		}
	}
	// An oops panics, so that it fails the run. A panic reboots at once (panic=-1), and
	// with -no-reboot that ends QEMU. The kernel's timer check (no_timer_check) may fail
	// on a busy host.
	parameters := "console=ttyS0 panic=-1 oops=panic quiet no_timer_check"
	if s.extra != "" {
		parameters += " " + s.extra
	}
	return []string{
		"-no-user-config", "-nodefaults",
		"-machine", "q35", "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(s.cpus), "-m", s.memory,
		// No network card, because its boot ROM would delay the boot.
		"-nic", "none", "-display", "none", "-monitor", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=port,fd=3",
		"-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=port,name=" + wire.PortName,
		"-kernel", s.image, "-initrd", s.initramfs,
		// The kernel passes the arguments after the dashes to init.
		"-append", parameters + " -- " + wire.GuestArgument,
	}
}

// start starts QEMU. The caller must call stop.
func (s spec) start(console *console) (_ *machine, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making the guest's port: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "port"), os.NewFile(uintptr(pair[1]), "port")
	defer theirs.Close()
	port, err := net.FileConn(ours) // duplicates the descriptor
	ours.Close()
	if err != nil {
		return nil, fmt.Errorf("making the guest's port: %w", err)
	}
	cmd := exec.Command(s.qemu, s.arguments()...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// A Ctrl-C must not reach QEMU: Run ends it. If this process is killed, the
		// kernel kills QEMU.
		Setpgid:   true,
		Pdeathsig: syscall.SIGKILL,
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", qemuName, err), port.Close())
	}
	return &machine{cmd: cmd, port: port, console: console}, nil
}

// kill ends QEMU at once. Reads from the port then return an error.
func (m *machine) kill() { _ = m.cmd.Process.Kill() }

// stop ends QEMU, if it still runs, and frees everything.
func (m *machine) stop() {
	m.kill()
	_ = m.port.Close()
	_ = m.cmd.Wait() // returns an error because QEMU was killed
}

// died returns the error for a guest that ended without its last frame.
func (m *machine) died() error {
	_ = m.cmd.Wait() // then the console is complete
	if m.console.contains("Kernel panic") {
		return fmt.Errorf("the guest's kernel panicked%s", m.console.tail())
	}
	return fmt.Errorf("the guest ended without a status (%s: %v)%s", qemuName, m.cmd.ProcessState, m.console.tail())
}
