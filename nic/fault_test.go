package nic

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ready returns the facts of a queue that has no fault.
func ready() *Facts {
	return &Facts{Interface: "eth7", Driver: "bnxt_en", DataSplit: SplitOn, Queue: 3}
}

// TestFaults breaks one thing of a good queue at a time.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(f *Facts)
		errno  syscall.Errno
		queue  bool // the fault is of this queue, not of the device
		what   string
		remedy string
	}{
		"virtual": {func(f *Facts) { f.Virtual, f.Driver = true, "" },
			syscall.EOPNOTSUPP, false, "virtual", "physical interface"},
		"driver without queue management": {func(f *Facts) { f.Driver = "virtio_net" },
			syscall.EOPNOTSUPP, false, "virtio_net has no queue management", "whose driver is bnxt_en"},
		"driver without ring parameters": {func(f *Facts) { f.Driver, f.DataSplit, f.RingsErr = "dull", 0, syscall.EOPNOTSUPP },
			syscall.EOPNOTSUPP, false, "dull has no ring parameters", "whose driver is bnxt_en"},
		"no such queue": {func(f *Facts) { f.QueueErr = syscall.EINVAL },
			syscall.ERANGE, true, "no such receive queue", "ethtool -l eth7"},
		"XDP and header split off": {func(f *Facts) { f.XDP, f.DataSplit = XDPDriver, SplitOff },
			syscall.EINVAL, false, "tcp-data-split) is off", "ip link set dev eth7 xdp off, then ethtool -G eth7 tcp-data-split on"},
		"header split off": {func(f *Facts) { f.DataSplit = SplitOff },
			syscall.EINVAL, false, "tcp-data-split) is off", "ethtool -G eth7 tcp-data-split on hds-thresh 0"},
		"header split unset": {func(f *Facts) { f.DataSplit = SplitUnknown },
			syscall.EINVAL, false, "never set", "ethtool -G eth7 tcp-data-split on hds-thresh 0"},
		"header split of an unknown value": {func(f *Facts) { f.DataSplit = 9 },
			syscall.EINVAL, false, "never set", "ethtool -G eth7 tcp-data-split on hds-thresh 0"},
		"threshold": {func(f *Facts) { f.SplitThreshold = 64 },
			syscall.EINVAL, false, "hds-thresh) is 64", "ethtool -G eth7 hds-thresh 0"},
		"XDP in the driver": {func(f *Facts) { f.XDP = XDPDriver },
			syscall.EEXIST, false, "XDP", "ip link set dev eth7 xdp off"},
		"generic XDP": {func(f *Facts) { f.XDP = XDPGeneric },
			syscall.EEXIST, false, "XDP", "ip link set dev eth7 xdpgeneric off"},
		"offloaded XDP": {func(f *Facts) { f.XDP = XDPOffloaded },
			syscall.EEXIST, false, "XDP", "ip link set dev eth7 xdpoffload off"},
		"several XDP programs": {func(f *Facts) { f.XDP = XDPSeveral },
			syscall.EEXIST, false, "XDP", "ip link set dev eth7 xdp off"},
		"io_uring": {func(f *Facts) { f.IOUring = true },
			syscall.EEXIST, true, "io_uring", "another queue"},
		"devmem": {func(f *Facts) { f.DMABuf, f.DMABufBinding = true, 12 },
			syscall.EEXIST, true, "dma-buf binding 12", "another queue"},
		"AF_XDP": {func(f *Facts) { f.AFXDP = true },
			syscall.EBUSY, true, "AF_XDP", "another queue"},
		"lease": {func(f *Facts) { f.Lease = &Lease{Ifindex: 8, Queue: 1} },
			syscall.EBUSY, true, "leased to a virtual interface (queue 1 of interface index 8)", "another queue"},
		"lease elsewhere": {func(f *Facts) { f.Lease = &Lease{OtherNetNS: true} },
			syscall.EBUSY, true, "another network namespace", "another queue"},
	} {
		t.Run(name, func(t *testing.T) {
			f := ready()
			require.Empty(t, f.Faults())
			require.Empty(t, f.Doubts())
			c.spoil(f)
			faults := f.Faults()
			require.NotEmpty(t, faults)
			first := faults[0]
			assert.Equal(t, c.errno, first.Errno)
			assert.ErrorIs(t, first, c.errno)
			assert.Equal(t, first.What, first.Error())
			assert.Contains(t, first.What, c.what)
			assert.Contains(t, first.Remedy, c.remedy)
			assert.Equal(t, !c.queue, first.Unsupported)
			assert.Empty(t, f.Doubts())

			cause, ok := f.Cause(c.errno)
			require.True(t, ok)
			assert.Equal(t, first, cause)
			_, ok = f.Cause(syscall.ENOMEM)
			assert.False(t, ok)
		})
	}
}

// TestSoftwareDevice checks that the software device of the tests has no fault, and that
// no remedy recommends it.
func TestSoftwareDevice(t *testing.T) {
	f := ready()
	f.Driver = testDriver
	assert.Empty(t, f.Faults())
	assert.Empty(t, f.Doubts())
	f.Driver = "virtio_net"
	assert.NotContains(t, f.Faults()[0].Remedy, testDriver)
	assert.NotContains(t, ZeroCopyDrivers(), testDriver)
}

// TestFaultsInOrder checks that several faults come in the order in which the kernel
// checks, and that Cause returns the one that fits the errno.
func TestFaultsInOrder(t *testing.T) {
	f := ready()
	f.AFXDP, f.IOUring, f.XDP, f.DataSplit, f.SplitThreshold = true, true, XDPDriver, SplitOff, 64
	assert.Equal(t, syscall.EINVAL, f.Faults()[0].Errno)
	assert.Len(t, f.Faults(), 4)
	cause := func(f *Facts, errno syscall.Errno) Fault {
		fault, ok := f.Cause(errno)
		require.True(t, ok)
		return fault
	}
	assert.Contains(t, cause(f, syscall.EEXIST).What, "XDP program")
	assert.Contains(t, cause(f, syscall.EBUSY).What, "AF_XDP")
	_, ok := f.Cause(syscall.EOPNOTSUPP)
	assert.False(t, ok)

	// The kernel refused although the facts show no fault.
	set := cause(ready(), syscall.EINVAL)
	assert.Contains(t, set.What, "the driver's own choice")
	assert.Contains(t, set.Remedy, "ethtool -G eth7 tcp-data-split on")
	assert.False(t, set.Unsupported)
	_, ok = ready().Cause(syscall.EEXIST)
	assert.False(t, ok)
}
