//go:build nic

package zerocopy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/tools/cbench"
)

// The processors of BenchmarkReceivingProcessor. What the device's DMA would do is done by the
// kernel thread that polls its queue, and the packet then goes to the receiving processor.
const (
	receivingCPU = 0
	dmaCPU       = 1
	sendingCPU   = 2
)

// BenchmarkReceivingProcessor measures for how long the processor that receives is busy per
// GB: with zero copy, with provided buffers and with read(2), in Go and in C with liburing,
// over the same queue of the same device, in turns. All read the first byte of each piece. It
// reports the medians in seconds per GB, and their ratios to read(2). An operation is a round
// of all. In an emulated machine a second means nothing: the ratio says how much of the work
// remains.
func BenchmarkReceivingProcessor(b *testing.B) {
	require.GreaterOrEqual(b, runtime.NumCPU(), 3, "processors: vmrun --cpus 3")
	w := newWire(b, "tso=1", "ring=1024")
	divideWork(b, w)
	contestants := []struct {
		name string
		open func(b *testing.B, c connection) bulk
	}{
		{"read", openRead},
		{"go-provided", openGo(zcrx.Provided)},
		{"c-provided", openC(zcrx.Provided)},
		{"go-zerocopy", openGo(zcrx.ZeroCopy)},
		{"c-zerocopy", openC(zcrx.ZeroCopy)},
	}
	perGB := make([][]float64, len(contestants))
	ratios := make([][]float64, len(contestants))
	for range b.N {
		for i, c := range contestants {
			perGB[i] = append(perGB[i], busyPerGB(b, w, c.open))
			last := len(perGB[i]) - 1
			ratios[i] = append(ratios[i], perGB[i][last]/perGB[0][last])
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, c := range contestants {
		b.ReportMetric(median(perGB[i]), c.name+"-s/GB")
		b.ReportMetric(median(ratios[i]), c.name+"/read")
	}
}

// bulk receives a stream: receive returns when at least n more bytes have come. Both functions
// are called on the same goroutine, which is locked to its thread.
type bulk struct {
	receive func(n int) error
	close   func()
}

const (
	bulkWarmUp = 8 << 20
	bulkSize   = 32 << 20
)

// busyPerGB receives over a connection of its own, and returns for how many seconds per GB the
// receiving processor was busy.
func busyPerGB(b *testing.B, w *wire, open func(*testing.B, connection) bulk) float64 {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	awaitUnbound(b)
	c := w.connect(1)
	sent := make(chan error, 1)
	in := open(b, c) // takes over c.in
	go func() { sent <- sendOn(sendingCPU, c.out) }()
	require.NoError(b, in.receive(bulkWarmUp))
	before := busy(b, receivingCPU)
	require.NoError(b, in.receive(bulkSize))
	took := busy(b, receivingCPU) - before
	in.close()
	require.Error(b, <-sent, "the receiver has closed the connection")
	return took.Seconds() * 1e9 / bulkSize
}

// divideWork keeps this program on the receiving processor, the copies into the receive
// buffers on another, and what the sender's device receives, acknowledgements, on a third.
func divideWork(b *testing.B, w *wire) {
	b.Helper()
	class := "/sys/class/net"
	write := func(value string, path ...string) error {
		return os.WriteFile(filepath.Join(path...), []byte(value), 0)
	}
	require.NoError(b, write("1", class, device, "threaded"))
	require.NoError(b, write(fmt.Sprintf("%x", 1<<receivingCPU), class, device, "queues/rx-1/rps_cpus"))
	require.NoError(b, w.inPeer(func() error { // sysfs shows the namespace in which it was mounted
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		dir := b.TempDir()
		if err := errors.Join(
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("sysfs", dir, "sysfs", 0, "")); err != nil {
			return err
		}
		return errors.Join(write("1", dir, "class/net", sender, "threaded"), unix.Unmount(dir, 0))
	}))
	pin(b, kernelThreads(b, "napi/"+device+"-"), dmaCPU)
	pin(b, kernelThreads(b, "napi/"+sender+"-"), sendingCPU)
	pin(b, numbersIn(b, "/proc/self/task"), receivingCPU) // threads inherit it
	was := runtime.GOMAXPROCS(1)                          // as of a program with one processor
	b.Cleanup(func() { runtime.GOMAXPROCS(was) })
}

// pin binds threads to a processor.
func pin(b *testing.B, threads []int, cpu int) {
	b.Helper()
	require.NotEmpty(b, threads)
	for _, id := range threads {
		err := setProcessor(id, cpu)
		if !errors.Is(err, unix.ESRCH) { // it may have ended
			require.NoError(b, err)
		}
	}
}

func setProcessor(thread, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(thread, &set)
}

func kernelThreads(b *testing.B, prefix string) (threads []int) {
	b.Helper()
	for _, id := range numbersIn(b, "/proc") {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", id))
		if err == nil && strings.HasPrefix(string(comm), prefix) {
			threads = append(threads, id)
		}
	}
	return threads
}

// numbersIn returns the files of a directory whose names are numbers.
func numbersIn(b *testing.B, dir string) (numbers []int) {
	b.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(b, err)
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// busy returns how long a processor has not been idle since the machine started, to a
// hundredth of a second.
func busy(b *testing.B, cpu int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile("/proc/stat")
	require.NoError(b, err)
	for line := range bytes.Lines(stat) {
		fields := strings.Fields(string(line))
		if len(fields) < 9 || fields[0] != fmt.Sprintf("cpu%d", cpu) {
			continue
		}
		ticks := 0
		for i, field := range fields[1:9] { // user, nice, system, idle, iowait, irq, softirq, steal
			n, err := strconv.Atoi(field)
			require.NoError(b, err)
			if i != 3 && i != 4 {
				ticks += n
			}
		}
		return time.Duration(ticks) * time.Second / 100 // USER_HZ
	}
	require.FailNow(b, "no such processor", "%d in /proc/stat", cpu)
	return 0
}

// sendOn sends until the connection ends, on a thread of a processor.
func sendOn(cpu int, conn *net.TCPConn) error {
	runtime.LockOSThread() // the thread ends with the goroutine
	if err := setProcessor(0, cpu); err != nil {
		return err
	}
	fd, err := blockingFD(conn)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		if _, err := unix.Write(fd, pattern()[:chunkSize]); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// blockingFD closes conn, and returns an fd of its socket for which calls wait.
func blockingFD(conn *net.TCPConn) (int, error) {
	file, err := conn.File()
	if err != nil {
		return -1, err
	}
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd())) // Fd makes it blocking
	return fd, errors.Join(err, conn.Close())
}

func openRead(b *testing.B, c connection) bulk {
	b.Helper()
	fd, err := blockingFD(c.in)
	require.NoError(b, err)
	p := make([]byte, 64<<10)
	return bulk{
		receive: func(n int) error {
			for n > 0 {
				k, err := unix.Read(fd, p)
				if err != nil && !errors.Is(err, unix.EINTR) {
					return err
				}
				n -= max(k, 0)
			}
			return nil
		},
		close: func() { _ = unix.Close(fd) },
	}
}

// openGo returns a way to receive with the library: a handler on the loop's thread.
func openGo(mode zcrx.Mode) func(b *testing.B, c connection) bulk {
	return func(b *testing.B, c connection) bulk {
		b.Helper()
		loop, err := zcrx.NewLoop(zcrx.LoopConfig{})
		require.NoError(b, err)
		pool, err := zcrx.OpenPool(b.Context(), loop, mode, zcrx.Queue{Interface: device, Number: 1}, zcrx.PoolConfig{})
		require.NoError(b, err)
		r, err := zcrx.NewReceiver(pool, c.in)
		require.NoError(b, err)
		h := &bulkHandler{reached: make(chan error, 1)}
		require.NoError(b, r.Handle(nil, h.handle))
		return bulk{receive: h.receive, close: func() {
			require.NoError(b, errors.Join(r.Close(), pool.Close(), loop.Close()))
		}}
	}
}

// bulkHandler counts the bytes that its Receiver's loop has received.
type bulkHandler struct {
	received, target atomic.Int64
	waits            atomic.Bool // receive waits for target
	reached          chan error
	sum              byte // of first bytes, so that the compiler keeps the reads
}

func (h *bulkHandler) handle(buffers []zcrx.Buffer, err error) {
	n := 0
	for _, b := range buffers {
		h.sum += b.Bytes()[0]
		n += b.Len()
	}
	if released := zcrx.ReleaseAll(buffers); err == nil {
		err = released
	}
	if (h.received.Add(int64(n)) >= h.target.Load() || err != nil) && h.waits.CompareAndSwap(true, false) {
		h.reached <- err
	}
}

func (h *bulkHandler) receive(n int) error {
	h.target.Store(h.received.Load() + int64(n))
	h.waits.Store(true)
	return <-h.reached
}

func openC(mode zcrx.Mode) func(b *testing.B, c connection) bulk {
	return func(b *testing.B, c connection) bulk {
		b.Helper()
		fd, err := blockingFD(c.in)
		require.NoError(b, err)
		var s *cbench.Stream
		if mode == zcrx.Provided {
			s, err = cbench.OpenStream(fd, cbench.Provided)
		} else {
			var iface *net.Interface
			iface, err = net.InterfaceByName(device)
			require.NoError(b, err)
			s, err = cbench.OpenZeroCopyStream(fd, iface.Index, 1)
		}
		require.NoError(b, err)
		return bulk{
			receive: func(n int) error { return s.Run(int64(n)) },
			close: func() {
				s.Close()
				_ = unix.Close(fd)
			},
		}
	}
}
