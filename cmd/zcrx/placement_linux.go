package main

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readPlacement reads the driver's counters of one receive queue (ethtool -S); nil
// if it has none that tell where it put payload. The names are those of the
// software device in test/nic; drivers for hardware have not been seen to count that.
func readPlacement(iface string, queue int) *placement {
	counters := readDriverCounters(iface)
	counter := func(name string) uint64 { return counters[fmt.Sprintf("rx%d_%s", queue, name)] }
	if _, told := counters[fmt.Sprintf("rx%d_placed_bytes", queue)]; !told {
		return nil
	}
	return &placement{
		PlacedBytes: counter("placed_bytes"),
		OtherBytes:  counter("linear_bytes") + counter("page_bytes"),
	}
}

// readDriverCounters returns what ethtool -S shows; nothing if that fails, as it
// does for most interfaces.
func readDriverCounters(iface string) map[string]uint64 {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	const statSet, nameSize = 1, 32 // ETH_SS_STATS, ETH_GSTRING_LEN

	// struct ethtool_sset_info with one number behind it.
	count := make([]byte, 20)
	binary.NativeEndian.PutUint32(count, unix.ETHTOOL_GSSET_INFO)
	binary.NativeEndian.PutUint64(count[8:], 1<<statSet)
	if ethtoolCall(fd, iface, count) != nil || binary.NativeEndian.Uint64(count[8:]) == 0 {
		return nil
	}
	n := int(binary.NativeEndian.Uint32(count[16:]))

	// struct ethtool_gstrings and struct ethtool_stats. The kernel writes no more
	// than the count says, and nothing if that is not what it has by now.
	names := make([]byte, 12+n*nameSize)
	binary.NativeEndian.PutUint32(names, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(names[4:], statSet)
	binary.NativeEndian.PutUint32(names[8:], uint32(n))
	values := make([]byte, 8+n*8)
	binary.NativeEndian.PutUint32(values, unix.ETHTOOL_GSTATS)
	binary.NativeEndian.PutUint32(values[4:], uint32(n))
	if ethtoolCall(fd, iface, names) != nil || ethtoolCall(fd, iface, values) != nil ||
		binary.NativeEndian.Uint32(names[8:]) != uint32(n) || binary.NativeEndian.Uint32(values[4:]) != uint32(n) {
		return nil
	}
	counters := make(map[string]uint64, n)
	for i := range n {
		name := unix.ByteSliceToString(names[12+i*nameSize:][:nameSize])
		counters[name] = binary.NativeEndian.Uint64(values[8+i*8:])
	}
	return counters
}

// ethtoolCall makes an ioctl with one of the structs of linux/ethtool.h.
func ethtoolCall(fd int, iface string, request []byte) error {
	ifreq := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(unsafe.SliceData(request))}
	copy(ifreq.name[:unix.IFNAMSIZ-1], iface)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq)))
	runtime.KeepAlive(request)
	if errno != 0 {
		return errno
	}
	return nil
}
