//go:build !linux || !cgo

package zcrx

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/uring"
)

// TestWithoutCgo checks that constructors of a build without io_uring return an error that
// says so.
func TestWithoutCgo(t *testing.T) {
	fs, err := ProbeFeatures()
	require.NoError(t, err)
	assert.Empty(t, fs.Liburing)
	for _, f := range AllFeatures() {
		assertBuildLayer(t, fs.Have(f))
	}
	_, err = newRing(uring.Config{Entries: 8})
	assertBuildLayer(t, err)
	for _, size := range []CompletionSize{CompletionAuto, Completion16, Completion32, CompletionMixed} {
		_, err = NewLoop(LoopConfig{CompletionSize: size})
		assertBuildLayer(t, err)
	}
}

func assertBuildLayer(t *testing.T, err error) {
	t.Helper()
	assert.ErrorIs(t, err, ErrNotSupported)
	var u *UnsupportedError
	if assert.ErrorAs(t, err, &u) {
		assert.Equal(t, LayerBuild, u.Layer)
		assert.Contains(t, u.Remedy, "CGO_ENABLED=1")
	}
}
