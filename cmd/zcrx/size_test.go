package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "007": 7, "10B": 10,
		"1K": 1024, "1KiB": 1024, "1kB": 1000, "1KB": 1000,
		"64MiB": 64 << 20, "64M": 64 << 20, "3MB": 3e6,
		"1G": 1 << 30, "2GiB": 2 << 30, "5GB": 5e9,
		"1T": 1 << 40, "7TiB": 7 << 40, "1TB": 1e12,
		"9223372036854775807": math.MaxInt64,
	} {
		var s size
		require.NoError(t, s.Set(text), text)
		assert.Equal(t, want, int64(s), text)
	}
	for _, text := range []string{
		"", " ", "x", "K", "-1", "+1", "1.5", "1e3", "0x10", " 1", "1 ", "1 K", "1k", "1mib", "1KK", "1Ki", "1_000", "١",
		"9223372036854775808", "18446744073709551616", "8388608T", "16777216T", "9999999999999999999999",
	} {
		s := size(42)
		err := s.Set(text)
		require.Error(t, err, "%q", text)
		assert.Contains(t, err.Error(), "0 to 9223372036854775807", "the message names the range")
		assert.EqualValues(t, 42, s, "nothing was set")
	}
}

func TestSizeString(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1: "1", 1023: "1023", 1024: "1KiB", 1025: "1025", 64 << 20: "64MiB", 1 << 40: "1TiB", 3 << 29: "1536MiB",
	} {
		s := size(n)
		assert.Equal(t, want, s.String())
		var back size
		require.NoError(t, back.Set(s.String()))
		assert.Equal(t, s, back)
	}
}
