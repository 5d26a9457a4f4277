package nic

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNumReceiveQueuesOfAPattern(t *testing.T) {
	assert.Zero(t, NumReceiveQueues("*"), "no interface has that name")
	assert.Zero(t, NumReceiveQueues("l?"))
}
