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

// spec is what a machine is made of.
type spec struct {
	qemu      string // path
	image     string // kernel
	initramfs string
	accel     Accel     // never AccelAuto
	thread    TCGThread // never TCGThreadAuto if accel is AccelTCG
	memory    string
	cpus      int
	extra     string // kernel parameters
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
			// QEMU 7.2 emulates cmpxchg16b differently with one thread, and leaves
			// rubbish in the flags: every fourth boot of 6.12, whose allocator uses
			// it, died of that. Kernels do without it if they must.
			cpu += ",-cx16"
		}
	}
	// An oops is a failed run, not a line in a log: it panics. A panic reboots at
	// once, and -no-reboot makes that the end of QEMU.
	// The timer check takes a busy host for a broken timer.
	parameters := "console=ttyS0 panic=-1 oops=panic quiet no_timer_check"
	if s.extra != "" {
		parameters += " " + s.extra
	}
	return []string{
		"-no-user-config", "-nodefaults",
		"-machine", "q35", "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(s.cpus), "-m", s.memory,
		// Without a network card there is no boot ROM to wait for.
		"-nic", "none", "-display", "none", "-monitor", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=port,fd=3",
		"-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=port,name=" + wire.PortName,
		"-kernel", s.image, "-initrd", s.initramfs,
		// The kernel hands what follows the dashes to init.
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
	port, err := net.FileConn(ours) // a copy, which Go's poller watches
	ours.Close()
	if err != nil {
		return nil, fmt.Errorf("making the guest's port: %w", err)
	}
	cmd := exec.Command(s.qemu, s.arguments()...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// A Ctrl-C is for us; we end QEMU then. If we are killed, it goes with us.
		Setpgid:   true,
		Pdeathsig: syscall.SIGKILL,
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", qemuName, err), port.Close())
	}
	return &machine{cmd: cmd, port: port, console: console}, nil
}

// kill ends QEMU at once; whoever reads from the port sees its end.
func (m *machine) kill() { _ = m.cmd.Process.Kill() }

// stop ends QEMU, if it still runs, and frees everything.
func (m *machine) stop() {
	m.kill()
	_ = m.port.Close()
	_ = m.cmd.Wait() // that it was killed is no news
}

// died returns the error for a guest that went away without a last frame.
func (m *machine) died() error {
	_ = m.cmd.Wait() // the console is complete after that
	if m.console.contains("Kernel panic") {
		return fmt.Errorf("the guest's kernel panicked%s", m.console.tail())
	}
	return fmt.Errorf("the guest ended without a status (%s: %v)%s", qemuName, m.cmd.ProcessState, m.console.tail())
}
