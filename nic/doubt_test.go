package nic

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDoubts hides one fact of a good queue at a time: there is no fault, but a doubt.
func TestDoubts(t *testing.T) {
	for name, c := range map[string]struct {
		hide func(f *Facts)
		what string
	}{
		"unknown driver": {func(f *Facts) { f.Driver = "novel" }, "driver novel has not been seen"},
		"no driver":      {func(f *Facts) { f.Driver = "" }, "its driver has not been seen"},
		"no link":        {func(f *Facts) { f.LinkErr = syscall.EACCES }, "XDP"},
		"no rings":       {func(f *Facts) { f.RingsErr, f.DataSplit = syscall.EACCES, 0 }, "header split could not be read"},
		"no queue":       {func(f *Facts) { f.QueueErr = syscall.EACCES }, "queue 3 could not be read"},
		"down":           {func(f *Facts) { f.Down, f.QueueErr = true, syscall.ENOENT }, "ip link set dev eth7 up"},
		"netkit": {func(f *Facts) {
			f.Virtual, f.Kind, f.Driver, f.RingsErr, f.DataSplit = true, "netkit", "", syscall.EOPNOTSUPP, 0
		}, "leased from a physical interface"},
	} {
		t.Run(name, func(t *testing.T) {
			f := ready()
			c.hide(f)
			assert.Empty(t, f.Faults())
			doubts := f.Doubts()
			require.NotEmpty(t, doubts)
			assert.Contains(t, doubts[0], c.what)
		})
	}
	taken := ready()
	taken.Virtual, taken.Kind, taken.IOUring = true, "netkit", true
	assert.Equal(t, syscall.EEXIST, taken.Faults()[0].Errno)
	unknown := ready()
	unknown.Driver, unknown.DataSplit = "novel", SplitOff
	assert.Empty(t, unknown.Doubts(), "something wrong was found")
	blind := ready()
	blind.Driver, blind.LinkErr, blind.RingsErr, blind.QueueErr = "", syscall.EACCES, syscall.EACCES, syscall.EACCES
	assert.Len(t, blind.Doubts(), 4)
}
