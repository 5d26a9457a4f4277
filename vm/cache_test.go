package vm

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), name)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = lock(ctx, name)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	var waiting sync.WaitGroup
	waiting.Go(func() {
		unlock, err := lock(t.Context(), name)
		if assert.NoError(t, err) {
			unlock()
		}
	})
	unlock()
	waiting.Wait()
}
