package vm

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestArguments(t *testing.T) {
	args := spec{accel: AccelTCG, thread: TCGThreadSingle, cpus: 3, memory: "2G", extra: "loglevel=7"}.arguments()
	assert.Contains(t, args, "tcg,thread=single")
	assert.Contains(t, args, "max,-cx16")
	assert.Contains(t, args, "3")
	last := args[len(args)-1]
	assert.Regexp(t, `^console=ttyS0 .* loglevel=7 -- vmrun-guest$`, last)
	args = spec{accel: AccelKVM, thread: TCGThreadAuto}.arguments()
	assert.Contains(t, args, "kvm")
	assert.Contains(t, args, "max")
}
