package main

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// size is a number of bytes on the command line. It is a pflag.Value.
type size int64

// units are the suffixes of a size, as in GNU's coreutils.
var units = map[string]uint64{
	"": 1, "B": 1,
	"K": 1 << 10, "KiB": 1 << 10, "kB": 1e3, "KB": 1e3,
	"M": 1 << 20, "MiB": 1 << 20, "MB": 1e6,
	"G": 1 << 30, "GiB": 1 << 30, "GB": 1e9,
	"T": 1 << 40, "TiB": 1 << 40, "TB": 1e12,
}

// Set reads decimal digits and a suffix, and nothing else.
func (s *size) Set(text string) error {
	rest := strings.TrimLeft(text, "0123456789")
	digits := text[:len(text)-len(rest)]
	unit, known := units[rest]
	if digits == "" || !known {
		return errors.New("want a number of bytes, 0 to 9223372036854775807, with a suffix K, M, G or T (powers of 1024), KB and so on (powers of 1000), or none")
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	high, low := bits.Mul64(n, unit)
	if err != nil || high != 0 || low > math.MaxInt64 {
		return errors.New("too large: allowed are 0 to 9223372036854775807 bytes")
	}
	*s = size(low)
	return nil
}

// String is the size with the largest suffix that leaves a whole number.
func (s *size) String() string {
	for _, suffix := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if unit := int64(units[suffix]); *s > 0 && int64(*s)%unit == 0 {
			return fmt.Sprintf("%d%s", int64(*s)/unit, suffix)
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type names the value in the help text.
func (*size) Type() string { return "SIZE" }
