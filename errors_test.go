package zcrx

import (
	"errors"
	"io/fs"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUnsupportedErrorSaysWhatWhereAndWhatToDo(t *testing.T) {
	seen := &KernelError{Op: "register interface queue", Errno: syscall.EPERM}
	err := error(&UnsupportedError{Feature: "pool import", Layer: LayerKernel, MinKernel: "6.19", Remedy: "use a newer kernel", Err: seen})
	assert.Contains(t, err.Error(), "zcrx: pool import not supported (kernel: needs Linux 6.19)")
	assert.Contains(t, err.Error(), "; use a newer kernel")
	assert.ErrorIs(t, err, ErrNotSupported)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorIs(t, err, syscall.EPERM)
	assert.ErrorIs(t, err, fs.ErrPermission, "as any errno")
	assert.NotErrorIs(t, err, ErrClosed)
}

func TestKernelError(t *testing.T) {
	err := error(&KernelError{Op: "export", Errno: syscall.EBUSY, Meaning: "in use", Remedy: "wait"})
	assert.Equal(t, "zcrx: export: "+errnoText(syscall.EBUSY)+": in use; wait", err.Error())
	assert.NoError(t, kernelError("nothing", 0))
	assert.ErrorIs(t, kernelError("something", syscall.EIO), syscall.EIO)
}

func TestErrClosedIsNets(t *testing.T) {
	assert.ErrorIs(t, ErrClosed, net.ErrClosed)
}

func TestNamesOfModesFeaturesAndLayers(t *testing.T) {
	for l := LayerBuild; l <= LayerDevice; l++ {
		assert.NotContains(t, l.String(), "(")
	}
	assert.Equal(t, "layer(99)", Layer(99).String())
	for _, f := range AllFeatures() {
		assert.NotEmpty(t, f.String())
		assert.NotEmpty(t, f.MinKernel())
	}
	assert.Equal(t, "feature(200)", Feature(200).String())
	assert.Empty(t, Feature(200).MinKernel())
	assert.ErrorContains(t, new(Features).Have(200), "Feature 200 is out of range")
	for m := Auto; m <= Socket; m++ {
		got, err := ParseMode(m.String())
		assert.NoError(t, err)
		assert.Equal(t, m, got)
	}
	_, err := ParseMode("fast")
	assert.ErrorContains(t, err, `mode "fast" is unknown: allowed are [auto zerocopy deviceless provided socket]`)
	assert.Equal(t, "mode(77)", Mode(77).String())
}

func TestOlderKernel(t *testing.T) {
	assert.True(t, olderKernel("7.1.13+deb13-cloud-amd64", 7, 2, 10))
	assert.True(t, olderKernel("7.2.9", 7, 2, 10))
	assert.False(t, olderKernel("7.2.10-1", 7, 2, 10))
	assert.False(t, olderKernel("7.3.0-rc1", 7, 2, 10))
	assert.True(t, olderKernel("6.9", 6, 16, 0))
	assert.False(t, olderKernel("darwin", 6, 16, 0))
}
