//go:build linux

package guest

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

// Limits of the program.
const (
	memlockLimit = 8 << 20 // bytes of locked memory: the default of kernel and systemd for users
	nofileLimit  = 1 << 20 // file descriptors: the kernel's default maximum
)

// mountAll mounts the file systems, and sets the host name and the limits.
func mountAll() error {
	for _, m := range []struct {
		kind, target, options string
		flags                 uintptr
	}{
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"devtmpfs", "/dev", "mode=755", unix.MS_NOSUID},
		{"devpts", "/dev/pts", "mode=620,ptmxmode=666", unix.MS_NOSUID | unix.MS_NOEXEC},
		// The default size, half of the memory, may be too little for one large file.
		{"tmpfs", "/dev/shm", "mode=1777,size=90%", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/tmp", "mode=1777,size=90%", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", wire.WorkDir, "mode=755,size=90%", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.kind, m.target, err)
		}
	}
	for link, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte("vmrun")); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	for resource, value := range map[int]uint64{
		unix.RLIMIT_MEMLOCK: memlockLimit,
		unix.RLIMIT_NOFILE:  nofileLimit,
	} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
			return fmt.Errorf("setting limit %d: %w", resource, err)
		}
	}
	return nil
}

// loopbackUp brings lo up. The kernel itself gives it the addresses 127.0.0.1 and ::1.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// writeEtc writes the files in /etc that Go's resolver and os/user read.
func writeEtc(uid int) error {
	passwd, group := "root:x:0:0:root:/root:/bin/false\n", "root:x:0:\n"
	if uid != 0 {
		passwd += fmt.Sprintf("user:x:%d:%d:user:%s:/bin/false\n", uid, uid, wire.WorkDir)
		group += fmt.Sprintf("user:x:%d:\n", uid)
	}
	for _, dir := range []string{"/etc", "/root"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"/etc/passwd": passwd,
		"/etc/group":  group,
		"/etc/hosts":  "127.0.0.1 localhost vmrun\n::1 localhost vmrun\n",
	} {
		// Keep a file that the user has copied there (--file).
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// loadFolder loads the modules of a folder in the order of their names.
func loadFolder(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	for _, name := range names { // Glob sorts
		if err := loadModule(name); err != nil {
			return err
		}
	}
	return nil
}

func loadModule(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("loading a module: %w", err)
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), "", 0); err != nil {
		return fmt.Errorf("loading the module %s: %w (the reason is on the console)", name, err)
	}
	return nil
}
