// Program is what the boot tests run in the guest. Its first argument says what it does.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := do(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func do(what string, args []string) error {
	switch what {
	case "exit":
		status, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(status)
	case "die":
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "panic":
		return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case "sleep":
		fmt.Println("sleeping")
		time.Sleep(time.Hour)
	case "hang":
		fmt.Println("hanging")
		hangsHere()
	case "ignore":
		signal.Ignore(syscall.SIGQUIT)
		fmt.Println("hanging")
		hangsHere()
	case "block":
		go blocks()
		time.Sleep(time.Second) // until it is in the kernel
		fmt.Println("hanging")
		hangsHere()
	case "orphan": // leaves a child behind that holds stdout open
		child := exec.Command(os.Args[0], "sleep")
		child.Stdout = os.Stdout
		return child.Start()
	case "args":
		fmt.Printf("%q\n", args)
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "streams":
		fmt.Print("out\n")
		fmt.Fprint(os.Stderr, "err\n")
	case "flood":
		return flood(args[0])
	case "system":
		return system()
	case "cat":
		return cat(args)
	case "write":
		return write(args)
	default:
		return fmt.Errorf("unknown request %q", what)
	}
	return nil
}

//go:noinline
func hangsHere() { time.Sleep(time.Hour) }

// blocks waits in the kernel, as vfork does, for a child that does not end; only SIGKILL ends
// that wait. The child has none of the program's other threads, so it must not do anything
// but make system calls.
//
//go:norace
func blocks() {
	pid, _, _ := syscall.RawSyscall6(syscall.SYS_CLONE, syscall.CLONE_VFORK|uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	for pid == 0 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_PAUSE, 0, 0, 0)
	}
}

// flood prints that many lines.
func flood(lines string) error {
	n, err := strconv.Atoi(lines)
	if err != nil {
		return err
	}
	for i := range n {
		fmt.Println(i)
	}
	return nil
}

// system prints what the guest is like.
func system() error {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	sysctl, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return err
	}
	var nofile, memlock syscall.Rlimit
	const rlimitMemlock = 8
	if err := errors.Join(
		syscall.Getrlimit(syscall.RLIMIT_NOFILE, &nofile),
		syscall.Getrlimit(rlimitMemlock, &memlock),
	); err != nil {
		return err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	fmt.Printf("release=%ssomaxconn=%snofile=%d\nmemlock=%d\nuid=%d gid=%d\naddresses=%v\ndir=%s\nstdin=%d\n",
		release, sysctl, nofile.Max, memlock.Max, os.Getuid(), os.Getgid(), addresses, dir, len(input))
	return nil
}

func cat(names []string) error {
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", name, text)
	}
	return nil
}

// write writes each file with its own name as content.
func write(names []string) error {
	for _, name := range names {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			return err
		}
	}
	return nil
}
