package nic

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	ethtoolGetRSS   = 0x46 // ETHTOOL_GRSSH
	rssHashToeplitz = 1    // ETH_RSS_HASH_TOP
	rssHeaderSize   = int(unsafe.Sizeof(rssHeader{}))
)

// rssHeader mirrors struct ethtool_rxfh, which the table and the key follow.
type rssHeader struct {
	cmd       uint32
	context   uint32
	indirSize uint32 // entries of the table
	keySize   uint32 // in bytes
	hash      uint8
	transform uint8 // of the hash's input, for symmetric hashing
	_         [2]uint8
	_         uint32
}

// ReadRSS returns the RSS of an interface. It needs no privilege. It returns an error if
// the interface has none, or uses another hash than plain Toeplitz.
func ReadRSS(iface string) (*RSS, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	buf := make([]byte, rssHeaderSize)
	for range 2 { // the first call gets the sizes only
		h := (*rssHeader)(unsafe.Pointer(unsafe.SliceData(buf)))
		h.cmd = ethtoolGetRSS
		if err := ethtool(fd, iface, buf); err != nil {
			return nil, fmt.Errorf("zcrx: RSS of %q: %w", iface, err)
		}
		if h.hash != 0 && h.hash != rssHashToeplitz || h.transform != 0 {
			return nil, fmt.Errorf("zcrx: RSS of %q: the hash is not plain Toeplitz (function %#x, transformation %#x)", iface, h.hash, h.transform)
		}
		if h.indirSize == 0 || h.keySize < minRSSKey || h.indirSize > 1<<16 || h.keySize > 1<<10 {
			return nil, fmt.Errorf("zcrx: RSS of %q: a table of %d queues and a key of %d bytes", iface, h.indirSize, h.keySize)
		}
		if size := rssHeaderSize + 4*int(h.indirSize) + int(h.keySize); len(buf) < size {
			larger := make([]byte, size)
			copy(larger, buf) // the second call passes the sizes that the first returned
			buf = larger
			continue
		}
		return parseRSS(h, buf[rssHeaderSize:]), nil
	}
	return nil, fmt.Errorf("zcrx: RSS of %q: its size changed while it was read", iface)
}

func parseRSS(h *rssHeader, config []byte) *RSS {
	r := &RSS{Table: make([]int, h.indirSize)}
	for i := range r.Table {
		r.Table[i] = int(binary.NativeEndian.Uint32(config))
		config = config[4:]
	}
	r.Key = config[:h.keySize]
	return r
}

// ethtool makes a SIOCETHTOOL ioctl, which writes its reply over the request.
func ethtool(fd int, iface string, request []byte) error {
	var ifreq struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	if copy(ifreq.name[:unix.IFNAMSIZ-1], iface) < len(iface) {
		return unix.ENODEV
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	ifreq.data = unsafe.Pointer(unsafe.SliceData(request))
	pin.Pin(ifreq.data)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq)))
	if errno != 0 {
		return os.NewSyscallError("ioctl SIOCETHTOOL", errno)
	}
	return nil
}
