package zcnet

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTurnstile(t *testing.T) {
	ctx := t.Context()
	turn := newTurnstile()
	require.NoError(t, turn.enter(ctx, &noLimit, nil))
	assert.False(t, turn.tryEnter())

	ended, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, turn.enter(ended, &noLimit, nil), context.Canceled)
	var limit deadline
	limit.set(time.Unix(1, 0))
	assert.ErrorIs(t, turn.enter(ctx, &limit, nil), os.ErrDeadlineExceeded)
	assert.ErrorIs(t, turn.enter(ctx, &noLimit, limit.done()), net.ErrClosed)

	entered := make(chan error)
	go func() { entered <- turn.enter(ctx, &noLimit, nil) }()
	turn.leave()
	require.NoError(t, <-entered)
	turn.leave()
	assert.True(t, turn.tryEnter())
}
