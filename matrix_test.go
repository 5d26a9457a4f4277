//go:build matrix && linux && cgo

package zcrx

// The guest's half of `make test-matrix`: it reports what the library says and does on one
// kernel, in each situation that users run it in. tools/matrix boots the kernels, and makes
// docs/kernels.md of the answers.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/tools/matrix/answers"
	"github.com/zcrx-go/zcrx/uring"
)

const (
	childEnv    = "ZCRX_MATRIX_SITUATION"
	nobody      = 65534
	namespaced  = 65533 // the user outside the new user namespace that is root in it
	disabledKey = "/proc/sys/kernel/io_uring_disabled"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	if err := json.NewEncoder(os.Stdout).Encode(observe()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// situation is what a process is allowed on a kernel.
type situation struct {
	name       string
	dropCaps   []uintptr // from the bounding set: root's program starts without
	attributes *syscall.SysProcAttr
	memlock    uint64 // RLIMIT_MEMLOCK in bytes; 0 leaves it unchanged
	disabled   string // kernel.io_uring_disabled; "" leaves it unchanged
}

var situations = []situation{
	{name: answers.Root},
	{name: answers.NoNetAdmin, dropCaps: []uintptr{unix.CAP_NET_ADMIN}},
	{name: answers.User, attributes: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}},
	// Outside it is an ordinary user. Were it root, its rings would be charged to root,
	// also after its end, and root without CAP_IPC_LOCK would find the limit used up.
	{name: answers.UserNamespace, attributes: &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: namespaced, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: namespaced, Size: 1}},
		Credential:  &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
	}},
	{name: answers.Memlock, dropCaps: []uintptr{unix.CAP_IPC_LOCK}, memlock: 64 << 10},
	{name: answers.Disabled1, disabled: "1", attributes: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}},
	{name: answers.Disabled2, disabled: "2"},
	{name: answers.SeccompEPERM},
	{name: answers.SeccompENOSYS},
}

func TestMatrix(t *testing.T) {
	release := sys.KernelRelease()
	var all []answers.Answers
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			if s.disabled != "" && skip.Older(release, "6.6") {
				assert.NoFileExists(t, disabledKey, "the sysctl came with 6.6")
				return
			}
			a := s.run(t)
			all = append(all, a)
			checkAnswers(t, release, s.name, a)
		})
	}
	out := os.Getenv("ZCRX_MATRIX_OUT")
	require.NotEmpty(t, out)
	b, err := json.Marshal(answers.Kernel{Release: release, Situations: all})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(out, answers.File), b, 0o644))
}

// run starts this program again in the situation and takes its answers. A thread
// that lost capabilities is not given back to Go.
func (s *situation) run(t *testing.T) (a answers.Answers) {
	t.Helper()
	if s.disabled != "" {
		require.NoError(t, os.WriteFile(disabledKey, []byte(s.disabled), 0))
		defer func() { require.NoError(t, os.WriteFile(disabledKey, []byte("0"), 0)) }()
	}
	if s.memlock > 0 {
		var before unix.Rlimit
		require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before))
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: s.memlock, Max: before.Max}))
		defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &before)) }()
	}
	var stdout, stderr bytes.Buffer
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		for _, c := range s.dropCaps {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				done <- err
				return
			}
		}
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), childEnv+"="+s.name)
		cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = s.attributes, &stdout, &stderr
		done <- cmd.Run()
	}()
	require.NoError(t, <-done, "%s", stderr.String())
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &a), "%s", stdout.String())
	return a
}

// forbidden are the situations in which there is no io_uring at all.
var forbidden = map[string]bool{
	answers.Disabled1: true, answers.Disabled2: true, answers.SeccompEPERM: true, answers.SeccompENOSYS: true,
}

// checkAnswers holds what was observed against what the kernel has, by its
// number, and the situation allows.
func checkAnswers(t *testing.T, release, situation string, a answers.Answers) {
	t.Helper()
	assert.Zero(t, a.LeakedFDs)
	if !forbidden[situation] {
		assert.Empty(t, a.Errors["probe"])
	}
	chargesRings := !skip.Older(release, "6.16") && skip.Older(release, "7.2")
	zcrxFeature := func(f Feature) bool {
		switch f {
		case FeatureMixedCQE, FeatureMultishotRecv, FeatureProvidedBuffers, FeatureIncrementalBuffers,
			FeatureBundles, FeatureSendZC, FeatureNAPI:
			return false
		}
		return true
	}
	want := func(f Feature) string {
		switch {
		case forbidden[situation]:
			return LayerSandbox.String()
		case skip.Older(release, f.MinKernel()):
			return LayerKernel.String()
		case zcrxFeature(f) && (situation == answers.NoNetAdmin || situation == answers.User || situation == answers.UserNamespace):
			return LayerPrivilege.String()
		}
		return answers.Yes
	}
	for _, f := range AllFeatures() {
		assert.Equal(t, want(f), a.Features[f.String()], "%s", f)
	}
	for what, f := range operationFeatures {
		expected := want(f)
		if what == opZeroCopyOnLo && expected == answers.Yes {
			expected = LayerDevice.String()
		}
		if what == opDeviceLessPool && expected == answers.Yes && situation == answers.Memlock {
			expected = LayerPrivilege.String()
			assert.Contains(t, a.Errors[what], "RLIMIT_MEMLOCK (ulimit -l) from 65536 to at least 17043456 bytes")
		}
		if what == opDefaultLoop && situation == answers.Memlock && chargesRings {
			expected = LayerPrivilege.String()
			assert.Contains(t, a.Errors[what], "RLIMIT_MEMLOCK (ulimit -l) from 65536 to at least 544768 bytes")
		}
		assert.Equal(t, expected, a.Operations[what], "%s: %s", what, a.Errors[what])
		if expected != answers.Yes {
			assert.NotContains(t, a.Errors[what], "EINVAL", "%s ends in a raw EINVAL", what)
		}
	}
	if situation == answers.UserNamespace && !skip.Older(release, "6.15") {
		assert.Contains(t, a.Errors[opZeroCopyOnLo], "initial user namespace")
	}
}

// The operations, each tried in every situation.
const (
	opProvidedPool   = "receive into a provided pool"
	opDeviceLessPool = "receive into a device-less pool"
	opZeroCopyOnLo   = "register a pool on lo"
	opDefaultLoop    = "loop of default size"
	opMixed          = "loop with mixed completions"
	opExport         = "export"
	opImport         = "import"
	opFlush          = "flush"
	opAddArea        = "add area"
	opArmEvent       = "arm event"
)

var operationFeatures = map[string]Feature{
	opProvidedPool: FeatureProvidedBuffers, opDeviceLessPool: FeatureDeviceLess, opZeroCopyOnLo: FeatureZeroCopy,
	opDefaultLoop: FeatureProvidedBuffers, opMixed: FeatureMixedCQE, opExport: FeatureExport, opImport: FeatureImport, opFlush: FeatureFlush,
	opAddArea: FeatureAddArea, opArmEvent: FeatureEvents,
}

// observe runs in the situation.
func observe() answers.Answers {
	a := answers.Answers{
		Situation: os.Getenv(childEnv),
		Features:  map[string]string{}, Operations: map[string]string{}, Errors: map[string]string{},
	}
	switch a.Situation {
	case answers.SeccompEPERM: // as most container runtimes
		forbidIOUring(syscall.EPERM)
	case answers.SeccompENOSYS: // as some
		forbidIOUring(syscall.ENOSYS)
	}
	fs, err := ProbeFeatures()
	if err != nil {
		a.Errors["probe"] = err.Error()
	}
	before := countFDs()
	again, _ := probeFeatures()
	a.LeakedFDs = countFDs() - before
	for _, f := range AllFeatures() {
		a.Features[f.String()] = verdict(fs.Have(f))
		if got := verdict(again.Have(f)); got != a.Features[f.String()] {
			a.Features[f.String()] += ", then " + got
		}
	}
	try := func(what string, err error) {
		a.Operations[what] = verdict(err)
		if err != nil {
			a.Errors[what] = err.Error()
		}
	}
	try(opProvidedPool, receiveOnce(Provided, Queue{}, PoolConfig{NumBuffers: 16}))
	try(opDeviceLessPool, receiveOnce(DeviceLess, Queue{}, PoolConfig{NumBuffers: 4096}))
	try(opZeroCopyOnLo, receiveOnce(ZeroCopy, Queue{Interface: "lo"}, PoolConfig{NumBuffers: 16}))
	loop, err := NewLoop(LoopConfig{})
	try(opDefaultLoop, err)
	if err == nil {
		_ = loop.Close()
	}
	loop, err = NewLoop(LoopConfig{Entries: 8, CQEntries: 64, CompletionSize: CompletionMixed})
	try(opMixed, err)
	if err == nil {
		_ = loop.Close()
	}
	runtime.LockOSThread()
	ring, err := newRing(uring.Config{Entries: 4, Flags: uring.SetupSingleIssuer | uring.SetupDeferTaskrun | uring.SetupCQE32})
	for what, operation := range map[string]func() error{
		opExport:   func() error { _, err := ring.exportIfq(0); return err },
		opImport:   func() error { _, err := ring.importIfq(0); return err },
		opAddArea:  func() error { _, err := ring.addArea(0, &area{dmabuf: -1}); return err },
		opArmEvent: func() error { return ring.armEvent(0, eventAllocFailed) },
		opFlush:    func() error { return flushNothing(ring) },
	} {
		if err != nil {
			try(what, err)
			continue
		}
		try(what, known(operation()))
	}
	return a
}

// forbidIOUring puts a seccomp filter on every thread of this process: the three
// system calls of io_uring answer errno.
func forbidIOUring(errno syscall.Errno) {
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "seccomp:", err)
			os.Exit(1)
		}
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: unix.SYS_IO_URING_SETUP, Jf: 2},
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: unix.SYS_IO_URING_REGISTER, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	must(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if e != 0 {
		must(e)
	}
}

// known takes the kernel's word that it has no such instance, or that stdin is
// none to import, as proof that it has the operation.
func known(err error) error {
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EBADF) {
		return nil
	}
	return err
}

// flushNothing asks for the flush of an instance that does not exist.
func flushNothing(r *zcrxRing) error {
	region, err := sys.MapAnonymous(pageSize(), pageSize())
	if err != nil {
		return err
	}
	defer func() { _ = sys.Unmap(region) }()
	q, err := newRefillQueue(region, refillOffsets{tail: 64, entries: 128}, 4)
	if err != nil {
		return err
	}
	q.write(0)
	q.publish()
	_, err = r.flushIfq(0, &q)
	return err
}

// receiveOnce takes some bytes in through a pool of the mode.
func receiveOnce(mode Mode, queue Queue, cfg PoolConfig) error {
	const text = "through a pool"
	loop, err := NewLoop(LoopConfig{Entries: 8, CQEntries: 64}) // fits into 64 KiB
	if err != nil {
		return err
	}
	defer loop.Close()
	pool, err := OpenPool(context.Background(), loop, mode, queue, cfg)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	if _, err := io.WriteString(client, text); err != nil {
		return err
	}
	if err := client.Close(); err != nil {
		return err
	}
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	receiver, err := NewReceiver(pool, conn.(*net.TCPConn))
	if err != nil {
		return err
	}
	defer receiver.Close()
	var got strings.Builder
	for {
		b, err := receiver.Recv(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		got.Write(b.Bytes())
		if err := b.Release(); err != nil {
			return err
		}
	}
	if got.String() != text {
		return fmt.Errorf("received %q", got.String())
	}
	return nil
}

// verdict is "yes", the layer, or the error itself where it is of no known kind.
func verdict(err error) string {
	if err == nil {
		return answers.Yes
	}
	if u, ok := errors.AsType[*UnsupportedError](err); ok {
		return u.Layer.String()
	}
	return err.Error()
}

func countFDs() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}
